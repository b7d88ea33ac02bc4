"""Pictures and boxes in: one reader a file, one form for all of them."""
