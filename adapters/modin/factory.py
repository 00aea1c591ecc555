"""The factory that Modin asks for readers and writers when our engine is selected."""

from __future__ import annotations

from modin.core.execution.dispatching.factories.factories import BaseFactory

from . import session


class PandasOnMillpondFactory(BaseFactory):  # type: ignore[misc]  # Modin is not annotated
    """Modin looks this up by its name, and prepares it each time the engine is selected."""

    @classmethod
    def prepare(cls) -> None:
        """Start the engine and import what runs on it."""
        # Here because it imports all readers, and Modin may never use this factory.
        from .io import PandasOnMillpondIO

        session.start()
        cls.io_cls = PandasOnMillpondIO
