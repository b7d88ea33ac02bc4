"""A run's report: one self-contained page, read from the run's artifacts only."""
