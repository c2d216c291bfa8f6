"""Who is notified, of what, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from metasync.settings.durations import Duration
from metasync.settings.section import Patterns, Section

NeedKind = Literal["conflict", "refusal", "plan", "dead-event", "source-unknown", "stale", "other"]


class Mail(Section):
    """How e-mail is sent."""

    host: str
    """The SMTP server."""
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    """Its port."""
    starttls: bool = True
    """Encrypt, with the certificate verified."""
    user: str | None = None
    """To log in with."""
    password: SecretStr | None = None
    """Its password; better given as `password_file` or `${VARIABLE}`."""
    password_file: str | None = None
    """A file that holds the password."""
    sender: str
    """The From address."""
    to: Annotated[list[str], Field(min_length=1)]
    """Who gets it."""


class Channel(Section):
    """Somebody who is notified of what needs attention: a Slack-compatible webhook, a signed webhook, or e-mail."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    """What was sent to it is kept under this name."""
    type: Literal["slack", "webhook", "email"]
    """`slack`: a text for Slack, Mattermost and their like; `webhook`: metasync.notification/v1 as JSON; `email`."""
    url: SecretStr | None = None
    """Of `slack` and `webhook`; a secret, as whoever knows it may write there."""
    url_file: str | None = None
    """A file that holds the address."""
    secret: SecretStr | None = None
    """Signs a webhook's body: `X-Metasync-Signature: sha256=HMAC`."""
    secret_file: str | None = None
    """A file that holds the secret."""
    mail: Mail | None = None
    """Of `email`."""
    kinds: list[NeedKind] = ["conflict", "refusal", "plan", "dead-event", "source-unknown", "stale", "other"]
    """What it is notified of."""
    digest: Duration = 60.0
    """How long what begins is gathered into one message."""

    @model_validator(mode="after")
    def _whole(self) -> Channel:
        if self.type == "email" and self.mail is None:
            raise ValueError("type email needs mail: {host, sender, to}")
        if self.type != "email" and self.url is None and self.url_file is None:
            raise ValueError(f"type {self.type} needs url or url_file")
        return self


class AfterApply(Section):
    """A webhook that gets each change after it was made, in order, at least once: for grants, caches, catalogs."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    """How far it was notified is kept under this name."""
    url: SecretStr | None = None
    """Gets metasync.change/v1 as JSON; a secret, as whoever knows it may write there."""
    url_file: str | None = None
    """A file that holds the address."""
    secret: SecretStr | None = None
    """Signs the body: `X-Metasync-Signature: sha256=HMAC`."""
    secret_file: str | None = None
    """A file that holds the secret."""
    actions: list[Literal["created", "dropped", "merged", "undone", "discovered"]] = [
        "created", "dropped", "merged", "undone", "discovered",
    ]  # fmt: skip
    """What it is notified of."""
    repositories: Patterns = ["*"]
    """Of which repositories."""

    @model_validator(mode="after")
    def _whole(self) -> AfterApply:
        if self.url is None and self.url_file is None:
            raise ValueError("needs url or url_file")
        return self
