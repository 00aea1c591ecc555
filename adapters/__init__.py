"""Adapters: other libraries' schedulers and engines, built on millpond's public API only."""
