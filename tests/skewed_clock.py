"""The installed command on a clock that somebody sets, by the seconds in the file that METASYNC_TEST_CLOCK names."""

from __future__ import annotations

import os
import time
from pathlib import Path

_FILE = Path(os.environ["METASYNC_TEST_CLOCK"])
_real = time.time


def _skewed() -> float:
    try:
        return _real() + float(_FILE.read_text() or 0)
    except (OSError, ValueError):
        return _real()


time.time = _skewed

if __name__ == "__main__":
    from metasync.cli.main import main

    main()
