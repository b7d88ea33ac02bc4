"""Criteria: how important each channel is, one criterion a file; the table names them all."""
