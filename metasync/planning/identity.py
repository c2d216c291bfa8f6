"""Whether the marks in the metastore and the store that reads them belong together."""

from __future__ import annotations

from collections.abc import Container, Iterable

from metasync.model.marks import Marks


def why_not_together(
    marks: Iterable[Marks], store: str, newest_version: int, newest_incarnation: int, known: Container[str]
) -> tuple[str, str] | None:
    """A kind and a sentence that say why marks of our instance are not this store's work; None where they are.

    `marks` are those of one ref, whose newest incarnation and the newest of all versions the store knows by the numbers
    given; `known` are the names at which it made a mirror, or is making one, for whatever ref.
    """
    for one in marks:
        if one.store != store:
            return (
                "other-store",
                f"{one.name} was made by another installation of the instance {one.instance!r} (store {one.store}), or "
                f"this store ({store}) is a new one",
            )
        missed = one.incarnation == newest_incarnation and one.name not in known and bool(one.table)
        if one.version > newest_version or one.incarnation > newest_incarnation or missed:
            return (
                "older-store",
                f"{one.name} was made later than anything that this store knows: it was restored from a backup",
            )
    return None
