"""Lists of patterns: globs, `!` to exclude, `re:` for a regular expression that must match the whole name."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import re2


class _Matcher(Protocol):
    def fullmatch(self, text: str, /) -> object | None: ...


_OPTIONS = re2.Options()
_OPTIONS.log_errors = False


@lru_cache(maxsize=4096)
def _compile(pattern: str) -> _Matcher:
    if pattern.startswith("re:"):
        # In time that grows with the text alone: anybody may call a branch as they like.
        matcher: _Matcher = re2.compile(pattern.removeprefix("re:"), _OPTIONS)
        return matcher
    return re.compile(fnmatch.translate(pattern))


def lowered(patterns: Sequence[str]) -> list[str]:
    """Patterns for names that are lower-case, as HMS's are; a regular expression means what it says."""
    return [one if one.removeprefix("!").startswith("re:") else one.lower() for one in patterns]


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether some pattern takes `name` and no `!` pattern excludes it.

    A list of exclusions alone takes all the rest; an empty list takes nothing.
    """
    takes = [pattern for pattern in patterns if not pattern.startswith("!")]
    excludes = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    taken = any(_compile(pattern).fullmatch(name) for pattern in takes) if takes else bool(excludes)
    return taken and not any(_compile(pattern).fullmatch(name) for pattern in excludes)


def compile_error(pattern: str) -> str | None:
    """Why a pattern cannot be used, or None."""
    try:
        _compile(pattern.removeprefix("!"))
    except re2.error as error:
        words = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else error
        return f"{pattern!r} is no regular expression of RE2, which runs in linear time: {words}"
    return None


def covers(wide: Sequence[str], narrow: Sequence[str]) -> bool:
    """Whether `wide` certainly takes every name that `narrow` takes.

    May answer False for lists that cover each other in ways that it cannot see (regular expressions, character
    classes), never True for lists that do not.
    """
    if list(wide) == list(narrow) or not narrow:
        return True
    if not wide or any(pattern.startswith("!") for pattern in wide):
        return False
    takes = [pattern for pattern in narrow if not pattern.startswith("!")] or ["*"]
    return all(any(_covers_one(w, n) for w in wide) for n in takes)


def _covers_one(wide: str, narrow: str) -> bool:
    if wide == narrow:
        return True
    if wide.startswith("re:") or narrow.startswith("re:") or any(mark in wide for mark in "?["):
        return False
    # Only a `*` of the wide pattern can take the stand-in for a wildcard of the narrow one.
    stand_in = re.sub(r"[*?]|\[[^]]*\]", "\N{REPLACEMENT CHARACTER}", narrow)
    return _compile(wide).fullmatch(stand_in) is not None
