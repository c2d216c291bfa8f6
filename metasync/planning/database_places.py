"""Where a database of a ref lies, so that new tables land where they would on the canonical branch."""

from __future__ import annotations

from collections.abc import Iterable

from metasync.planning.locations import absolute, is_root, ref_in, ref_root, relative


def place_like(repository: str, ref: str, logical: str, root: str, others: Iterable[str | None]) -> str:
    """The place of the first of some databases that lies below a ref's root, moved to this ref.

    Where none does, it is `LOGICAL.db` below `root`, the ref's; never the root itself.
    """
    for where in others:
        home = ref_in(where, repository) if where else None
        if where and home and not is_root(relative(where, repository, home)):
            return absolute(relative(where, repository, home), ref)
    return f"{root}{logical}.db"


def place_of_table(database: str, table: str, location: str, ref: str) -> str:
    """The folder that holds a table's own, or `DATABASE.db` below the ref's root where the table has none there."""
    root, (folder, _, last) = ref_root(location, ref), location.rstrip("/").rpartition("/")
    return folder if last.lower() == table and f"{folder}/" != root else f"{root}{database}.db"
