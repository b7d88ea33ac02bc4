"""Augmentation of detection pictures."""
