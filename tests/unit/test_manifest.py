"""Manifests: chunks that a change touches few of."""

from hypothesis import given
from hypothesis import strategies as st

from metasync.planning.definition import PartitionDefinition
from metasync.planning.manifest import Chunk, Manifest, Partitions, covering, cut, differing, patch
from tests.hypothesis_examples import examples


def make(values: list[int], mark: str = "") -> tuple[Manifest, dict[str, Partitions]]:
    partitions = [PartitionDefinition((f"{v:06d}",), mark or None, {}) for v in sorted(values)]
    pieces = list(cut(partitions))
    return tuple(chunk for chunk, _ in pieces), {chunk.hash: content for chunk, content in pieces}


numbers = st.lists(st.integers(0, 5000), max_size=1500, unique=True)


@examples(200)
@given(numbers, st.lists(st.integers(0, 5200), max_size=20), st.lists(st.integers(0, 5200), max_size=20))
def test_patching_is_cutting_anew(values: list[int], added: list[int], removed: list[int]) -> None:
    manifest, content = make(values)
    changes: dict[tuple[str, ...], PartitionDefinition | None] = {
        (f"{v:06d}",): PartitionDefinition((f"{v:06d}",), None, {}) for v in added
    }
    changes |= {(f"{v:06d}",): None for v in removed}
    expected, _ = make(list((set(values) | set(added)) - set(removed)))

    def load(chunk: Chunk) -> Partitions:
        return content[chunk.hash]

    assert tuple(chunk for chunk, _ in patch(manifest, changes, load)) == expected


def test_one_changed_partition_changes_few_chunks() -> None:
    values = list(range(10_000))
    before, content = make(values)
    loaded: list[Chunk] = []

    def load(chunk: Chunk) -> Partitions:
        loaded.append(chunk)
        return content[chunk.hash]

    change = {("005000",): PartitionDefinition(("005000",), "elsewhere", {})}
    after = tuple(chunk for chunk, _ in patch(before, change, load))
    assert len(differing([before, after])) <= 4 and len(loaded) <= 3
    assert sum(chunk.count for chunk in after) == 10_000
    assert len(covering(before, [("005000",)])) == 1
