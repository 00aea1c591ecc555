"""Modin on millpond: the public names of `millpond.adapters.modin`.

Nothing here needs to be imported to use the engine: ``modin.config.Engine.put("Millpond")`` or the
environment variable ``MODIN_ENGINE=millpond`` select it.
"""

from millpond.adapters.modin.registration import ENGINE

__all__ = ["ENGINE"]
