"""Ownership marks: the table and database parameters by which metasync knows its own work again.

They live in the metastore, so they survive the loss of metasync's database. A table counts as ours only if the marks
are from this instance *and* `metasync.name` is the table's real name: copies and renames made by dbt or Spark carry
our marks under another name, and those are the user's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "metasync."
MAKING = "metasync.making"
AS_OF = "metasync.as_of"


@dataclass(frozen=True, slots=True)
class Marks:
    """Whose a mirror is. `name` is the physical `database.table` (or database) that the marks were written for.

    `store` is the id of the database that knows of it, `version` that of the version it is a copy of: by them a lost
    or restored store, or another installation of the same name, is noticed.
    """

    instance: str
    store: str
    repository: str
    ref: str
    incarnation: int
    name: str
    table: str = ""
    rule: str = ""
    making: str = ""
    as_of: str = ""
    version: int = 0

    def to_parameters(self) -> dict[str, str]:
        """The parameters to store; empty ones are left out."""
        values = {
            "metasync.instance": self.instance,
            "metasync.store": self.store,
            "metasync.repository": self.repository,
            "metasync.ref": self.ref,
            "metasync.incarnation": str(self.incarnation),
            "metasync.name": self.name,
            "metasync.table": self.table,
            "metasync.rule": self.rule,
            MAKING: self.making,
            AS_OF: self.as_of,
            "metasync.version": str(self.version) if self.version else "",
        }
        return {key: value for key, value in values.items() if value}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str], real_name: str) -> Marks | None:
        """The marks of the table or database called `real_name`, or None where it has none of its own.

        Marks under another name belong to a copy or a rename and are not returned.
        """
        name = parameters.get("metasync.name", "")
        if name.lower() != real_name.lower() or "metasync.instance" not in parameters:
            return None
        return cls(
            instance=parameters["metasync.instance"],
            store=parameters.get("metasync.store", ""),
            repository=parameters.get("metasync.repository", ""),
            ref=parameters.get("metasync.ref", ""),
            incarnation=_number(parameters.get("metasync.incarnation", "")),
            name=name,
            table=parameters.get("metasync.table", ""),
            rule=parameters.get("metasync.rule", ""),
            making=parameters.get(MAKING, ""),
            as_of=parameters.get(AS_OF, ""),
            version=_number(parameters.get("metasync.version", "")),
        )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def without_marks(parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters less every one that metasync wrote."""
    return {key: value for key, value in parameters.items() if not key.startswith(PREFIX)}
