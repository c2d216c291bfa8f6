"""The refs of one repository, as lakeFS lists them and as the store has them, found by name and by id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from metasync.model.lakefs import Ref, RefType
from metasync.store.refs import RefRow


class RefIndex:
    """`heads`: ref -> commit, as lakeFS lists them; `confirmed_gone`: the ids of refs that lakeFS says are deleted."""

    def __init__(self, heads: dict[Ref, str], rows: Iterable[RefRow], confirmed_gone: Iterable[int] = ()) -> None:
        self.heads = heads
        self.confirmed_gone = set(confirmed_gone)
        self._rows: dict[int, RefRow] = {}
        self._of_ref: dict[Ref, dict[int, RefRow]] = defaultdict(dict)
        for row in rows:
            self.put(row)

    def copy(self) -> RefIndex:
        """The same refs, for somebody else to change."""
        return RefIndex(dict(self.heads), self.rows, self.confirmed_gone)

    def put(self, row: RefRow) -> None:
        """Adds a ref, or replaces what was known of it."""
        self._rows[row.id] = self._of_ref[row.ref][row.id] = row

    @property
    def rows(self) -> tuple[RefRow, ...]:
        """The refs that the store has alive, and those whose mirrors are still to be deleted."""
        return tuple(self._rows.values())

    def row(self, ref: Ref) -> RefRow | None:
        """The ref's present incarnation."""
        return next((row for row in self._of_ref.get(ref, {}).values() if not row.replaced), None)

    def by_id(self, ref_id: int) -> RefRow | None:
        return self._rows.get(ref_id)

    def named(self, text: str) -> RefRow | None:
        """The ref that a person means by `branch/x`, `tag/x`, or a name, branches first; None where lakeFS has none."""
        kind, _, name = text.partition("/")
        refs = [Ref(RefType(kind), name)] if kind in ("branch", "tag") else []
        for ref in (*refs, Ref(RefType.BRANCH, text), Ref(RefType.TAG, text)):
            if ref in self.heads and (rows := self._of_ref.get(ref)):
                return next(iter(rows.values()))
        return None

    def has_ended(self, row: RefRow) -> bool:
        """Whether this incarnation of the ref is over, for certain."""
        return row.replaced or row.state == "gone" or row.id in self.confirmed_gone

    def is_alive(self, row: RefRow) -> bool:
        """Whether lakeFS shows this incarnation of the ref."""
        return row.ref in self.heads and not row.replaced and row.state != "gone"

    def is_being_created(self, row: RefRow) -> bool:
        """Whether the ref is there and its mirrors are not all made."""
        return row.is_being_created and not row.replaced and row.ref in self.heads

    def has_former(self, row: RefRow) -> bool:
        """Whether an earlier incarnation of the ref is replaced, and its tables are not dropped yet."""
        of_ref = self._of_ref.get(row.ref, {}).values()
        return any(one.incarnation < row.incarnation and one.replaced for one in of_ref)
