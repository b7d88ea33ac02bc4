"""Network files of any format, opened and run on pictures."""
