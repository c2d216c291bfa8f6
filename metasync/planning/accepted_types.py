"""Which changes of a column's type a metastore accepts, by version.

Every ordered pair of 32 types was asked of 2.3.9, 3.1.3, 4.0.1, 4.1.0 and 4.2.1, as each is configured by default; the
last three answered alike. `tests/integration/test_metastore.py` asks the server that it runs on again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

ColumnCheck = Literal["2.3", "3.1", "4.0", "none"]
"""What a metastore holds against a changed type: what this version and later ones do, or `none` where the server is
configured to allow all (`metastore.disallow.incompatible.col.type.changes`)."""

_STRINGS = frozenset({"char", "varchar", "string"})
_NUMBERS = ("tinyint", "smallint", "int", "bigint", "float", "double")
_ZONED = "timestamp with local time zone"
_INTERVALS = frozenset({"interval_year_month", "interval_day_time"})
_NESTED = frozenset({"array", "map", "struct", "uniontype"})

_EVERYWHERE: Mapping[str, frozenset[str]] = {
    **{one: frozenset(_NUMBERS[place:]) | _STRINGS | {"decimal"} for place, one in enumerate(_NUMBERS[:4])},
    "float": _STRINGS | {"float", "double"},
    "double": _STRINGS | {"double"},
    "decimal": _STRINGS | {"decimal", "float", "double"},
    **dict.fromkeys(_STRINGS, _STRINGS),
    "date": _STRINGS | {"date"},
    "timestamp": _STRINGS | {"timestamp"},
    "void": _STRINGS | _INTERVALS | {*_NUMBERS, "decimal", "boolean", "binary", "date", "timestamp"},
}
"""Kind of type -> the kinds that it may become; what is not named may only stay letter for letter what it is."""

_SINCE_3 = {
    _ZONED: _STRINGS | {_ZONED, "timestamp"},
    "timestamp": _EVERYWHERE["timestamp"] | {_ZONED},
    "void": _EVERYWHERE["void"] | {_ZONED},
    # Whatever stands below a nested type: since 3 nobody looks into it.
    **{one: frozenset({one}) for one in _NESTED},
}
_UNTIL_4 = {one: _STRINGS | {"double"} for one in _STRINGS}

ACCEPTED: Mapping[ColumnCheck, Mapping[str, frozenset[str]]] = {
    "2.3": {**_EVERYWHERE, **_UNTIL_4},
    "3.1": {**_EVERYWHERE, **_UNTIL_4, **_SINCE_3},
    "4.0": {**_EVERYWHERE, **_SINCE_3},
}


def metastore_accepts(old: str, new: str, check: ColumnCheck = "4.0") -> bool:
    """Whether a metastore lets a column's type, as HMS writes it, change from `old` to `new`."""
    if check == "none" or old.strip().lower() == new.strip().lower():
        return True
    return _kind(new) in ACCEPTED[check].get(_kind(old), frozenset())


def _kind(text: str) -> str:
    name = re.split(r"[<(]", text.strip().lower(), maxsplit=1)[0].strip()
    return "int" if name == "integer" else name
