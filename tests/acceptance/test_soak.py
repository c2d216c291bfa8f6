"""Some minutes of the simulation; `make soak` runs it for as long as one likes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_people_and_accidents_for_a_while(tmp_path: Path) -> None:
    seconds, seed = os.environ.get("METASYNC_SOAK_SECONDS", "120"), os.environ.get("METASYNC_SOAK_SEED", "1")
    command = [sys.executable, "-m", "tests.soak.run", "--seconds", seconds, "--seed", seed, "--folder", str(tmp_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=float(seconds) + 600, check=False)
    print(done.stdout[-6000:])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert "every invariant holds" in done.stdout
