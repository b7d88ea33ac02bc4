"""Detection: loss, predictions and metrics."""
