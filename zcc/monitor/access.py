"""Who may read the page: under which names it answers, with which token, and what browsers may do with it.

Reading is guarded from pages of other sites (a foreign Host that was made to lead here, a frame, a fetch), and
from strangers where it listens to more than this machine. The one order that the page may give, to drain a
node, is off unless it was asked for, needs the token everywhere, and is taken of the page itself alone.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import socket
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zcc.errors import ConfigError

COOKIE = "zcc-monitor"
LEAST_TOKEN = 16
# Who asks whether it lives has no token: load balancers, supervisors.
OPEN_PATHS = ("/healthz",)
# No inline script or style, nothing from elsewhere, no frame around it.
POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def listening(where: str) -> tuple[str, int]:
    """HOST:PORT, HOST or :PORT, as `--listen` has it.

    Raises:
        ConfigError: it is no such thing.
    """
    host, colon, port = where.rpartition(":")
    if not colon or where.endswith("]"):
        host, port = where, "8318"
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdecimal() or not 0 <= int(port) <= 65_535:
        raise ConfigError(f"--listen {where}: expected HOST:PORT, as in 127.0.0.1:8318")
    return host, int(port)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def token_for(host: str, file: str) -> str:
    """The token that readers need; empty: none, as only this machine can reach the page.

    Raises:
        ConfigError: there is none and it takes one, or the file is not fit to hold one.
    """
    if file:
        try:
            with open(file, encoding="utf-8") as stream:
                token = stream.read(4096).strip()
                mode = os.fstat(stream.fileno()).st_mode
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the token in {file}: {error}") from error
        if mode & 0o077:
            raise ConfigError(f"others may read the token in {file}: chmod 600 {file}")
        if len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable():
            raise ConfigError(
                f"the token in {file} has to be {LEAST_TOKEN} or more ASCII characters"
            )
        return token
    if is_loopback(host):
        return ""
    raise ConfigError(
        f"everybody who reaches {host} could read who compiles what: give readers a token (head"
        " -c 24 /dev/urandom | base64 > FILE; chmod 600 FILE; zcc monitor --listen ... --token-file FILE), or"
        " listen on 127.0.0.1 behind a proxy that knows who they are (docs/guide/monitor.md)"
    )


def is_known_host(header: str, names: Iterable[str]) -> bool:
    """Whether a request's Host is a name under which this page is meant to be read.

    An address is: no name that an attacker owns leads there. Another name has to be one of ours.
    """
    host = header.strip().lower()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host in names
    return True


def is_own_order(headers: Headers) -> bool:
    """Whether a request to change something comes from this very page, or from a program that says the token.

    A cookie is sent along by the browser, whoever had it sent: then Origin, which no page can forge, has to
    name this page. A form of another site cannot send JSON without asking first, and is never allowed.
    """
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return False
    if headers.get("authorization", "").lower().startswith("bearer "):
        return True  # the guard has looked at it
    scheme, _, place = headers.get("origin", "").partition("://")
    is_same = scheme in ("http", "https") and place.lower() == headers.get("host", "").lower()
    return is_same and headers.get("sec-fetch-site", "same-origin") == "same-origin"


class Guard:
    """ASGI middleware in front of everything; `names` are those beside localhost and this machine's own."""

    def __init__(self, app: ASGIApp, token: str, names: Iterable[str] = ()) -> None:
        self._app = app
        self._token = token
        self._names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}
        # What the cookie has: who steals it cannot write the token down elsewhere.
        self._pass = hmac.new(token.encode(), b"zcc monitor", hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        answer = self._refusal(scope)
        await (answer or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not is_known_host(headers.get("host", ""), self._names):
            return PlainTextResponse(
                "This page does not answer under that name: add it with zcc monitor --name NAME.\n",
                421,
            )
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and (
            headers.get("sec-fetch-mode") != "navigate"
        ):
            return PlainTextResponse("Other sites may not read this.\n", 403)
        if not self._token or scope["path"] in OPEN_PATHS or self._is_let_in(headers):
            return None
        said = QueryParams(scope["query_string"]).get("token", "")
        if hmac.compare_digest(said.encode(), self._token.encode()):
            return self._let_in(scope)
        return PlainTextResponse(
            "This page needs its token: open it as /?token=TOKEN once, or send it as"
            " 'Authorization: Bearer TOKEN'.\n",
            401,
            {"www-authenticate": "Bearer"},
        )

    def _is_let_in(self, headers: Headers) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return hmac.compare_digest(bearer.strip().encode(), self._token.encode())
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return False
        shown = cookies[COOKIE].value if COOKIE in cookies else ""
        return hmac.compare_digest(shown.encode(), self._pass.encode())

    def _let_in(self, scope: Scope) -> Response:
        """The token leaves the address line, and a cookie stands for it."""
        answer = RedirectResponse("/", 303)
        is_secure = scope.get("scheme") == "https"
        answer.set_cookie(
            COOKIE,
            self._pass,
            httponly=True,
            samesite="strict",
            secure=is_secure,
            max_age=2_592_000,
        )
        return answer
