"""The application's pure parts: drawings of graphs, lines of plans, what needs nobody."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import metasync
from metasync.application import answers
from metasync.application.answers import Lane, TablePage, VersionNode, moment
from metasync.application.attention import NOTES
from metasync.application.explain import explain
from metasync.application.plan_text import plan_lines, summary
from metasync.model.hms import TableName
from metasync.model.lakefs import Ref, RefType
from metasync.planning.changes import CreateMirror, DropDatabase, DropTable
from metasync.planning.plan import Notice, Plan
from metasync.settings import parse_settings
from metasync.web.drawing import draw
from tests.hypothesis_examples import examples

DEV = Ref(RefType.BRANCH, "dev-1")


@st.composite
def graphs(draw_: st.DrawFn) -> TablePage:
    """Any graph whose versions are numbered upwards, as the store numbers them."""
    lanes = draw_(st.integers(1, 6))
    count = draw_(st.integers(1, 25))
    first = draw_(st.integers(1, 3))
    nodes = []
    for number in range(first, first + count):
        earlier = st.sampled_from(range(1, number)) if number > 1 else st.nothing()
        parents = draw_(st.lists(earlier, max_size=2, unique=True)) if number > 1 else []
        lane = draw_(st.integers(0, lanes - 1))
        nodes.append(
            VersionNode(
                id=number, lane=lane, parents=tuple(parents), commit="c", seen=None, absent=draw_(st.booleans()),
                changes=("+column a int",),
            )
        )  # fmt: skip
    forks = [draw_(st.none() | st.sampled_from([node.id for node in nodes])) for _ in range(lanes)]
    return TablePage(
        repository="lake", table="sales.t",
        lanes=tuple(Lane(ref=f"branch/{n}", incarnation=1, life="live", physical="p", fork=forks[n]) for n in range(lanes)),
        versions=tuple(reversed(nodes)),
    )  # fmt: skip


@examples(100)
@given(graphs())
def test_every_version_has_a_dot_of_its_own_and_every_parent_a_line(page: TablePage) -> None:
    drawing = draw(page)
    places = {(dot.x, dot.y) for dot in drawing.dots}
    assert len(places) == len(page.versions) == len(drawing.dots)
    wanted = sum(len(version.parents) for version in page.versions) + len(drawing.stubs)
    assert len(drawing.curves) == wanted
    merges = sum(len(version.parents) > 1 for version in page.versions)
    assert sum(curve.kind == "merge" for curve in drawing.curves) == merges
    for x, y in places:
        assert 0 < x < drawing.width and 0 < y < drawing.height
    height = {dot.id: dot.y for dot in drawing.dots}
    for version in page.versions:
        for parent in version.parents:
            assert parent not in height or height[parent] > height[version.id], "history runs downwards"
    for curve in drawing.curves:
        for number in re.findall(r"-?\d+", curve.path):
            assert 0 <= int(number) <= max(drawing.width, drawing.height)


def test_a_plan_is_told_in_groups_counts_last() -> None:
    name = TableName("sales__dev_1", "t")
    mirror = CreateMirror(1, DEV, 1, TableName("sales", "t"), name, "dev", 1, "", None, 3, 2)
    gone = DropTable(2, Ref(RefType.TAG, "v1"), 1, TableName("sales", "t"), TableName("sales__v1", "t"), True)
    plan = Plan(
        "lake", (mirror, gone, DropDatabase(2, "sales__v1")), (Notice("foreign-table", "x", "stands there", "move it"),)
    )
    lines = [(line.sign, line.text, line.depth) for line in plan_lines(plan)]
    assert lines[0] == (" ", "creation of branch/dev-1", 0)
    assert lines[1] == ("+", "mirror sales__dev_1.t of sales.t: 2 columns, 3 partitions", 1)
    assert (" ", "deletion of tag/v1", 0) in lines and ("-", "mirror sales__v1.t", 1) in lines
    assert lines[-1] == ("!", "x: stands there; move it", 1)
    assert summary(plan.counts()) == "1 to create, 1 to drop, 1 refused"
    assert summary(Plan("lake").counts()) == "nothing to do"


def test_kinds_that_need_nobody_are_kinds_that_there_are() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in Path(metasync.__file__).parent.rglob("*.py"))
    for kind in NOTES - {"delayed"}:
        assert f'"{kind}",' in source.replace("frozenset", ""), kind


def test_every_answer_says_its_kind_and_version() -> None:
    kinds = [answer.model_fields["kind"].default for answer in answers.EVERY]
    assert len(set(kinds)) == len(kinds) and all(re.fullmatch(r"metasync\.[a-z-]+/v[12]", kind) for kind in kinds)
    defined = {one for one in vars(answers).values() if isinstance(one, type) and issubclass(one, answers.Answer)}
    assert defined - {answers.Answer} == set(answers.EVERY)


def test_a_bare_name_is_explained_as_what_the_rules_speak_of() -> None:
    settings = parse_settings(
        'rules: [{name: dev, repository: lake, branches: ["dev-*"], tags: ["v*"], tables: ["sales.*"]}]'
    )
    for ref, mirror in (("v1.0", "sales__v1_0.t"), ("dev-1", "sales__dev_1.t"), ("tag/v1.0", "sales__v1_0.t")):
        assert explain(settings, "lake", ref, "sales.t").mirror == mirror
    assert explain(settings, "lake", "other", "sales.t").sentence == "sales.t is not mirrored for branch/other"


def test_moments_that_no_calendar_has_are_its_last() -> None:
    assert str(moment(1e15)) == "9999-12-31 23:59:59+00:00" and moment(None) is None
