"""Penalties that induce sparsity in training, one kind a file."""
