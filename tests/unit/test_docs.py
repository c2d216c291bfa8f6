"""docs/merging.md and docs/clients.md: the examples hold, and every conflict has its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import metasync
from metasync.model.hms import TableName
from metasync.model.lakefs import Ref, RefType
from metasync.planning.conflicts import REASONS
from metasync.planning.names import physical_name
from metasync.settings.models import Target
from tests.case_files import Case, cases
from tests.unit.test_merge_cases import check

TEXT = (Path(__file__).parents[2] / "docs" / "merging.md").read_text(encoding="utf-8")
EXAMPLES = [YAML(typ="safe").load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.S)]


@pytest.mark.parametrize("words", EXAMPLES, ids=lambda words: words["title"])
def test_examples_of_the_page_run(words: dict[str, object]) -> None:
    check(Case(0, "docs", words))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6


def test_every_conflict_has_its_name_and_its_help_on_the_page() -> None:
    rows = set(re.findall(r"^\| `([a-z-]+)` \|", TEXT, re.M)) - {"additive", "full", "plan", "ignore"}
    assert rows == set(REASONS)
    named = {reason for case in cases() for reason in _reasons(case)}
    assert named <= set(REASONS)
    package = Path(metasync.__file__).parent
    modules = [path for path in package.rglob("*.py") if path.name != "conflicts.py"]
    source = "\n".join(path.read_text(encoding="utf-8") for path in modules)
    assert {reason for reason in REASONS if f'"{reason}"' not in source} == set()


def _reasons(case: Case) -> list[str]:
    said = case.words.get("conflicts", {})
    return [reason for reason in said.values() if isinstance(reason, str)]


def test_every_kind_of_notice_is_explained() -> None:
    operations = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`([a-z-]+)`", operations))
    source = "\n".join(path.read_text(encoding="utf-8") for path in Path(metasync.__file__).parent.rglob("*.py"))
    kinds = set(re.findall(r'Notice\(\s*"([a-z-]+)"', source)) | {"failed", "delayed", "other-store", "older-store"}
    assert len(kinds) > 20 and kinds <= explained, kinds - explained


def test_the_names_on_the_page_for_clients_are_the_names() -> None:
    text = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (branch|tag) `([^`]+)` \| (\S+) \| `([^`]+)` \|$", text, re.M)
    assert len(rows) == 4
    target = Target()
    for kind, name, table, physical in rows:
        ref, logical = Ref(RefType(kind), name), TableName.parse(table)
        expected = logical if name == "main" else physical_name(target, "lake", ref, logical)
        assert str(expected) == physical
    (profile,) = re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
    assert YAML(typ="safe").load(profile)["lake"]["outputs"]["branch"]["type"] == "spark"
