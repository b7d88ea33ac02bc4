"""One training loop and what it keeps."""
