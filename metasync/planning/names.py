"""Names of mirrors: from a rule's target, a ref and a logical table to HMS's names, and back.

Portable database and table names are `[a-z0-9_]+`, at most 128 and 256 characters (seen live on 2.3.9 to 4.2.1).
"""

from __future__ import annotations

import hashlib
import re

from metasync.model.hms import TableName
from metasync.model.lakefs import Ref
from metasync.settings.models import Target

DATABASE_LIMIT = 128
TABLE_LIMIT = 256


def portable(text: str) -> str:
    """Lower-cased, every character outside `[a-z0-9_]` as `_`."""
    return re.sub(r"[^a-z0-9_]", "_", text.lower())


def short_hash(text: str, length: int = 8) -> str:
    """A few hexadecimal digits that distinguish `text` from others."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _fit(name: str, limit: int, identity: str) -> str:
    if len(name) <= limit:
        return name
    return f"{name[: limit - 9]}_{short_hash(identity)}"


def _fragments(ref: Ref, repository: str, hashed: bool) -> dict[str, str]:
    name = portable(ref.name)
    if hashed:
        name = f"{name}_{short_hash(str(ref), 6)}"
    return {"ref": name, "ref_type": ref.type.value, "repository": portable(repository)}


def physical_name(target: Target, repository: str, ref: Ref, logical: TableName, *, hashed: bool = False) -> TableName:
    """The mirror's `database.table`. `hashed` distinguishes refs that would come to one name."""
    fragments = _fragments(ref, repository, hashed)
    fill = {**fragments, "database": portable(logical.database), "table": portable(logical.table)}
    database = portable(target.database.format(**fill))
    table = portable(target.table.format(**fill))
    identity = f"{repository}/{ref}/{logical}"
    # A database is shared by the tables of one ref, so its hash must not depend on the table.
    shared = identity if "{table}" in target.database else f"{repository}/{ref}/{logical.database}"
    return TableName(_fit(database, DATABASE_LIMIT, shared), _fit(table, TABLE_LIMIT, identity))


def logical_name(
    target: Target, repository: str, ref: Ref, physical: TableName, *, hashed: bool = False
) -> TableName | None:
    """The logical table that `physical` would be the mirror of, or None where the name does not parse.

    Names that were cut to HMS's limits do not parse; mirrors with such names are known by their marks.
    """
    fragments = _fragments(ref, repository, hashed)
    found: dict[str, str] = {}
    for template, name in ((target.database, physical.database), (target.table, physical.table)):
        match = re.fullmatch(_as_pattern(template, fragments, found), name)
        if match is None:
            return None
        found |= match.groupdict()
    if "database" not in found or "table" not in found:
        return None
    logical = TableName(found["database"], found["table"])
    again = physical_name(target, repository, ref, logical, hashed=hashed)
    return logical if again == physical else None


def _as_pattern(template: str, fragments: dict[str, str], found: dict[str, str]) -> str:
    """A regular expression with a group for {database} and {table}, the other placeholders filled in."""
    pattern, groups = "", set()
    for literal, name in re.findall(r"([^{]*)(?:\{(\w+)\})?", template):
        pattern += re.escape(portable(literal))
        if name in ("database", "table"):
            known = name in found or name in groups
            pattern += re.escape(found[name]) if name in found else "" if known else f"(?P<{name}>.+)"
            groups.add(name)
        elif name:
            pattern += re.escape(fragments[name])
    return pattern


def database_may_match(target: Target, repository: str, ref: Ref, database: str) -> bool:
    """Whether tables of `ref` could stand in `database`: a cheap test before reading it."""
    return any(
        re.fullmatch(_as_pattern(target.database, _fragments(ref, repository, hashed), {}), database)
        for hashed in ((False, True) if target.on_collision == "hash" else (False,))
    )
