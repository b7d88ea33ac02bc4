"""Recipes: what a run is to do, as validated sections."""
