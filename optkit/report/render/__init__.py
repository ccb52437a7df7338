"""A report as Markdown, HTML and a model card."""
