"""`make test-metastores`: one behaviour suite on every version, and docs/compatibility.md as that came out.

VERSIONS="3.1.3 4.2.1" runs some, SHORT=1 the modules that touch the metastore most; the page is written where all of
both were run. A version whose jars or Java cannot be had is told, and is a failure unless OPTIONAL=1.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from metasync.sandbox.metastore import SandboxMetastore
from tests.metastores.probes import QUESTIONS, answers
from tests.metastores.servers import PACKAGED, VARIABLE, VERSIONS, Missing, running

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "compatibility.md"
SUITE = {
    "test_metastore.py": "the adapter",
    "test_newer_metastore.py": "constraints of every kind, nested types, newer fields, compare and set",
    "test_rewritten_locations.py": "database locations that a server rewrites",
    "test_notification_log.py": "the notification log",
    "test_connections.py": "TLS, Kerberos, HTTP with tokens, catalogs",
    "test_mirrors.py": "creations and deletions",
    "test_merging.py": "merges",
    "test_table_types.py": "types of mirrors, and where their databases lie",
    "test_merge_cases.py": "every case of merging in `tests/merge_cases/` that a server can play",
    "test_waiting.py": "what waits for what",
    "test_hard_cases.py": "crashes, outages and people in between",
    "test_deciding.py": "conflicts, plans, undo, logs",
    "test_discovery.py": "partitions from directories",
    "test_identity.py": "lost, restored and second stores",
}
"""Module of tests/integration/ -> what it is about."""
SHORT = (
    "test_metastore.py",
    "test_newer_metastore.py",
    "test_connections.py",
    "test_mirrors.py",
    "test_merging.py",
    "test_table_types.py",
)


@dataclass
class Outcome:
    """What one version did: module -> (passed, skipped, failed), and its answers."""

    counts: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return sum(failed for _, _, failed in self.counts.values())


def main() -> int:
    wanted = os.environ.get("VERSIONS", "").split() or list(VERSIONS)
    outcomes: dict[str, Outcome] = {}
    missing = 0
    for version in wanted:
        try:
            outcomes[version] = run(version)
        except Missing as error:
            missing += 1
            print(f"{version}: {error}", flush=True)
    if set(outcomes) == set(VERSIONS) and os.environ.get("SHORT") != "1":
        PAGE.write_text(page(outcomes), encoding="utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)}")
    for version, outcome in outcomes.items():
        passed = sum(one for one, _, _ in outcome.counts.values())
        print(f"{version}: {passed} passed, {outcome.failed} failed", flush=True)
    failed = any(outcome.failed for outcome in outcomes.values())
    return 1 if failed or (missing and not os.environ.get("OPTIONAL")) else 0


def run(version: str) -> Outcome:
    """The suite and the questions on one version. Raises Missing."""
    outcome = Outcome(said=_asked(version))
    with tempfile.TemporaryDirectory(prefix="metasync-suite-") as folder:
        report = Path(folder) / "report.xml"
        files = [f"tests/integration/{name}" for name in (SHORT if os.environ.get("SHORT") == "1" else SUITE)]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-n",
            "2",
            "--dist",
            "loadfile",
            "-q",
            f"--junitxml={report}",
            *files,
        ]
        print(f"== {version}", flush=True)
        subprocess.run(command, cwd=ROOT, env={**os.environ, VARIABLE: version}, check=False)
        for case in ElementTree.parse(report).getroot().iter("testcase"):
            module = case.get("classname", "").rpartition(".")[2] + ".py"
            passed, skipped, failed = outcome.counts.get(module, (0, 0, 0))
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
            elif case.find("skipped") is not None:
                skipped += 1
            else:
                passed += 1
            outcome.counts[module] = (passed, skipped, failed)
    return outcome


def _asked(version: str) -> dict[str, str]:
    with running(version) as one, tempfile.TemporaryDirectory(prefix="metasync-probe-") as folder:
        metastore = SandboxMetastore(Path(folder), ["lake"], server=one)
        metastore.start()
        try:
            (metastore.lake / "lake" / "main").mkdir(parents=True)
            return answers(metastore.uri, "s3a://lake/main/probe")
        finally:
            metastore.stop()


def page(outcomes: dict[str, Outcome]) -> str:
    """docs/compatibility.md."""
    versions = [version for version in VERSIONS if version in outcomes]
    head = "| | " + " | ".join(versions) + " |\n|---|" + "---|" * len(versions)
    lines = [
        "# Metastores",
        "",
        "Written by `make test-metastores`, which runs one behaviour suite on a real server of each version",
        f"({PACKAGED} from PyPI, the others from Maven Central; on embedded Derby, but for one) "
        "and asks each what tells",
        "it apart.",
        "",
        "## The suite: tests passed",
        "",
        head,
    ]
    for module, about in SUITE.items():
        cells = [_cell(outcomes[version].counts.get(module, (0, 0, 0))) for version in versions]
        lines.append(f"| {about} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "A number in parentheses: tests of what that version has not.",
        "",
        "## What tells them apart",
        "",
        head,
    ]
    for question in QUESTIONS:
        cells = [outcomes[version].said[question] for version in versions]
        lines.append(f"| {question} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(counts: tuple[int, int, int]) -> str:
    passed, skipped, failed = counts
    return f"{passed}" + (f" ({skipped})" if skipped else "") + (f", **{failed} failed**" if failed else "")


if __name__ == "__main__":
    sys.exit(main())
