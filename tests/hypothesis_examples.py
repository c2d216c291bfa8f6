"""How many examples a law is tried on: thousands in a normal run, a few where it runs once for every mutant."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

FEW = os.environ.get("METASYNC_LAWS") == "few"


def examples(count: int, few: int = 25) -> settings:
    """Settings for a law that deserves `count` examples, or `few` where there is little time; nothing is timed."""
    return settings(
        max_examples=min(count, few) if FEW else count,
        derandomize=FEW,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
    )
