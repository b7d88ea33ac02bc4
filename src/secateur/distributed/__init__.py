"""Distributed work: ranks and collective calls."""
