"""Classification: loss, predictions, metrics."""
