"""Settings of all unit tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How long something takes on a busy machine tells nothing about what is right.
settings.register_profile("millpond", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("millpond")
