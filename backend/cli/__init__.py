"""The command ``millpond``: looks at running sessions from another shell."""
