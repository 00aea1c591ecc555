"""Which bytes come back from files: least recently used, by next use, and the offline optimum."""
