"""The documentation is of this code: generated pages are current, examples run, commands and links are there."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from metasync.cli.main import main as command_line
from metasync.planning.rules import problems
from metasync.settings import parse_settings
from tools import reference

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])
GENERATED = reference.pages()


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_what_is_written_from_the_code_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == GENERATED[path], "run: make docs"


def test_no_schema_is_of_something_that_is_gone() -> None:
    assert set((ROOT / "docs" / "schemas").iterdir()) <= set(GENERATED)


def examples() -> list[tuple[str, str]]:
    found = []
    for page in (ROOT / "README.md", ROOT / "docs" / "cookbook.md", ROOT / "docs" / "operations.md"):
        blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
        found += [(f"{page.name}-{number}", block) for number, block in enumerate(blocks)]
    for path in (ROOT / "deploy").rglob("metasync.yaml"):
        found.append((str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize(("name", "text"), examples(), ids=lambda value: value if len(value) < 60 else "")
def test_every_example_is_a_configuration(name: str, text: str) -> None:
    environment = {"METASYNC_TOKEN": "t", "METASYNC_WEBHOOK_TOKEN": "w", "METASYNC_STORE": "sqlite:///m.db"}
    assert problems(parse_settings(text, name, environment).rules) == []


def test_there_are_examples() -> None:
    assert len(examples()) > 12


def names(group: click.Group, path: str = "metasync") -> set[str]:
    context, found = click.Context(group), set()
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found |= names(command, f"{path} {name}") if isinstance(command, click.Group) else {f"{path} {name}"}
    return found


def test_every_command_that_the_pages_name_is_there() -> None:
    known = names(command_line)
    groups = {" ".join(name.split()[:2]) for name in known}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for words in re.findall(r"(?:`|^    )metasync ((?:[a-z]+)(?: [a-z]+)?)", text, re.M):
            first = f"metasync {words.split()[0]}"
            assert first in groups, (page.name, words)
            if first not in known and len(words.split()) > 1:
                assert f"metasync {words}" in known, (page.name, words)


def test_every_flag_that_the_pages_name_is_there() -> None:
    flags = set()

    def collect(command: click.Command) -> None:
        flags.update(flag for p in command.params for flag in [*p.opts, *p.secondary_opts])
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                collect(inner)

    collect(command_line)
    for page in PAGES:
        for line in re.findall(r"(?:`|^    )(metasync [^`\n]*)", page.read_text(encoding="utf-8"), re.M):
            for flag in re.findall(r"(?<!\S)(--[a-z-]+)", line):
                assert flag in flags | {"--help", "--version"}, (page.name, line)


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), (page.name, target)


def test_every_make_target_that_the_pages_name_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        for target in re.findall(r"(?:`|^    )make ([a-z-]+)", page.read_text(encoding="utf-8"), re.M):
            assert re.search(rf"^{target}:", makefile, re.M), (page.name, target)
