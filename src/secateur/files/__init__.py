"""Files written whole or not at all, locks, safe YAML, signals: nothing of networks."""
