"""The recorded exchanges with a real lakeFS 1.84, replayed in their order: the stand-in answers as lakeFS did."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from metasync.sandbox.standin import StandIn
from tests.replay import ORDER, RECORDED, Receiver, Replay


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    receiver = Receiver()
    played = Replay(None, receiver)  # type: ignore[arg-type]
    server = StandIn(environment={"LAKEFSACTION_TOKEN": "s3cret-token"}, clock=lambda: played.now)
    played.server = server
    server.start()
    yield played
    server.stop()
    receiver.server.shutdown()
    receiver.server.server_close()


def test_every_recording_is_replayed() -> None:
    assert sorted(ORDER) == sorted(path.stem for path in RECORDED.glob("*.json"))


@pytest.mark.parametrize("name", ORDER)
def test_the_stand_in_answers_as_lakefs_did(replay: Replay, name: str) -> None:
    replay.run(name)


def test_the_hooks_of_the_replay_carried_the_token_from_the_environment(replay: Replay) -> None:
    assert "Bearer s3cret-token" in replay.receiver.tokens
    assert "/hooks/lakefs?source=lakefs" in replay.receiver.paths
