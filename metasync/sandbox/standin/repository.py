"""A repository in memory: commits are trees of objects, merges are three-way, names are checked as lakeFS does."""

from __future__ import annotations

import hashlib
import itertools
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

_BRANCH = re.compile(r"\w[-\w]*", re.A)
_TAG_REFUSED = re.compile(r"[\x00-\x20\x7f/:?*\[\\^]|\.\.|^\.|\.$|@\{")
_EXPRESSION = re.compile(r"(.*?)((?:[~^]\d*)*)", re.S)


class Refused(Exception):
    """What lakeFS answers with an error: status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Object:
    """An object of a tree; `content` is kept, as the action files are read from it."""

    content: bytes
    mtime: int
    address: str

    @property
    def checksum(self) -> str:
        return hashlib.md5(self.content, usedforsecurity=False).hexdigest()


Tree = Mapping[str, Object]


@dataclass(frozen=True)
class StoredCommit:
    id: str
    parents: tuple[str, ...]
    tree: Tree
    message: str
    metadata: Mapping[str, str]
    creation_date: int
    generation: int
    committer: str = "admin"

    @property
    def meta_range_id(self) -> str:
        rows = "\n".join(f"{path} {o.checksum} {o.address}" for path, o in sorted(self.tree.items()))
        return hashlib.sha256(rows.encode()).hexdigest()


@dataclass
class Branch:
    commit: str
    hidden: bool = False
    staged: dict[str, Object | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Pull:
    id: str
    title: str
    description: str
    source: str
    destination: str
    created: str
    status: str = "open"
    closed: str = ""
    commit: str = ""


class StoredRepository:
    """One repository's state and lakeFS's operations on it."""

    def __init__(self, name: str, namespace: str, default_branch: str, *, read_only: bool = False) -> None:
        self.name = name
        self.namespace = namespace
        self.default_branch = default_branch
        self.read_only = read_only
        self.creation_date = int(time.time())
        self.branches: dict[str, Branch] = {}
        self.tags: dict[str, str] = {}
        self.commits: dict[str, StoredCommit] = {}
        self.pulls: dict[str, Pull] = {}
        self._count = itertools.count()
        first = self._store((), {}, "Repository created", {}, committer="")
        self.branches[default_branch] = Branch(first.id)

    # Names

    def resolve(self, ref: str) -> str:
        """The commit of a branch, tag, (short) sha or expression such as `main~2`; raises 404."""
        match = _EXPRESSION.fullmatch(ref.removesuffix("@"))
        assert match is not None
        commit = self._named(match.group(1))
        for mark, number in re.findall(r"([~^])(\d*)", match.group(2)):
            count = int(number) if number else 1
            for _ in range(count if mark == "~" else 1):
                parents = self.commits[commit].parents
                index = count - 1 if mark == "^" else 0
                if len(parents) <= index:
                    raise Refused(404, "ref: not found")
                commit = parents[index]
        return commit

    def _named(self, name: str) -> str:
        if name in self.branches:
            return self.branches[name].commit
        if name in self.tags:
            return self.tags[name]
        found = [c for c in self.commits if len(name) >= 6 and c.startswith(name)]
        if len(found) == 1:
            return found[0]
        raise Refused(404, "ref: not found")

    def branch(self, name: str) -> Branch:
        if name not in self.branches:
            raise Refused(404, "branch not found")
        return self.branches[name]

    def check_branch_name(self, name: str) -> None:
        if not _BRANCH.fullmatch(name):
            raise Refused(
                400,
                "argument branch: branch id: invalid value: validation error: branch id must consist of letters, "
                "digits, underscores and dashes, and cannot start with a dash",
            )
        if name in self.branches:
            raise Refused(409, "branch already exists: not unique")

    def check_tag_name(self, name: str) -> None:
        if not name or _TAG_REFUSED.search(name):
            raise Refused(400, "argument tagID: tag id: invalid value: validation error")

    # Trees

    def tree_of(self, ref: str) -> Tree:
        """The objects of a ref; a branch's uncommitted ones included."""
        tree = dict(self.commits[self.resolve(ref)].tree)
        if ref in self.branches:
            for path, staged in self.branches[ref].staged.items():
                if staged is None:
                    tree.pop(path, None)
                else:
                    tree[path] = staged
        return tree

    def put(self, branch: str, path: str, content: bytes) -> Object:
        target = self.branch(branch)
        made = Object(content, int(time.time()), f"{self.namespace}/data/{next(self._count):08d}")
        target.staged[path] = made
        return made

    def remove(self, branch: str, path: str) -> None:
        self.branch(branch).staged[path] = None

    def uncommitted(self, branch: str) -> list[tuple[str, str]]:
        """(path, type) of what a commit would take."""
        target = self.branch(branch)
        return differences(self.commits[target.commit].tree, self.tree_of(branch))

    # Commits

    def prepare_commit(
        self, branch: str, message: str, metadata: Mapping[str, str], *, allow_empty: bool
    ) -> StoredCommit:
        """The commit that `apply` would put on the branch."""
        target = self.branch(branch)
        if not allow_empty and not self.uncommitted(branch):
            raise Refused(400, "commit: no changes")
        return self._commit((target.commit,), self.tree_of(branch), message, metadata)

    def apply(self, branch: str, commit: StoredCommit) -> None:
        self.commits[commit.id] = commit
        target = self.branch(branch)
        target.commit = commit.id
        target.staged.clear()

    def prepare_merge(self, source: str, destination: str, body: Mapping[str, object]) -> StoredCommit:
        """The merge commit; raises 409 on conflicts and 400 where nothing would change."""
        target = self.branch(destination)
        head = self.resolve(source)
        base = self.merge_base(head, target.commit)
        trees = [self.commits[c].tree for c in (base, head, target.commit)]
        strategy = str(body.get("strategy") or "default")
        merged: dict[str, Object] = {}
        changed = False
        for path in {*trees[0], *trees[1], *trees[2]}:
            was, theirs, ours = (tree.get(path) for tree in trees)
            if _same(theirs, was) or _same(theirs, ours):
                chosen = ours
            elif _same(ours, was) or strategy == "source-wins":
                chosen, changed = theirs, True
            elif strategy == "dest-wins":
                chosen = ours
            else:
                raise Refused(409, "")
            if chosen is not None:
                merged[path] = chosen
        behind = self.is_ancestor(target.commit, head)
        if not changed and not (behind and head != target.commit) and not body.get("allow_empty"):
            raise Refused(400, f"update branch {destination}: no changes")
        squash = bool(body.get("squash_merge"))
        given = body.get("metadata")
        metadata = {**(given if isinstance(given, Mapping) else {}), ".lakefs.merge.strategy": strategy}
        message = str(body.get("message") or f"Merge '{source}' into '{destination}'")
        parents = (target.commit,) if squash else (target.commit, head)
        return self._commit(parents, merged, message, metadata)

    def prepare_cherry_pick(self, branch: str, ref: str) -> StoredCommit:
        picked = self.commits[self.resolve(ref)]
        parent = self.commits[picked.parents[0]].tree if picked.parents else {}
        metadata = {**picked.metadata, "cherry-pick-origin": picked.id, "cherry-pick-committer": picked.committer}
        tree = self._replayed(branch, parent, picked.tree)
        return self._commit((self.branch(branch).commit,), tree, picked.message, metadata)

    def prepare_revert(self, branch: str, ref: str, parent_number: int) -> StoredCommit:
        reverted = self.commits[self.resolve(ref)]
        parent = self.commits[reverted.parents[max(parent_number, 1) - 1]].tree
        tree = self._replayed(branch, reverted.tree, parent)
        return self._commit((self.branch(branch).commit,), tree, f"Revert {ref}", {})

    def hard_reset(self, branch: str, ref: str) -> None:
        target = self.branch(branch)
        target.commit = self.resolve(ref)
        target.staged.clear()

    def _replayed(self, branch: str, before: Tree, after: Tree) -> Tree:
        tree = dict(self.commits[self.branch(branch).commit].tree)
        for path in {*before, *after}:
            if _same(before.get(path), after.get(path)):
                continue
            if not _same(tree.get(path), before.get(path)):
                raise Refused(409, "conflict found")
            changed = after.get(path)
            if changed is None:
                tree.pop(path, None)
            else:
                tree[path] = changed
        return tree

    # History

    def first_parents(self, commit: str) -> Iterator[StoredCommit]:
        while True:
            yield self.commits[commit]
            if not self.commits[commit].parents:
                return
            commit = self.commits[commit].parents[0]

    def log(self, commit: str) -> list[StoredCommit]:
        """Every ancestor, the newest generation first; within one, as its parents are listed."""
        return sorted((self.commits[c] for c in self._ancestors(commit)), key=lambda c: -c.generation)

    def merge_base(self, left: str, right: str) -> str:
        common = self._ancestors(left).keys() & self._ancestors(right).keys()
        return max(common, key=lambda c: self.commits[c].generation)

    def is_ancestor(self, old: str, new: str) -> bool:
        return old in self._ancestors(new)

    def close_pull(self, pull: Pull, commit: str, at: str) -> None:
        self.pulls[pull.id] = replace(pull, status="merged", closed=at, commit=commit)

    def _ancestors(self, commit: str) -> dict[str, None]:
        """The commit and its ancestors, breadth first."""
        found: dict[str, None] = {commit: None}
        pending = [commit]
        while pending:
            parents = [p for one in pending for p in self.commits[one].parents if p not in found]
            pending = list(dict.fromkeys(parents))
            found |= dict.fromkeys(pending)
        return found

    def _store(
        self, parents: tuple[str, ...], tree: Tree, message: str, metadata: Mapping[str, str], committer: str
    ) -> StoredCommit:
        commit = replace(self._commit(parents, tree, message, metadata), committer=committer)
        self.commits[commit.id] = commit
        return commit

    def _commit(self, parents: tuple[str, ...], tree: Tree, message: str, metadata: Mapping[str, str]) -> StoredCommit:
        generation = 1 + max((self.commits[p].generation for p in parents), default=0)
        identity = f"{self.name} {parents} {message} {sorted(metadata.items())} {next(self._count)} {time.time_ns()}"
        commit_id = hashlib.sha256(identity.encode()).hexdigest()
        return StoredCommit(commit_id, parents, dict(tree), message, dict(metadata), int(time.time()), generation)


def differences(before: Tree, after: Tree) -> list[tuple[str, str]]:
    """(path, added | removed | changed), by path."""
    found = []
    for path in sorted({*before, *after}):
        was, now = before.get(path), after.get(path)
        if _same(was, now):
            continue
        found.append((path, "added" if was is None else "removed" if now is None else "changed"))
    return found


def _same(one: Object | None, other: Object | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.checksum == other.checksum
