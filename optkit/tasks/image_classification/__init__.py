"""A class for an image."""
