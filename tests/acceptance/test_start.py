"""What a command loads before it does anything; counted in modules, as time is not for tests."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"lakefs_sdk", "hmsclient", "thrift", "metasync.engine.controller", "metasync.wiring", "fastapi"}


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
