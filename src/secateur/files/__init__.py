"""Files and processes: atomic writes, locks, safe YAML, optional packages, signals."""
