"""The channel graph: which tensors share a channel, traced from the network."""
