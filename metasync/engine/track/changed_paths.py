"""Where data differs between two commits: lakeFS's diff, level by level and only below what changed."""

from __future__ import annotations

from collections.abc import Iterator

from metasync.lakefs import LakeFS


class ChangedPaths:
    """The differences between two commits; what was asked once is remembered.

    The requests grow with the directories that changed, never with the tables or objects that there are.
    """

    def __init__(self, lakefs: LakeFS, repository: str, before: str, after: str) -> None:
        self._lakefs = lakefs
        self._commits = (repository, before, after)
        self._children: dict[str, frozenset[str]] = {}

    def below(self, path: str) -> bool:
        """Whether anything below a directory differs."""
        parent, _, name = path.rpartition("/")
        return (not parent or self.below(parent)) and name in self._below(parent)

    def partitions(self, root: str, depth: int) -> Iterator[str]:
        """The directories `key=value/...` of `depth` levels below a table's directory in which anything differs."""
        if self.below(root):
            yield from self._partitions(root, depth, "")

    def _partitions(self, root: str, depth: int, path: str) -> Iterator[str]:
        if depth == 0:
            yield path
            return
        for name in sorted(self._below(f"{root}/{path}".rstrip("/"))):
            if "=" in name:
                yield from self._partitions(root, depth - 1, f"{path}/{name}".lstrip("/"))

    def _below(self, path: str) -> frozenset[str]:
        if path not in self._children:
            self._children[path] = frozenset(self._lakefs.changed_directories(*self._commits, path))
        return self._children[path]
