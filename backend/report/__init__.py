"""Reports on a session for people: what the node and the owners know, as data and as text."""
