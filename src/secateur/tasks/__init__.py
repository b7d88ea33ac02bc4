"""Tasks: losses, predictions and metrics of detectors and classifiers."""
