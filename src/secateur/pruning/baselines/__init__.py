"""Other projects' methods, for comparison."""
