"""The action file by which lakeFS notifies metasync of what happens, and its careful installation.

One bad file blocks every later commit on its branch, even the one that would remove it (seen live, recorded in
bad-action-file.json), so a file has post-events only, only those the server's version knows, and is tried on a
throw-away branch first.
"""

from __future__ import annotations

import re
import tempfile
import uuid
from collections.abc import Iterable
from pathlib import Path

import lakefs_sdk

from metasync.errors import LakeFSError, LakeFSUnavailable
from metasync.lakefs.client import LakeFS, NotThere
from metasync.model.lakefs import EventType

PATH = "_lakefs_actions/metasync.yaml"
_SINCE: dict[EventType, tuple[int, int]] = {
    EventType.CREATE_BRANCH: (0, 62),
    EventType.DELETE_BRANCH: (0, 62),
    EventType.CREATE_TAG: (0, 62),
    EventType.DELETE_TAG: (0, 62),
    EventType.COMMIT: (0, 33),
    EventType.MERGE: (0, 33),
    EventType.REVERT: (1, 52),
    EventType.CHERRY_PICK: (1, 65),
}


def events_of(version: str) -> list[EventType]:
    """The events that a server of `version` knows; a version without a number is taken for the newest."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    number = (int(match.group(1)), int(match.group(2))) if match else (999, 0)
    return [event for event, since in _SINCE.items() if number >= since]


def action_file(url: str, version: str, token_variable: str = "METASYNC_TOKEN") -> str:
    """The action file for a server of `version` that posts to `url`.

    The token is read by lakeFS from its environment variable `LAKEFSACTION_<token_variable>`; it is never in the file.
    """
    events = "".join(f"  {event.value}:\n" for event in events_of(version))
    return (
        "# Notifies metasync. Post-events only: metasync never stands in anybody's way.\n"
        "name: metasync\n"
        f"on:\n{events}"
        "hooks:\n"
        "  - id: notify\n"
        "    type: webhook\n"
        "    properties:\n"
        f"      url: {url.rstrip('/')}/hooks/lakefs\n"
        "      timeout: 10s\n"
        "      headers:\n"
        f'        Authorization: "Bearer {{{{ ENV.LAKEFSACTION_{token_variable} }}}}"\n'
    )


def install(lakefs: LakeFS, repository: str, branch: str, content: str) -> str:
    """Commits the action file to `branch`, after a throw-away branch has shown that lakeFS takes it.

    Gives what was done, as a sentence. Raises LakeFSError where lakeFS refuses the file; then `branch` is untouched.
    """
    if _present(lakefs, repository, branch) == content:
        return f"{repository}/{branch} has this {PATH} already"
    trial = f"metasync-trial-{uuid.uuid4().hex[:8]}"
    creation = lakefs_sdk.BranchCreation(name=trial, source=branch)
    lakefs.once("create_branch", f"{repository} {trial}", lakefs.branches.create_branch, repository, creation)
    try:
        _commit_file(lakefs, repository, trial, content)
        # The file counts only for events after the commit that brings it.
        _commit_empty(lakefs, repository, trial)
    except (LakeFSError, LakeFSUnavailable) as error:
        raise LakeFSError(f"lakeFS does not take the action file, {branch} is untouched: {error}") from error
    finally:
        lakefs.once("delete_branch", f"{repository} {trial}", lakefs.branches.delete_branch, repository, trial)
    _commit_file(lakefs, repository, branch, content)
    return f"committed {PATH} to {repository}/{branch}; branches made before now send no events, the poller sees them"


def installed_on(lakefs: LakeFS, repository: str, branches: Iterable[str]) -> dict[str, str]:
    """Branch -> `installed`, or `missing`: lakeFS reads the file of the branch that an event is about."""
    return {
        branch: "installed" if _present(lakefs, repository, branch) is not None else "missing" for branch in branches
    }


def _present(lakefs: LakeFS, repository: str, branch: str) -> str | None:
    try:
        content = lakefs.call(
            "get_object", f"{repository} {branch}", lakefs.objects.get_object, repository, branch, PATH
        )
    except NotThere:
        return None
    return bytes(content).decode("utf-8", errors="replace")


def _commit_file(lakefs: LakeFS, repository: str, branch: str, content: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # The SDK takes bytes for the name of a file to open.
        path = Path(folder) / "metasync.yaml"
        path.write_text(content, encoding="utf-8")
        subject = f"{repository} {branch}"
        lakefs.once("upload_object", subject, lakefs.objects.upload_object, repository, branch, PATH, content=str(path))
    creation = lakefs_sdk.CommitCreation(message="metasync: notify it of what happens here")
    lakefs.once("commit", subject, lakefs.commits.commit, repository, branch, creation)


def _commit_empty(lakefs: LakeFS, repository: str, branch: str) -> None:
    creation = lakefs_sdk.CommitCreation(message="metasync: trial of its action file", allow_empty=True)
    lakefs.once("commit", f"{repository} {branch}", lakefs.commits.commit, repository, branch, creation)
