"""Every conflict's name, and what to do about it; docs/merging.md says more."""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    "changed-on-both": "both sides changed it differently: resolve it for a side",
    "added-on-both": "both sides made it, differently: resolve it for a side",
    "dropped-here-changed-there": "the source dropped what the destination changed: resolve it; --theirs drops",
    "changed-here-dropped-there": "the source changed what the destination dropped: resolve it; --ours keeps it so",
    "base-unknown": "the refs share no version that metasync saw: compare them, then resolve it for a side",
    "type-not-widened": "readers may fail on files of the old type: resolve --theirs only if the data fits",
    "partition-keys-changed": "no metastore changes partition keys in place: make the table anew, then resolve --ours",
    "location-off-ref": "it lies outside its ref: move it there and merge again, or resolve --ours",
    "missing-column": "it refers to a column that the merge takes away: change it first, or resolve --ours",
    "directory-taken": "another partition lies on its directory: drop one and merge again, or resolve --ours",
    "metastore-refuses": "the metastore would refuse it: change the destination by hand, or resolve --ours",
    "changed-while-merging": "somebody changed the table during the merge: merge again, or resolve it",
    "foreign-table": "a table of somebody else stands at the destination's name: move it away, merge again",
    "destination-off-ref": "the destination's table does not lie on its ref: move it there, merge again",
    "format-not-merged": "the table is, on one side, of a format that is never merged, or a view",
}
