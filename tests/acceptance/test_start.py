"""What a command loads before it does anything; counted in modules, as time is not for tests."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = {"lakefs_sdk", "hmsclient", "thrift", "metasync.engine.controller", "metasync.wiring", "fastapi"}


PRINTING = {"rich", "structlog", "sqlalchemy", "pydantic", "ruamel", "re2"}


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["--help"], {}),
        (["--version"], {}),
        (["status", "--help"], {}),
        (["repair", "--help"], {}),
        (["nothing"], {}),
        (
            [],
            {"_METASYNC_COMPLETE": "bash_complete", "COMP_WORDS": "metasync st", "COMP_CWORD": "1"},
        ),
        (
            [],
            {"_METASYNC_COMPLETE": "zsh_complete", "COMP_WORDS": "metasync reconcile --", "COMP_CWORD": "2"},
        ),
    ],
)
def test_help_and_completion_load_no_more_than_click(words: list[str], environment: dict[str, str]) -> None:
    code = (
        "import sys\nfrom metasync.cli.main import main\n"
        "try:\n    main(prog_name='metasync')\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True, text=True, check=False, env=os.environ | environment,
    )  # fmt: skip
    loaded = set(done.stderr.split("\n")[-2].split())
    assert "click" in loaded and not (HEAVY | PRINTING) & loaded
    assert len(loaded) < 250


@pytest.mark.parametrize(
    ("modules", "spared"),
    [
        ("metasync.cli.main", HEAVY | {"sqlalchemy", "pydantic"}),
        ("metasync.cli.queries, metasync.application.remote", HEAVY | {"sqlalchemy"}),
        ("metasync.cli.queries, metasync.application.queries", HEAVY),
    ],
)
def test_questions_load_no_engine(modules: str, spared: set[str]) -> None:
    code = f"import sys, {modules}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not spared & set(loaded)
