"""Read, split, augment and batch annotated pictures."""
