"""`metasync doctor`: checks what can be checked, and says what to do. It changes nothing but a store to migrate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from metasync.application.answers import Check, Checks
from metasync.engine.scheduler import repositories
from metasync.errors import LakeFSError, MetasyncError
from metasync.lakefs import LakeFS
from metasync.lakefs.actions import installed_on
from metasync.metastore import ConnectionPool, Metastore
from metasync.model.lakefs import RefType
from metasync.planning.rules import RuleSet, problems_of
from metasync.settings import Settings
from metasync.store.stores import open_stores

_MOST_BRANCHES = 50
_SKEW = 5.0
_VOLATILE = ("overlay", "tmpfs", "ramfs")


def diagnose(settings: Settings) -> Checks:
    """Looks at the rules, the store, lakeFS, the metastore and the server, each on its own."""
    found = problems_of(settings)
    checks = [Check(subject="rules", ok=not found, finding="; ".join(found) or f"{len(settings.rules)}, none shadowed")]
    for part in (_store, _lakefs, _metastore, _server):
        checks += part(settings)
    return Checks(items=tuple(checks))


def _store(settings: Settings) -> Iterator[Check]:
    try:
        with open_stores(settings.store) as stores:
            kind = "PostgreSQL" if stores.database.path is None else f"SQLite in {stores.database.path}"
            yield Check(subject="store", ok=True, finding=f"{kind} answers and is migrated")
            if stores.database.path is not None and (volatile := _volatile(Path(stores.database.path))):
                yield Check(
                    subject="store", ok=False, finding=f"its file lies on {volatile}, which a restart may empty",
                    help="put it on a disk that stays, or use PostgreSQL: store.url",
                )  # fmt: skip
            yield _clock("the store", stores.database.server_time())
            last = stores.overview.finished().get("webhook")
            seen = f"the last one was worked off {(time.time() - last) / 60:.0f} min ago" if last else "none came yet"
            yield Check(
                subject="webhooks", ok=True, finding=seen,
                help="" if last or not settings.events.webhook else "metasync hooks install REPOSITORY --url URL; "
                "until then the poller alone sees refs",
            )  # fmt: skip
    except MetasyncError as error:
        yield Check(subject="store", ok=False, finding=str(error), help="check store.url")


def _lakefs(settings: Settings) -> Iterator[Check]:
    try:
        lakefs = LakeFS(settings.lakefs)
        yield Check(subject="lakefs", ok=True, finding=f"{settings.lakefs.endpoint_url} answers, {lakefs.version()}")
        for name in repositories(RuleSet.of(settings), lakefs):
            yield from _repository(settings, lakefs, name)
    except MetasyncError as error:
        help_ = "check lakefs.endpoint_url and the credentials"
        yield Check(subject="lakefs", ok=False, finding=str(error), help=help_)


def _repository(settings: Settings, lakefs: LakeFS, name: str) -> Iterator[Check]:
    subject, rules = f"repository {name}", RuleSet.of(settings)
    repository = lakefs.get_repository(name)
    if repository is None:
        hint = "check the rule's repository, and that the lakeFS user may read it"
        yield Check(subject=subject, ok=False, finding="lakeFS has none, or does not show it", help=hint)
        return
    refs = lakefs.list_refs(name)
    watched = [ref for ref in refs if rules.is_watched(repository, ref)]
    mirrored = [ref for ref in refs if rules.of_ref(name, ref)]
    yield Check(subject=subject, ok=True, finding=f"{len(refs)} refs, {len(mirrored)} match a rule")
    yield from _rights(lakefs, name, repository.default_branch)
    branches = sorted(ref.name for ref in watched if ref.type is RefType.BRANCH)[:_MOST_BRANCHES]
    missing = [branch for branch, state in installed_on(lakefs, name, branches).items() if state == "missing"]
    if settings.events.webhook:
        some = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        yield Check(
            subject=subject, ok=True,
            finding=f"no action file on {some}" if missing else f"the action file is on all {len(branches)} watched",
            help=f"metasync hooks install {name} --url URL; until then the poller alone sees them" if missing else "",
        )  # fmt: skip


def _rights(lakefs: LakeFS, repository: str, branch: str) -> Iterator[Check]:
    """Each kind of read that metasync needs, once."""
    reads: dict[str, Callable[[], object]] = {
        "the log": lambda: next(lakefs.first_parents(repository, branch, 1), None),
        "runs of actions": lambda: lakefs.payload_of_run(repository, "0" * 64, "post-merge"),
        "objects": lambda: lakefs.has_objects(repository, branch, "_lakefs_actions"),
    }
    for what, read in reads.items():
        try:
            read()
        except LakeFSError as error:
            yield Check(
                subject=f"repository {repository}", ok=False, finding=f"{what} cannot be read: {error}",
                help="give the lakeFS user read rights: fs:Read*, fs:List*, ci:Read*",
            )  # fmt: skip


def _metastore(settings: Settings) -> Iterator[Check]:
    try:
        # Without thrift's C codec, opening a connection says so.
        metastore = Metastore(ConnectionPool(settings.metastore))
        try:
            age = "3.1 or later" if metastore.has_catalogs else "before 3.1"
            word = f"it says of itself: {metastore.ping()}"
            yield Check(
                subject="metastore", ok=True,
                finding=f"answers, version {age} ({word}); thrift's C codec is active",
            )  # fmt: skip
            databases = metastore.get_all_databases()
            yield Check(subject="metastore", ok=True, finding=f"shows {len(databases)} databases")
        finally:
            metastore.close()
    except MetasyncError as error:
        help_ = "check metastore.uris and that the metastore runs"
        yield Check(subject="metastore", ok=False, finding=str(error), help=help_)


def _server(settings: Settings) -> Iterator[Check]:
    if settings.server.token is None:
        yield Check(
            subject="server", ok=True, finding="no token: only this machine is served",
            help="set server.token_file before lakeFS is to reach it from elsewhere",
        )  # fmt: skip
    else:
        yield Check(subject="server", ok=True, finding=f"{settings.server.listen}, with a token")
    if settings.mode == "observe":
        yield Check(
            subject="mode", ok=True, finding="observe: nothing is written to the metastore",
            help="set mode: apply once the plans look right",
        )  # fmt: skip


def _clock(whose: str, now: float) -> Check:
    skew = now - time.time()
    return Check(
        subject="clock", ok=abs(skew) < _SKEW, finding=f"{whose}'s differs from ours by {abs(skew):.1f} s",
        help="" if abs(skew) < _SKEW else "run NTP on both: leases and events are timed by it",
    )  # fmt: skip


def _volatile(path: Path) -> str:
    """The kind of the file system that a path lies on, where that does not outlive a container or the machine."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return ""
    real = str(path.resolve().parent) + "/"
    where = max((m for m in mounts if real.startswith(m[0].rstrip("/") + "/")), key=lambda m: len(m[0]), default=None)
    in_container = Path("/.dockerenv").exists() or Path("/run/secrets/kubernetes.io").exists()
    if where is None or where[1] not in _VOLATILE or (where[1] == "overlay" and not in_container):
        return ""
    return where[1]
