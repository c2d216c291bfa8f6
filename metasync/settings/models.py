"""The settings, key by key. Field descriptions become the JSON Schema and the configuration reference."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_serializer, field_validator, model_validator

from metasync.redaction import redact
from metasync.settings.durations import Duration
from metasync.settings.notifications import AfterApply, Channel
from metasync.settings.section import Patterns, Section

Mode = Literal["apply", "observe"]
MergePolicy = Literal["ignore", "plan", "additive", "full"]


class LakeFS(Section):
    """Where lakeFS is; credentials default to lakectl's environment variables and `~/.lakectl.yaml`."""

    endpoint_url: str = "http://127.0.0.1:8000"
    """The server's address, with or without `/api/v1`."""
    access_key_id: str | None = None
    """A lakeFS user with read rights is enough."""
    secret_access_key: SecretStr | None = None
    """Its secret; better given as `secret_access_key_file` or `${VARIABLE}`."""
    secret_access_key_file: str | None = None
    """A file that holds the secret."""
    ca_file: str | None = None
    """Certificates to trust beside the system's."""
    timeout: Annotated[Duration, Field(gt=0)] = 30.0
    """For one request."""

    @field_validator("endpoint_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("needs http:// or https://")
        if "@" in value:
            raise ValueError("holds a user or a password: these belong into access_key_id and secret_access_key")
        return value.rstrip("/").removesuffix("/api/v1")


class MetastoreTLS(Section):
    """TLS to the metastore; certificates are verified."""

    enabled: bool = False
    """Speak TLS."""
    ca_file: str | None = None
    """Certificates to trust instead of the system's."""
    cert_file: str | None = None
    """A certificate of metasync's own (PEM), where the metastore asks for one."""
    key_file: str | None = None
    """Its key, where `cert_file` does not hold it."""


class MetastoreAuth(Section):
    """Who metasync is to the metastore."""

    type: Literal["none", "kerberos", "jwt"] = "none"
    """`kerberos` needs `metasync[kerberos]`, and a ticket or a keytab in `KRB5_CLIENT_KTNAME`; `jwt` an HTTP URI."""
    service_principal: str = "hive/_HOST"
    """The metastore's principal, as its `hive.metastore.kerberos.principal` has it; `_HOST` is the URI's host."""
    token: SecretStr | None = None
    """The bearer token of `jwt`; better given as `token_file`."""
    token_file: str | None = None
    """A file that holds it, read anew for each call."""

    @field_validator("service_principal")
    @classmethod
    def _service_and_host(cls, value: str) -> str:
        if not re.fullmatch(r"[^/@]+/[^/@]+(@[^/@]+)?", value):
            raise ValueError(f"{value!r} is not service/host or service/host@REALM")
        return value

    @model_validator(mode="after")
    def _token_where_needed(self) -> Self:
        if (self.type == "jwt") != (self.token is not None or self.token_file is not None):
            raise ValueError("token or token_file is needed with type jwt, and with that alone")
        return self


class Metastore(Section):
    """Where the Hive Metastore is."""

    uris: Annotated[list[str], Field(min_length=1)] = ["thrift://127.0.0.1:9083"]
    """`thrift://host:port`, or `https://host:port/path` (Hive 4); the next is tried when one does not answer."""
    user: str | None = None
    """The user name that `set_ugi` announces, or the header `x-actor-username`; default: who runs metasync."""
    catalog: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")] = "hive"
    """The catalog whose databases are meant, where a metastore (3.1 or later) has several."""
    auth: MetastoreAuth = MetastoreAuth()
    """Who metasync is."""
    notification_log: bool = False
    """Whether merges read only the partitions that HMS's notification log names; its listener must never be off."""
    tls: MetastoreTLS = MetastoreTLS()
    """Transport security."""
    pool: Annotated[int, Field(ge=1, le=64)] = 4
    """Connections, and tables worked on at once."""
    connect_timeout: Annotated[Duration, Field(gt=0)] = 10.0
    """For one connection."""
    read_timeout: Annotated[Duration, Field(gt=0)] = 120.0
    """For one call; a 3.1 metastore retries database errors for some 20 s before it answers."""
    partition_batch: Annotated[int, Field(ge=1, le=5000)] = 500
    """Partitions written in one call, half of what is read in one; a batch that is found too large is halved."""

    @field_validator("uris")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        for uri in value:
            try:
                parts = urlsplit(uri)
                whole = bool(parts.hostname) and (parts.port is not None or parts.scheme == "https")
                whole = whole and "@" not in parts.netloc
            except ValueError:
                whole = False
            if not whole or parts.scheme not in ("thrift", "http", "https"):
                raise ValueError(f"{redact(uri)!r} is neither thrift://host:port nor https://host:port/path")
        return value

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        over_http = {urlsplit(uri).scheme != "thrift" for uri in self.uris}
        if self.auth.type == "jwt" and over_http != {True}:
            raise ValueError("auth.type jwt needs http:// or https:// in every one of uris")
        if self.auth.type == "kerberos" and True in over_http:
            raise ValueError("auth.type kerberos needs thrift:// in every one of uris")
        return self


class Store(Section):
    """metasync's own database."""

    url: str = "sqlite:///metasync.db"
    """An SQLAlchemy URL: SQLite for one process, PostgreSQL for replicas."""
    lease: Duration = 30.0
    """How long a replica that was killed, or hangs, keeps what it worked on from the others."""

    @field_validator("lease")
    @classmethod
    def _not_too_short(cls, value: float) -> float:
        if value < 2.0:
            raise ValueError("needs 2s or more: a lease is kept by asking the store three times as often")
        return value

    @field_validator("url")
    @classmethod
    def _escaped(cls, value: str) -> str:
        authority = value.partition("://")[2].partition("?")[0]
        user = authority.rpartition("@")[0]
        if not value.startswith("sqlite") and ("@" in user or "/" in user):
            raise ValueError("its password holds @ or /, which a URL writes as %40 and %2F")
        return value

    @field_serializer("url")
    def _without_password(self, value: str) -> str:
        return redact(value)


class Server(Section):
    """The web edge."""

    listen: str = "127.0.0.1:8765"
    """host:port of webhook, metrics and health checks."""
    token: SecretStr | None = None
    """The bearer token that lakeFS and people send; required on any address but loopback."""
    token_file: str | None = None
    """A file that holds the token."""
    webhook_token: SecretStr | None = None
    """What lakeFS sends, good for the webhook alone; default: `token`. Whoever may commit an action file can get it."""
    webhook_token_file: str | None = None
    """A file that holds it."""
    ui_actions: bool = False
    """Whether the status page may reconcile, apply, resolve, replay and pause; else it only shows."""
    shutdown_grace: Duration = 25.0
    """How long after SIGTERM the process is ended whatever it does; Kubernetes kills after 30 s by default."""
    public_url: str | None = None
    """How people reach the status page: links in notifications begin with it."""

    @field_validator("token", "webhook_token")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        return check_token(value)

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @field_validator("listen")
    @classmethod
    def _host_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or len(port) > 5 or int(port) > 65535:
            raise ValueError("needs host:port, for example 127.0.0.1:8765")
        return value


def check_token(value: SecretStr | None) -> SecretStr | None:
    """Raises ValueError for a token that cannot be sent in a header, or is none."""
    if value is not None and not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("needs one or more printable ASCII characters, without spaces")
    return value


class Poll(Section):
    """The poller cannot be switched off: a branch older than the action file sends no webhook."""

    interval: Duration = 60.0
    """How often the refs of every ruled repository are listed."""

    @field_validator("interval")
    @classmethod
    def _not_too_often(cls, value: float) -> float:
        if value < 1.0:
            raise ValueError("needs 1s or more")
        return value


class Events(Section):
    """Where work comes from."""

    webhook: bool = True
    """Accept `POST /hooks/lakefs`."""
    poll: Poll = Poll()
    """Ask lakeFS."""
    max_attempts: Annotated[int, Field(ge=1)] = 8
    """After so many failures an event is dead: kept, shown, replayable."""
    retry_delay: Duration = 5.0
    """The first wait before an event is tried again; it doubles, up to ten minutes."""
    retention: Duration = 30 * 86400.0
    """How long events that are done are kept."""


class Reconcile(Section):
    """The scheduled full reconcile."""

    schedule: str = "17 * * * *"
    """Five cron fields, UTC: every table of every watched ref is read again."""

    @field_validator("schedule")
    @classmethod
    def _cron(cls, value: str) -> str:
        if len(value.split()) != 5:
            raise ValueError("needs five cron fields, for example '17 * * * *'")
        # What reads it decides what it takes; it takes its time to load.
        from apscheduler.triggers.cron import CronTrigger

        try:
            CronTrigger.from_crontab(value, timezone="UTC")
        except ValueError as error:
            raise ValueError(f"{value!r} is no schedule: {error}") from error
        return value


class Safety(Section):
    """What is beyond these limits is held back, stored as a plan, and applied only on purpose; all else goes on."""

    max_ref_drops: Annotated[int, Field(ge=0)] = 10
    """Refs ended in one pass over a repository."""
    max_ref_drop_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of a repository's mirrored refs ended in one pass; counts from the fourth on."""
    drop_grace: Duration = 0.0
    """How long a ref must have been gone before its mirrors are dropped."""
    max_tables_per_ref: Annotated[int, Field(ge=1)] = 5000
    """Mirrors of one ref."""
    max_partitions_per_table: Annotated[int, Field(ge=1)] = 1_000_000
    """Partitions of one mirrored table."""


class Telemetry(Section):
    """Traces, with the extra `metasync[otel]`; the endpoint and all else by OpenTelemetry's own OTEL_ variables."""

    traces: bool = False
    """Send a trace of every pass."""


class Logging(Section):
    """Log lines on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is written."""
    format: Literal["auto", "console", "json"] = "auto"
    """`auto`: for people on a terminal, JSON elsewhere."""


class Target(Section):
    """How a mirror is named; placeholders {database} {table} {ref} {ref_type} {repository}."""

    database: str = "{database}__{ref}"
    """The mirror's database."""
    table: str = "{table}"
    """The mirror's table."""
    on_collision: Literal["refuse", "hash"] = "refuse"
    """Two refs that come to one name: refuse the newcomer, or distinguish it by a hash of its ref."""
    in_canonical_database: bool = False
    """Whether mirrors of branches may stand in a database of canonical tables. There a DROP DATABASE takes both, and a
    table without a location that somebody creates beside the mirrors lies on the canonical branch."""

    @field_validator("database", "table")
    @classmethod
    def _placeholders(cls, value: str) -> str:
        try:
            value.format(database="d", table="t", ref="r", ref_type="branch", repository="p")
        except (KeyError, IndexError, ValueError, AttributeError):
            known = "{database} {table} {ref} {ref_type} {repository}"
            raise ValueError(f"{value!r} has a placeholder that is not one of {known}") from None
        return value


class RuleDefaults(Section):
    """What all rules inherit."""

    canonical_branch: str | None = None
    """The branch whose tables people register themselves; default: the repository's default branch."""
    target: Target = Target()
    """Names of mirrors."""
    create: Literal["mirror", "ignore"] = "mirror"
    """What a new ref does."""
    delete: Literal["drop", "keep"] = "drop"
    """What the end of a ref does."""
    merge: MergePolicy = "additive"
    """What a merge does: nothing; plans only; additions, with destructive changes planned; everything."""
    partitions: Literal["copy", "none", "discover"] = "copy"
    """Whether mirrors get their source's partitions. `discover`: they do, and directories that a commit on the branch,
    or a merge into it, fills or empties become or cease to be partitions."""
    protected: Patterns = []
    """Tables that no merge changes unless its plan is applied by hand."""
    on_missing_base: Literal["conflict", "additive"] = "conflict"
    """When two refs share no known version of a table: everything that differs is a conflict, or additions pass."""
    ignore_parameters: Patterns = []
    """Table and partition parameters (globs) that engines write and that are therefore never compared or merged."""


class Rule(RuleDefaults):
    """Which refs of which repositories mirror which tables, and how."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
    """Stored in every mirror's marks."""
    repository: str
    """A glob or `re:` pattern."""
    branches: Patterns = []
    """Globs; `!` excludes, `re:` is a regular expression; case-sensitive."""
    tags: Patterns = []
    """The same for tags."""
    tables: Annotated[list[str], Field(min_length=1)]
    """`database.table` patterns, lower-cased."""

    @model_validator(mode="after")
    def _some_refs(self) -> Rule:
        if not self.branches and not self.tags:
            raise ValueError("needs branches or tags")
        for pattern in self.tables:
            bare = pattern.removeprefix("!")
            if not bare.startswith("re:") and bare.count(".") != 1:
                raise ValueError(f"table pattern {pattern!r} is not database.table")
        return self


class Settings(Section):
    """The whole configuration file."""

    mode: Mode = "apply"
    """`observe` plans, records and writes nothing to the metastore."""
    instance: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")] = "metasync"
    """The name in the ownership marks; two installs on one metastore need two names."""
    lakefs: LakeFS = LakeFS()
    """lakeFS."""
    metastore: Metastore = Metastore()
    """The Hive Metastore."""
    store: Store = Store()
    """metasync's own database."""
    server: Server = Server()
    """The web edge."""
    events: Events = Events()
    """Webhook, poller, queue."""
    reconcile: Reconcile = Reconcile()
    """The schedule."""
    safety: Safety = Safety()
    """Limits."""
    notifications: list[Channel] = []
    """Who is notified of what needs a person's attention."""
    after_apply: list[AfterApply] = []
    """Who is notified of every change."""
    telemetry: Telemetry = Telemetry()
    """Traces."""
    logging: Logging = Logging()
    """Logs."""
    defaults: RuleDefaults = RuleDefaults()
    """Inherited by every rule."""
    rules: Annotated[list[Rule], Field(min_length=1, max_length=1000)]
    """The first rule that matches a ref and a table wins."""

    @model_validator(mode="after")
    def _rules_differ(self) -> Settings:
        kinds: dict[str, list[str]] = {
            "rules": [rule.name for rule in self.rules],
            "channels of notifications": [channel.name for channel in self.notifications],
            "webhooks of after_apply": [hook.name for hook in self.after_apply],
        }
        for kind, names in kinds.items():
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"two {kind} are called {name!r}")
        return self
