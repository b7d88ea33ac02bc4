"""Classification: loss, predictions and metrics."""
