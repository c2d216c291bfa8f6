"""`metasync doctor`: looks at what can be looked at, and says what to do."""

from __future__ import annotations

from dataclasses import dataclass

from metasync.engine.scheduler import repositories
from metasync.errors import MetasyncError
from metasync.lakefs import LakeFS
from metasync.metastore import ConnectionPool, Metastore
from metasync.planning.rules import RuleSet, problems
from metasync.settings import Settings
from metasync.store import open_database


@dataclass(frozen=True)
class Check:
    """One thing that `doctor` looked at."""

    subject: str
    ok: bool
    finding: str
    help: str = ""


def diagnose(settings: Settings) -> list[Check]:
    """Looks at the rules, the store, lakeFS and the metastore, each on its own."""
    found = problems(settings.rules)
    checks = [Check("rules", not found, "; ".join(found) or f"{len(settings.rules)} rules, none shadowed")]
    try:
        database = open_database(settings.store.url)
        database.close()
        volatile = settings.store.url.startswith("sqlite:////tmp")
        help_text = "its file lies in /tmp: put it where it survives a restart" if volatile else ""
        checks.append(Check("store", True, "answers, migrated", help_text))
    except MetasyncError as error:
        checks.append(Check("store", False, str(error), "check store.url"))
    checks += _diagnose_lakefs(settings)
    pool = ConnectionPool(settings.metastore)
    metastore = Metastore(pool)
    try:
        checks.append(Check("metastore", True, f"answers (version {metastore.ping()}); thrift's C codec is active"))
    except MetasyncError as error:
        checks.append(Check("metastore", False, str(error), "check metastore.uris and that the metastore runs"))
    finally:
        metastore.close()
    if settings.server.token is None:
        checks.append(Check("webhook", True, "no token: only loopback is served", "set server.token_file"))
    return checks


def _diagnose_lakefs(settings: Settings) -> list[Check]:
    lakefs = LakeFS(settings.lakefs)
    try:
        checks = [Check("lakefs", True, f"answers (version {lakefs.version()})")]
        for name in repositories(RuleSet.of(settings), lakefs):
            repository = lakefs.get_repository(name)
            if repository is None:
                checks.append(Check(f"repository {name}", False, "lakeFS has none", "check the rule's repository"))
                continue
            installed = lakefs.has_objects(name, repository.default_branch, "_lakefs_actions")
            hint = (
                "" if installed else f"metasync hooks install {name} --url ...; until then the poller alone sees refs"
            )
            state = "has action files" if installed else "has no action file"
            checks.append(Check(f"repository {name}", True, f"{repository.default_branch} {state}", hint))
        return checks
    except MetasyncError as error:
        return [Check("lakefs", False, str(error), "check lakefs.endpoint_url and the credentials")]
