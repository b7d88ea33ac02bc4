"""What a detector or a classifier is to the loop: its loss and its evaluation."""
