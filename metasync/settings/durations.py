"""Durations as people write them: `30s`, `5m`, `1h`, `2d`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 10 * 365 * 86400.0
_LONGEST_TEXT = 40
_PATTERN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(value: object) -> float:
    """`"90s"` or `"1h30m"` -> seconds. A bare number is refused: its unit is unknown."""
    if (
        isinstance(value, str)
        and len(value) <= _LONGEST_TEXT
        and re.fullmatch(rf"(?:{_PATTERN.pattern})+", value.strip())
    ):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PATTERN.findall(value))
        if seconds > _LONGEST:
            raise ValueError("a duration is ten years at most")
        return seconds
    raise ValueError("a duration needs a unit, for example 30s, 5m or 1h")


def format_duration(seconds: float) -> str:
    """The inverse of `parse_duration`: in the largest unit that leaves a whole number."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds * 1000:g}ms" if seconds else "0s"


Duration = Annotated[
    float,
    BeforeValidator(lambda value: value if isinstance(value, float) else parse_duration(value)),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d))+$", "examples": ["30s", "5m"]}),
]
"""Seconds, written with a unit."""
