"""Charts of a report: pure functions from plain numbers to figures, one chart a file."""
