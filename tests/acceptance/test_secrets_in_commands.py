"""What commands print of a configuration: no secret, and what they read again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from metasync.settings import load_settings
from tests.canary import CANARY, EVERYWHERE, RULES
from tests.commands import COMMAND


@pytest.mark.parametrize(
    "arguments",
    [
        ["config", "show"], ["config", "check"], ["doctor"], ["status"], ["refs"], ["plan"], ["reconcile"], ["serve"],
        ["notify", "test"], ["db", "upgrade"], ["events", "list"], ["--output", "json", "status"], ["prune"],
        ["--server", f"http://user:{CANARY}@127.0.0.1:1", "status"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_command_shows_a_secret(tmp_path: Path, arguments: list[str]) -> None:
    config = tmp_path / "metasync.yaml"
    config.write_text(EVERYWHERE + RULES)
    done = subprocess.run(
        [COMMAND, "-c", str(config), *arguments], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout or done.stderr
    assert CANARY not in done.stdout + done.stderr


def test_what_config_show_prints_config_check_accepts(tmp_path: Path) -> None:
    config = tmp_path / "metasync.yaml"
    config.write_text("server: {listen: '127.0.0.1:1'}\n" + RULES)
    shown = subprocess.run([COMMAND, "-c", str(config), "config", "show"], capture_output=True, text=True, check=True)
    config.write_text(shown.stdout)
    assert subprocess.run([COMMAND, "-c", str(config), "config", "check"], check=False).returncode == 0
    assert load_settings(config, {}).events.retention == 30 * 86400
