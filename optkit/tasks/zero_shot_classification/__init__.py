"""Classes named by hypotheses, of which a model of natural language inference says whether a text entails them."""
