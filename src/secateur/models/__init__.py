"""Networks at any widths, and the files they are kept in."""
