"""``python -m millpond``: the same as the command ``millpond``."""

from .cli.main import main

main(prog_name="millpond")
