"""Compression of a user's own network, in memory, by their own training and evaluation."""
