"""Pictures as the network sees them in training."""
