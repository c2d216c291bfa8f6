"""Text from elsewhere, made fit to be stored."""

from __future__ import annotations

import re

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """Replace what a database cannot hold, NUL and halves of surrogate pairs, by U+FFFD.

    PostgreSQL refuses NUL in any text (its documentation, "Character Types"); lakeFS takes it in commit messages.
    """
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)
