"""Networks, their files, and their parameters and MACs."""
