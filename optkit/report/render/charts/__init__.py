"""Charts as SVG, written without a library; each has a description in words."""
