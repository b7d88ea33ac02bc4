"""Many recipes tried in search of the networks that no other surpasses."""
