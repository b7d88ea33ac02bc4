"""A search over many recipes for the Pareto front of accuracy and size."""
