"""Which filters are kept: by sparsity levels or by a budget."""
