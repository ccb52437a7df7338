"""The interfaces that clients speak: one file for each."""
