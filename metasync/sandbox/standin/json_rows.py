"""The answers' rows, as a real server writes them (recorded; lakeFS 1.84)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from metasync.sandbox.standin.repository import (
    Object,
    Pull,
    StoredCommit,
    StoredRepository,
)


def repository(r: StoredRepository) -> dict[str, Any]:
    return {
        "creation_date": r.creation_date, "default_branch": r.default_branch, "id": r.name,
        "read_only": r.read_only, "storage_id": "", "storage_namespace": r.namespace,
    }  # fmt: skip


def ref(name: str, commit: str) -> dict[str, str]:
    return {"commit_id": commit, "id": name}


def commit(c: StoredCommit) -> dict[str, Any]:
    return {
        "committer": c.committer, "creation_date": c.creation_date, "generation": c.generation, "id": c.id,
        "message": c.message, "meta_range_id": c.meta_range_id, "metadata": dict(c.metadata),
        "parents": list(c.parents), "version": 1,
    }  # fmt: skip


def object(path: str, o: Object) -> dict[str, Any]:
    return {
        "checksum": o.checksum, "content_type": "application/octet-stream", "mtime": o.mtime, "path": path,
        "path_type": "object", "physical_address": o.address, "size_bytes": len(o.content),
    }  # fmt: skip


def run(run: Any) -> dict[str, Any]:
    return {
        "branch": run.branch, "commit_id": run.commit_id, "end_time": run.end, "event_type": run.event_type,
        "run_id": run.run_id, "start_time": run.start, "status": run.status,
    }  # fmt: skip


def pull(p: Pull) -> dict[str, Any]:
    value = {
        "status": p.status, "title": p.title, "author": "admin", "creation_date": p.created,
        "destination_branch": p.destination, "id": p.id, "source_branch": p.source,
    }  # fmt: skip
    if p.commit:
        value |= {"closed_date": p.closed, "merged_commit_id": p.commit}
    return value


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
