"""Latency and memory of networks, measured side by side."""
