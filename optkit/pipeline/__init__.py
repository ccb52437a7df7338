"""A run from end to end: the plan, the order of the stages, the run folder, and what the stages share."""
