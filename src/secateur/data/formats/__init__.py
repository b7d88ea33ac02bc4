"""Readers of annotated pictures, one file for each layout, and the table of them."""
