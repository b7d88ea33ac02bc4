"""Selection: which channels are kept, by sparsity levels or by a budget."""
