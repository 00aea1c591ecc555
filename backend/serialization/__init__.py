"""Python values, calls, and exceptions as bytes."""
