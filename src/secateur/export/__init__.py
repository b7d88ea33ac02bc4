"""Writing networks for other runtimes; every file is verified against its network."""
