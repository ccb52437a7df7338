"""The engines that run a model in a benchmark, one file for each library."""
