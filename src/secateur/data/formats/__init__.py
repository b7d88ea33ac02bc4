"""Readers of annotated pictures, one a layout."""
