"""Sending one message over one channel."""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

import httpx
from pydantic import SecretStr

from metasync.errors import ChannelUnavailable, PermanentError
from metasync.settings.notifications import AfterApply, Channel, Mail

_TIMEOUT = 10.0
_UNREADABLE = (400, 413, 422)
"""What says that this message is wrong, and will be however often it is sent; all else may be fixed there."""


@dataclass(frozen=True)
class Message:
    """What is sent: a subject and a text for people, JSON for programs, and a key by which a program knows it again."""

    subject: str
    text: str
    body: Mapping[str, Any]
    key: str = ""


Sender = Callable[[Message], None]
"""Raises ChannelUnavailable, PermanentError."""


def sender_of(channel: Channel | AfterApply) -> Sender:
    """How a channel is sent to."""
    name, secret = channel.name, channel.secret
    if isinstance(channel, Channel) and channel.type == "email":
        mail = channel.mail
        assert mail is not None  # the settings say so
        return lambda message: _mail(name, mail, message)
    url = channel.url
    assert url is not None  # the settings say so
    if isinstance(channel, Channel) and channel.type == "slack":
        return lambda message: _post(name, url, {"text": f"*{message.subject}*\n{message.text}"}, None, message.key)
    return lambda message: _post(name, url, message.body, secret, message.key)


def signature(secret: str, body: bytes) -> str:
    """`X-Metasync-Signature` of a body: the HMAC-SHA256 in hexadecimal, as GitHub and others sign theirs."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _post(name: str, url: SecretStr, value: Mapping[str, Any], secret: SecretStr | None, key: str) -> None:
    body = json.dumps(value, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "metasync"}
    if secret is not None:
        headers["X-Metasync-Signature"] = signature(secret.get_secret_value(), body)
    if key:
        headers["Idempotency-Key"] = key
    try:
        answer = httpx.post(url.get_secret_value(), content=body, headers=headers, timeout=_TIMEOUT)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Its text may hold the address.
        raise ChannelUnavailable(f"channel {name}: does not answer ({type(error).__name__})") from None
    if answer.is_success:
        return
    if answer.status_code in _UNREADABLE:
        raise PermanentError(f"channel {name}: cannot read the message, and answers {answer.status_code}")
    raise ChannelUnavailable(f"channel {name}: answers {answer.status_code}; check its url")


def _mail(name: str, mail: Mail, message: Message) -> None:
    letter = EmailMessage()
    letter["Subject"], letter["From"], letter["To"] = message.subject, mail.sender, ", ".join(mail.to)
    letter.set_content(message.text)
    try:
        with smtplib.SMTP(mail.host, mail.port, timeout=_TIMEOUT) as server:
            if mail.starttls:
                server.starttls(context=ssl.create_default_context())
            if mail.user and mail.password:
                server.login(mail.user, mail.password.get_secret_value())
            server.send_message(letter)
    except smtplib.SMTPResponseException as error:
        kind = PermanentError if error.smtp_code >= 500 else ChannelUnavailable
        raise kind(f"channel {name}: the mail server says {error.smtp_code}") from None
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        raise ChannelUnavailable(f"channel {name}: the mail server does not take it ({type(error).__name__})") from None
