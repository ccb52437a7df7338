"""Loading examples from files, from the Hub, or from a generator."""
