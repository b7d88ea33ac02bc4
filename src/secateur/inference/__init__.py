"""Opening a network file of any format, and running it on pictures and videos."""
