"""A table's graph as a drawing: lanes from left to right, the newest version on top, merges as curves between lanes."""

from __future__ import annotations

from dataclasses import dataclass

from metasync.application.answers import TablePage

_ROW, _COLUMN, _LEFT, _TOP, _RADIUS = 44, 34, 24, 30, 6
_COLOURS = 8


@dataclass(frozen=True)
class Dot:
    """A version at its place. `colour` is the number of a colour of the style sheet."""

    id: int
    x: int
    y: int
    colour: int
    absent: bool
    merged: bool
    title: str


@dataclass(frozen=True)
class Curve:
    """A line from a version down to what it came from. kind: same (its own ref), fork, merge."""

    path: str
    kind: str
    colour: int


@dataclass(frozen=True)
class Drawing:
    """Everything in pixels; `rows` gives each version's height, for the text beside it."""

    width: int
    height: int
    row: int
    dots: tuple[Dot, ...]
    curves: tuple[Curve, ...]
    stubs: tuple[Dot, ...]


def draw(page: TablePage) -> Drawing:
    """Places every version of a page; a parent that is not shown is a line that leaves below."""
    rows = {version.id: number for number, version in enumerate(page.versions)}
    bottom = _TOP + len(rows) * _ROW
    place = {v.id: (_x(v.lane), _TOP + rows[v.id] * _ROW) for v in page.versions}
    lane_of = {version.id: version.lane for version in page.versions}
    dots, curves = [], []
    for version in page.versions:
        x, y = place[version.id]
        title = f"version {version.id} on {page.lanes[version.lane].ref}: {', '.join(version.changes) or 'no change'}"
        dots.append(Dot(version.id, x, y, version.lane % _COLOURS, version.absent, len(version.parents) > 1, title))
        for number, parent in enumerate(version.parents):
            end = place.get(parent, (x, bottom))
            same = lane_of.get(parent, version.lane) == version.lane
            kind = "merge" if number else "same" if same else "fork"
            curves.append(Curve(_path((x, y), end, kind), kind, lane_of.get(parent, version.lane) % _COLOURS))
    begun = {version.lane for version in page.versions}
    stubs = []
    for number, lane in enumerate(page.lanes):
        if number not in begun and lane.fork in place:
            x, y = _x(number), max(place[lane.fork][1] - _ROW // 2, _TOP - _ROW // 2)
            stubs.append(Dot(lane.fork, x, y, number % _COLOURS, False, False, f"{lane.ref}: as it was created"))
            curves.append(Curve(_path((x, y), place[lane.fork], "fork"), "fork", number % _COLOURS))
    width = _LEFT * 2 + max(len(page.lanes) - 1, 0) * _COLUMN
    return Drawing(width, bottom + 6, _ROW, tuple(dots), tuple(curves), tuple(stubs))


def _x(lane: int) -> int:
    return _LEFT + lane * _COLUMN


def _path(start: tuple[int, int], end: tuple[int, int], kind: str) -> str:
    """Straight down a lane, and over to the other one in one row: at once for a merge, at the end for a fork."""
    (x1, y1), (x2, y2) = start, end
    if x1 == x2:
        return f"M{x1} {y1} L{x2} {y2}"
    if kind == "merge":
        bend = min(y1 + _ROW, y2)
        return f"M{x1} {y1} C{x1} {y1 + _ROW // 2} {x2} {bend - _ROW // 2} {x2} {bend} L{x2} {y2}"
    bend = max(y2 - _ROW, y1)
    return f"M{x1} {y1} L{x1} {bend} C{x1} {bend + _ROW // 2} {x2} {y2 - _ROW // 2} {x2} {y2}"
