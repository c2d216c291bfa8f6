"""Durations as people write them: `30s`, `5m`, `1h`, `2d`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PATTERN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(value: object) -> float:
    """`"90s"` or `"1h30m"` -> seconds. A bare number is refused: nobody can tell its unit."""
    if isinstance(value, str) and re.fullmatch(rf"(?:{_PATTERN.pattern})+", value.strip()):
        return sum(float(number) * _UNITS[unit] for number, unit in _PATTERN.findall(value))
    raise ValueError("a duration needs a unit, for example 30s, 5m or 1h")


Duration = Annotated[
    float,
    BeforeValidator(lambda value: value if isinstance(value, float) else parse_duration(value)),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d))+$", "examples": ["30s", "5m"]}),
]
"""Seconds, written with a unit."""
