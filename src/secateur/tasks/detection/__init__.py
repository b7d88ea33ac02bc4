"""Detection: loss, predictions, metrics."""
