"""Manifests: a table's partitions as a list of content-addressed chunks.

Partitions are sorted by their values and cut where the hash of the values says so, so that a changed partition
changes one chunk and an added one at most two, wherever it stands. Two tables that share partitions share chunks, and
comparing two manifests touches only the chunks that differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from metasync.model.hms import PartitionValues
from metasync.planning.definition import PartitionDefinition, content_hash, partition_json

_CUT_EVERY = 256
_LARGEST = 1024


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of partitions: its address, the values of its first and last one, and how many it holds."""

    hash: str
    first: PartitionValues
    last: PartitionValues
    count: int


Manifest = tuple[Chunk, ...]
Partitions = Sequence[PartitionDefinition]
Load = Callable[[Chunk], Partitions]


def _cuts_after(values: PartitionValues) -> bool:
    digest = hashlib.blake2b("\0".join(values).encode(), digest_size=4).digest()
    return int.from_bytes(digest) % _CUT_EVERY == 0


def cut(partitions: Iterable[PartitionDefinition]) -> Iterator[tuple[Chunk, Partitions]]:
    """Chunks of partitions that come sorted by their values; holds one chunk in memory."""
    run: list[PartitionDefinition] = []
    for partition in partitions:
        run.append(partition)
        if _cuts_after(partition.values) or len(run) >= _LARGEST:
            yield _chunk(run), run
            run = []
    if run:
        yield _chunk(run), run


def _chunk(run: Partitions) -> Chunk:
    return Chunk(content_hash([partition_json(p) for p in run]), run[0].values, run[-1].values, len(run))


def _is_whole(chunk: Chunk) -> bool:
    return chunk.count >= _LARGEST or _cuts_after(chunk.last)


def differing(manifests: Sequence[Manifest]) -> list[Chunk]:
    """The chunks that not all of the manifests have, each once."""
    common = set.intersection(*({chunk.hash for chunk in m} for m in manifests)) if manifests else set()
    chunks = {chunk.hash: chunk for manifest in manifests for chunk in manifest if chunk.hash not in common}
    return list(chunks.values())


def covering(manifest: Manifest, values: Iterable[PartitionValues]) -> list[Chunk]:
    """The chunks of a manifest in which any of the partitions would stand."""
    wanted = sorted(values)
    found, index = [], 0
    for chunk in manifest:
        while index < len(wanted) and wanted[index] < chunk.first:
            index += 1
        if index < len(wanted) and wanted[index] <= chunk.last:
            found.append(chunk)
    return found


def patch(
    manifest: Manifest, changes: Mapping[PartitionValues, PartitionDefinition | None], load: Load
) -> Iterator[tuple[Chunk, Partitions | None]]:
    """The manifest with partitions replaced, added or (None) removed.

    Yields the new manifest's chunks in order, with their partitions where the chunk is new. Only chunks that a change
    falls into, and those that must be cut anew after them, are loaded.
    """
    pending = sorted(changes)
    run: list[PartitionDefinition] = []
    for index, chunk in enumerate(manifest):
        following = manifest[index + 1].first if index + 1 < len(manifest) else None
        mine = [values for values in pending if following is None or values < following]
        pending = pending[len(mine) :]
        if not mine and not run:
            yield chunk, None
            continue
        content = {partition.values: partition for partition in load(chunk)}
        run += _changed(content, {values: changes[values] for values in mine})
        last = index + 1 == len(manifest)
        pieces = list(cut(run))
        run = []
        if pieces and not last and not _is_whole(pieces[-1][0]):
            run = list(pieces.pop()[1])
        yield from pieces
    if pending or run:
        yield from cut(run + _changed({}, {values: changes[values] for values in pending}))


def _changed(
    content: Mapping[PartitionValues, PartitionDefinition],
    changes: Mapping[PartitionValues, PartitionDefinition | None],
) -> list[PartitionDefinition]:
    merged = {**content, **changes}
    return [partition for _, partition in sorted(merged.items()) if partition is not None]


def definition_hash(header_hash: str, manifest: Manifest) -> str:
    """The address of a whole definition."""
    return content_hash([header_hash, [chunk.hash for chunk in manifest]])
