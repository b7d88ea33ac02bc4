"""The method: channel groups, sparsity, threshold, selection, removal.

This package sees modules, groups and tensors, and knows nothing of detection.
"""
