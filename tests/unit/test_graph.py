"""Nearest common ancestors, against `git merge-base --all` on random histories."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metasync.planning.version_graph import bases_needed, is_ancestor, merge_bases
from tests.hypothesis_examples import examples

Graph = dict[int, tuple[int, ...]]


@st.composite
def graphs(draw: st.DrawFn, largest: int = 14) -> Graph:
    size = draw(st.integers(2, largest))
    graph: Graph = {}
    for node in range(1, size + 1):
        parents = draw(st.lists(st.integers(1, node - 1), max_size=2, unique=True)) if node > 1 else []
        graph[node] = tuple(parents)
    return graph


def reference(graph: Graph, left: int, right: int) -> set[int]:
    """By the definition, with sets."""

    def ancestors(node: int) -> set[int]:
        return {node}.union(*(ancestors(parent) for parent in graph[node]))

    common = ancestors(left) & ancestors(right)
    return {one for one in common if not any(one != other and one in ancestors(other) for other in common)}


@examples(1500)
@given(graphs(), st.data())
def test_as_by_the_definition(graph: Graph, data: st.DataObject) -> None:
    left, right = (data.draw(st.sampled_from(sorted(graph))) for _ in range(2))
    assert set(merge_bases(graph, left, right)) == reference(graph, left, right)
    assert set(merge_bases(graph, left, right)) == set(merge_bases(graph, right, left))
    assert is_ancestor(graph, left, right) == (reference(graph, left, right) == {left})
    assert reference(graph, left, right) <= bases_needed(graph, left, right)


@examples(12, few=3)
@given(graphs(largest=12))
def test_as_git_answers(tmp_path_factory: pytest.TempPathFactory, graph: Graph) -> None:
    folder = tmp_path_factory.mktemp("git")

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        ).stdout

    git("init", "-q")
    tree = git("mktree").strip() or git("hash-object", "-t", "tree", "-w", "/dev/null").strip()
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    commits: dict[int, str] = {}
    for node, parents in graph.items():
        flags = [flag for parent in parents for flag in ("-p", commits[parent])]
        commits[node] = git(*identity, "commit-tree", tree, *flags, "-m", str(node)).strip()
        assert commits[node]
    names = {sha: node for node, sha in commits.items()}
    for left in graph:
        for right in graph:
            if left < right:
                found = git("merge-base", "--all", commits[left], commits[right]).split()
                assert {names[sha] for sha in found} == set(merge_bases(graph, left, right))


def test_criss_cross_has_two_bases() -> None:
    graph = {1: (), 2: (1,), 3: (1,), 4: (2, 3), 5: (3, 2), 6: (4,), 7: (5,)}
    assert set(merge_bases(graph, 6, 7)) == {2, 3}
    assert bases_needed(graph, 6, 7) == {1, 2, 3}
