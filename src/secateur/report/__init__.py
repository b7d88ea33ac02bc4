"""The report of a run: one self-contained page, made from the records in the run's folder."""
