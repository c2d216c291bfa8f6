"""How a metastore is reached: a socket or HTTP, plain or TLS, with a Kerberos ticket or a token.

Seen live: TLS on 2.3.9 to 4.2.1; Kerberos (authentication alone, and privacy) on 2.3.9 to 4.1.0; HTTP and HTTPS with
tokens on 4.0.1 to 4.2.1.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from socket import create_connection
from typing import Any
from urllib.parse import urlsplit

from thrift.transport import TSocket, TTransport
from thrift.transport.THttpClient import THttpClient
from thrift.transport.TSSLSocket import TSSLSocket

from metasync.errors import ConfigurationError
from metasync.settings.models import Metastore as MetastoreSettings

_BUFFER = 64 * 1024


def open_transport(uri: str, settings: MetastoreSettings, user: str) -> Any:
    """A thrift transport to one URI that answers; `read_timeout` holds from then on.

    Raises TTransportException or OSError where it does not answer or does not let us in, ConfigurationError where what
    the settings name cannot be used.
    """
    parts = urlsplit(uri)
    if parts.scheme in ("http", "https"):
        http = _Http(uri, settings, user)
        if not http.using_proxy():
            # It connects anew for each call: whether anybody is there must be known now, for the next URI to be tried.
            create_connection((parts.hostname, http.port), settings.connect_timeout).close()
        return TTransport.TBufferedTransport(http, _BUFFER)
    host, port = parts.hostname or "", parts.port
    if settings.tls.enabled:
        socket: Any = TSSLSocket(host, port, ssl_context=_tls(settings))
    else:
        socket = TSocket.TSocket(host, port)
    socket.setTimeout(settings.connect_timeout * 1000)
    if settings.auth.type == "kerberos":
        transport = _with_ticket(socket, host, settings.auth.service_principal)
    else:
        transport = TTransport.TBufferedTransport(socket, _BUFFER)
        transport.open()
    socket.setTimeout(settings.read_timeout * 1000)
    return transport


def _tls(settings: MetastoreSettings) -> ssl.SSLContext:
    """What verifies the server's certificate and name, and shows ours where there is one."""
    tls = settings.tls
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file is not None:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as error:
        named = ", ".join(path for path in (tls.ca_file, tls.cert_file, tls.key_file) if path)
        raise ConfigurationError(f"metastore.tls ({named}): {error}") from error
    return context


def _with_ticket(socket: Any, host: str, principal: str) -> Any:
    """SASL with the ticket of the credential cache, or of the keytab that KRB5_CLIENT_KTNAME names."""
    try:
        import kerberos
        from puresasl import SASLError
    except ImportError as error:
        raise ConfigurationError(
            "metastore.auth.type kerberos needs an extra, which compiles against Kerberos' headers (libkrb5-dev): "
            "pip install 'metasync[kerberos]'"
        ) from error
    service, _, rest = principal.partition("/")
    named = rest.partition("@")[0]
    try:
        transport = TTransport.TSaslClientTransport(socket, host if named == "_HOST" else named, service)
        transport.open()
    except TTransport.TTransportException:
        socket.close()
        raise
    except (kerberos.KrbError, SASLError) as error:
        socket.close()
        raise TTransport.TTransportException(
            TTransport.TTransportException.NOT_OPEN, f"Kerberos does not let us in as a client of {principal}: {error}"
        ) from error
    return transport


class _Http(THttpClient):  # type: ignore[misc] # thrift has no types
    """Hive 4's HTTP transport: a request a call. A token file is read anew each time, as tokens expire."""

    def __init__(self, uri: str, settings: MetastoreSettings, user: str) -> None:
        super().__init__(uri, ssl_context=_tls(settings) if urlsplit(uri).scheme == "https" else None)
        self.setTimeout(settings.read_timeout * 1000)
        self._auth, self._user = settings.auth, user

    def close(self) -> None:
        if self.isOpen():
            super().close()

    def flush(self) -> None:
        headers = {"x-actor-username": self._user}
        if self._auth.type == "jwt":
            headers["Authorization"] = f"Bearer {self._token()}"
        self.setCustomHeaders(headers)
        super().flush()
        if self.code != 200:
            raise TTransport.TTransportException(
                TTransport.TTransportException.UNKNOWN, f"HTTP {self.code} {self.message}"
            )

    def _token(self) -> str:
        if self._auth.token_file is not None:
            try:
                return Path(self._auth.token_file).expanduser().read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ConfigurationError(f"metastore.auth.token_file {self._auth.token_file}: {error}") from error
        return self._auth.token.get_secret_value() if self._auth.token is not None else ""
