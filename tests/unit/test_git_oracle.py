"""An oracle that is not ours: the same histories in a real git repository, one item a line, merged by `git merge-tree`.

Every item has a line of its own with constant lines around it, so git's answer is defined for each: kept, taken or in
conflict. Skipped where git is older than 2.38.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from metasync.planning.item_tree import Definition
from tests.hypothesis_examples import examples
from tests.unit.simulation import Lake
from tests.unit.test_histories import COLUMNS, FULL, HISTORIES, begun, edit

FILE = "table"


class Git:
    """A bare repository; commits are made without a work tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._commits = itertools.count()
        self.run("init", "--quiet", "--bare")

    def run(self, *arguments: str, text: str | None = None, codes: tuple[int, ...] = (0,)) -> str:
        person = {f"GIT_{who}_{what}": "m@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        done = subprocess.run(
            ["git", "-C", str(self.folder), "-c", "merge.renames=false", *arguments],
            input=text, capture_output=True, text=True, check=False, timeout=60,
            env={"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(self.folder), **person},
        )  # fmt: skip
        assert done.returncode in codes, done.stderr
        return done.stdout.strip()

    def commit(self, content: Definition, *parents: str) -> str:
        listing = ""
        if content is not None:
            blob = self.run("hash-object", "-w", "--stdin", text=lines(content))
            listing = f"100644 blob {blob}\t{FILE}\n"
        tree = self.run("mktree", text=listing)
        return self.commit_tree(tree, *parents)

    def commit_tree(self, tree: str, *parents: str) -> str:
        # Two people's same change of the same second would be one commit to git.
        return self.run(
            "commit-tree", tree, "-m", str(next(self._commits)), *(word for p in parents for word in ("-p", p))
        )

    def merge(self, ours: str, theirs: str) -> str | None:
        """The merged tree; None where git finds a conflict."""
        answer = self.run("merge-tree", "--write-tree", ours, theirs, codes=(0, 1))
        return None if "CONFLICT" in answer else answer.splitlines()[0]

    def is_ancestor(self, old: str, new: str) -> bool:
        return self.run("merge-base", old, new, codes=(0, 1)) == old

    def content(self, tree: str) -> str | None:
        return self.run("show", f"{tree}:{FILE}", codes=(0, 128)) or None


def lines(content: Any) -> str:
    """Every item that there could be, one a line, each between lines that never change."""
    columns = {c.name: c.comment or "bare" for c in content.header.sd.cols}
    partitions = {p.values[0]: p.location for p in content.partitions.values()}
    slots = [("column", name, columns.get(name)) for name in ("id", *COLUMNS)]
    slots += [("parameter", name, content.header.parameters.get(name)) for name in COLUMNS]
    slots += [("partition", name, partitions.get(name)) for name in COLUMNS]
    between = "\n".join(f"-- between {{0}} {{1}} {n}" for n in range(4))
    return "\n".join(f"{kind} {name} = {value}\n{between.format(kind, name)}" for kind, name, value in slots) + "\n"


def git_is_able() -> bool:
    try:
        version = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    found = re.search(r"(\d+)\.(\d+)", version)
    return found is not None and tuple(map(int, found.groups())) >= (2, 38)


@pytest.mark.skipif(not git_is_able(), reason="needs git 2.38 or newer, for merge-tree --write-tree")
@examples(60, few=5)
@given(history=HISTORIES)
def test_git_comes_to_the_same_result(history: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    git, lake = Git(tmp_path_factory.mktemp("git")), begun()
    first = git.commit(lake["main"])
    heads = dict.fromkeys(lake.refs, first)
    for kind, one, other in history:
        if kind == "edit":
            changed = edit(lake[one], *other)
            if changed != lake[one]:
                lake.ddl(one, changed)
                heads[one] = git.commit(changed, heads[one])
        elif kind == "branch" and one != other:
            lake.branch(one, other)
            heads[one] = heads[other]
        elif kind == "merge" and one != other and not git.is_ancestor(heads[one], heads[other]):
            _merge(git, lake, heads, one, other)


def _merge(git: Git, lake: Lake, heads: dict[str, str], source: str, destination: str) -> None:
    tree = git.merge(heads[destination], heads[source])
    change = lake.merge(source, destination, FULL)
    ours = "conflict" if change is not None and change.conflicts else "merged"
    assert ours == ("conflict" if tree is None else "merged"), change
    if tree is None:
        return
    merged = lake[destination]
    assert git.content(tree) == (None if merged is None else lines(merged).strip())
    heads[destination] = git.commit_tree(tree, heads[destination], heads[source])
