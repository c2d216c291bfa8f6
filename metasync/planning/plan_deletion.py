"""Planning the deletion of what a ref had, once lakeFS itself confirms that the ref is gone."""

from __future__ import annotations

from metasync.planning.changes import DropDatabase, DropTable, FinishDeletion, TableFailure
from metasync.planning.draft import Draft
from metasync.planning.observed import RefView
from metasync.planning.plan import Notice


def plan_deletion(draft: Draft, view: RefView) -> None:
    """What the ref had, table by table, then our databases; nothing while its grace lasts, or where a table failed."""
    if view.waits:
        draft.more = True
        return
    if not view.replaced and view.missing_for < draft.safety.drop_grace:
        draft.notices.append(
            Notice(
                "drop-grace",
                str(view.ref),
                f"is gone; its mirrors go after {draft.safety.drop_grace:.0f} s of grace",
            )
        )
        return
    if view.failed:
        # What a table was that cannot be read would be lost with it, and what else it is merged from.
        draft.failures += [TableFailure(name, str(view.ref), why, view.id) for name, why in sorted(view.failed.items())]
        return
    kept = False
    for table in (*view.tables, *view.left):
        rule = draft.rules.of_table(draft.repository, view.ref, table.logical)
        if table.marks is not None and rule is None:
            rule = draft.rules.named(table.marks.rule)
        if rule is None and table.kind in ("mirror", "making"):
            # No rule speaks of it any more: an orphan. A changed configuration never drops anything.
            draft.notices.append(
                Notice(
                    "orphan",
                    str(table.physical),
                    f"{view.ref} is gone and no rule wants it",
                    "metasync prune",
                )
            )
            kept = True
            continue
        if rule is None or rule.delete == "keep":
            kept = kept or rule is not None
            continue
        ours = table.kind != "belonging"
        draft.changes.append(
            DropTable(view.id, view.ref, view.incarnation, table.logical, table.physical, ours, rule.name)
        )
    for name, why in view.foreign.items():
        draft.notices.append(
            Notice(
                "foreign-table",
                str(name),
                f"stays, and its database with it: {why}, so it is not {view.ref}'s",
                f"move {name} to another database, then: drop database {name.database}",
            )
        )
    if not kept:
        draft.changes += [DropDatabase(view.id, name) for name in view.databases]
    draft.changes.append(FinishDeletion(view.id, view.ref, kept))
