"""How fast networks are where they are shipped, one beside the other."""
