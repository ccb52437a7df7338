"""Passages ranked by how relevant they are to a query."""
