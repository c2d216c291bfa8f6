"""The merge cases of `tests/merge_cases/`, read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FOLDER = Path(__file__).parent / "merge_cases"
_KEYS = {
    "title", "because", "scenario", "base", "source", "destination", "result", "policy", "rule", "strategy",
    "conflicts", "withheld", "renames", "resolved", "real", "applied", "steps", "stuck", "tables", "column_check",
    "safety",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One case: base, source and destination of a table, or steps of a history; and what comes of it."""

    number: int
    name: str
    words: Mapping[str, Any] = field(compare=False)

    def __str__(self) -> str:
        return f"{self.number:03}-{self.name}"

    @property
    def rule(self) -> dict[str, Any]:
        return {"merge": self.words.get("policy", "additive"), **self.words.get("rule", {})}

    def side(self, name: str) -> Mapping[str, Any] | None:
        """A side in words: what it does not say is as in the base, `absent` is None."""
        base, said = self.words.get("base", {}), self.words.get(name, {})
        if said == "absent":
            return None
        return {**(base if isinstance(base, Mapping) else {}), **said}


def cases() -> list[Case]:
    """Every case, in order; a file that says something else than a case can is refused."""
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        number, _, name = path.stem.partition("-")
        words = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        assert set(words) <= _KEYS, f"{path.name}: {set(words) - _KEYS}"
        found.append(Case(int(number), name, words))
    assert len({case.number for case in found}) == len(found)
    return found
