"""Classes, any number of classes, or a score, for a text or a pair of texts."""
