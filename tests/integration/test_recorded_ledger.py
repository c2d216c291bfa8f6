"""Every recorded scenario of a real lakeFS, replayed, with metasync looking: what the ledger makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from metasync.engine.scope import Scope
from metasync.sandbox.stack import Sandbox
from metasync.sandbox.standin import StandIn
from metasync.sandbox.standin.server import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from metasync.settings import parse_settings
from metasync.wiring import Parts, parts
from tests.replay import ORDER, Receiver, Replay

MERGES = {
    "merge": [("branch/main", "branch/dev-1")],
    "merge-squash": [("branch/main", "branch/dev-1")],
    "merge-source-wins": [("branch/main", "branch/dev-1")],
    "merge-behind": [("branch/from_tag", "branch/main")],
    "gate": [("branch/main", "branch/dev-1")],
    "pull-request": [("branch/main", "branch/dev-1")],
}
"""What each scenario adds to the ledger: (destination, source). All others add nothing."""
TOLD = {
    "cherry-pick": ["cherry-picked"],
    "revert": ["reverted"],
    "hard-reset": ["history-rewritten"],
    "bad-action-fixed": ["history-rewritten"],
}


@dataclass
class Looking:
    """metasync on the lakeFS of a replay."""

    replay: Replay
    built: Parts

    def look(self) -> None:
        result = self.built.controller.sync(Scope("lake", full=True))
        assert not result.failures and not result.more

    def ledger(self) -> list[tuple[str, str]]:
        merges = self.built.ledger.find_merges("")
        assert all(merge.state == "done" for merge in merges)
        return [(str(self.built.refs.get(m.destination_ref_id).ref), m.source) for m in merges]

    def told(self) -> list[str]:
        found = self.built.history.rows("lake", limit=1000)
        return [
            row.action for row in reversed(found) if row.action in ("cherry-picked", "reverted", "history-rewritten")
        ]


@pytest.fixture
def looking(sandbox: Sandbox, tmp_path: Path) -> Iterator[Looking]:
    receiver = Receiver()
    replay = Replay(None, receiver)  # type: ignore[arg-type]
    server = StandIn(environment={"LAKEFSACTION_TOKEN": "s3cret-token"}, clock=lambda: replay.now)
    replay.server = server
    server.start()
    settings = parse_settings(
        "lakefs:\n"
        f"  {{endpoint_url: {server.url}, access_key_id: {ACCESS_KEY_ID}, secret_access_key: {SECRET_ACCESS_KEY}}}\n"
        f"metastore: {{uris: [{sandbox.metastore.uri}]}}\n"
        f"store: {{url: 'sqlite:///{tmp_path / 'store.db'}'}}\n"
        "safety: {max_ref_drop_share: 1.0}\n"
        "rules:\n"
        "- {name: all, repository: lake, branches: ['dev-*', from_tag, gated], tags: ['v*'], tables: ['no.*']}\n",
        "metasync.yaml",
        {},
    )
    with parts(settings) as built:
        yield Looking(replay, built)
    server.stop()
    receiver.server.shutdown()
    receiver.server.server_close()


def test_each_scenario_adds_its_merges_and_nothing_else(looking: Looking) -> None:
    entered: list[tuple[str, str]] = []
    told: list[str] = []
    for name in ORDER:
        looking.replay.run(name)
        looking.look()
        entered += MERGES.get(name, [])
        told += TOLD.get(name, [])
        assert (looking.ledger(), looking.told()) == (entered, told), name
    looking.look()
    assert looking.ledger() == entered


def test_one_look_after_all_of_it_enters_the_same_merges(looking: Looking) -> None:
    """metasync was away, and no webhook came through."""
    before = ORDER.index("commits-on-both")
    for name in ORDER[:before]:
        looking.replay.run(name)
    looking.look()
    for name in ORDER[before:]:
        looking.replay.run(name)
    looking.look()
    assert sorted(looking.ledger()) == sorted(merge for some in MERGES.values() for merge in some)
