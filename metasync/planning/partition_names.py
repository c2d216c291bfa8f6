"""Names of partitions, as HMS makes them of values."""

from __future__ import annotations

import re
from collections.abc import Sequence

from metasync.model.hms import FieldSchema, PartitionValues

_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")
_MUST_ESCAPE = re.compile(r"[\x00-\x1f\"#%'*/:=?\\\x7f{\[\]^]")
DEFAULT_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def values_of_name(name: str) -> PartitionValues:
    """`dt=2024%3A01/c=x` -> ("2024:01", "x")."""
    parts = (part.partition("=")[2] for part in name.split("/"))
    return tuple(_ESCAPED.sub(lambda match: chr(int(match.group(1), 16)), part) for part in parts)


def partition_name(keys: Sequence[FieldSchema], values: PartitionValues) -> str:
    """The name HMS gives a partition; its characters are escaped as Hive's FileUtils does."""

    def escape(text: str) -> str:
        return _MUST_ESCAPE.sub(lambda match: f"%{ord(match.group()):02X}", text) if text else DEFAULT_PARTITION

    return "/".join(f"{escape(key.name.lower())}={escape(v)}" for key, v in zip(keys, values, strict=True))
