"""Protection of a local web page: who may ask (Host, Origin, token, cookie) and what a browser may do with the answers.

ASGI middleware without a framework. `HardenedApp` suits every server of docclf; `BrowserOnly` adds the one-time link and
the cookie for pages that people use in a browser.
"""

from __future__ import annotations

import hashlib
import hmac
import http.cookies
import secrets
import threading
import urllib.parse
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

READS = frozenset(("GET", "HEAD"))
WRITE_HEADER = "x-docclf-token"
ENTER = "/enter"
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_ENTERED = (
    "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content='0;url=/'>"
    "<title>docclf</title><p>Opening … <a href='/'>continue</a>"
)
_CLOSED = (
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>docclf</title>"
    "<p>This link was used already, or is not complete. Copy the newest one from the terminal."
    "<p lang=ko>이미 사용했거나 잘못된 링크입니다. 터미널에 표시된 최신 링크를 여세요."
)


class HardenedApp:
    """Refuses requests that were not meant for this server, and sends headers that keep browsers safe with every answer.

    Args:
        app: What answers.
        hosts: Values of `Host` that this server has, with the port.
        most_bytes: Larger request bodies are refused.
    """

    def __init__(self, app: App, hosts: frozenset[str], most_bytes: int = 1 << 16) -> None:
        self._app, self._hosts, self._most_bytes = app, hosts, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        send = _with_headers(send)
        if scope["type"] != "http":
            return await refuse(scope, send, 403, "only http is spoken here")
        if (fault := self._fault(scope)) is not None:
            return await refuse(scope, send, *fault)
        return await self._app(scope, receive, send)

    def _fault(self, scope: Scope) -> tuple[int, str] | None:
        headers = headers_of(scope)
        if headers.get("host", "") not in self._hosts:  # a foreign name means DNS rebinding
            return 421, "this server is not called so"
        if is_of_other_site(headers, scope["method"], ("http",)):
            return 403, "another site may not ask"
        if scope["method"] in READS:
            return None
        length = headers.get("content-length", "")
        if not length.isascii() or not length.isdecimal():
            return 411, "the length of the body is missing"
        return (413, "the body is too large") if int(length) > self._most_bytes else None


class Sessions:
    """One-time links and the browsers that used one.

    Args:
        on_used: Is given the next token when a link was used, so that another browser can join.
    """

    def __init__(self, on_used: Callable[[str], None] = lambda token: None) -> None:
        self._on_used, self._lock, self._key = on_used, threading.Lock(), secrets.token_bytes(32)
        self._sessions: set[bytes] = set()
        self.token = secrets.token_urlsafe(24)

    def exchange(self, token: str) -> str | None:
        """The secret of a new session for a token that is valid; None for another. The token is used up."""
        with self._lock:
            if not hmac.compare_digest(token.encode(), self.token.encode()):
                return None
            session, self.token = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
            self._sessions.add(_digest(session))
        self._on_used(self.token)
        return session

    def knows(self, session: str) -> bool:
        """Whether a cookie is that of a session."""
        return _digest(session) in self._sessions

    def write_token(self, session: str) -> str:
        """What requests that write must carry in a header: other sites can make a browser send cookies, but not this."""
        return hmac.new(self._key, session.encode(), hashlib.sha256).hexdigest()


class BrowserOnly:
    """Lets in browsers that opened a one-time link; `scope["session"]` is then their session.

    Args:
        app: What answers them.
        sessions: Who was let in.
        port: Part of the cookie's name, because cookies of all ports of a host are one jar.
    """

    def __init__(self, app: App, sessions: Sessions, port: int) -> None:
        self._app, self._sessions, self._cookie = app, sessions, f"docclf-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if scope["path"] == ENTER and scope["method"] == "GET":
            return await self._enter(scope, send)
        headers = headers_of(scope)
        session = _cookie_of(headers, self._cookie)
        if session is None or not self._sessions.knows(session):
            return await answer(scope, send, 403, _CLOSED)
        if scope["method"] not in READS:
            given = headers.get(WRITE_HEADER, "")
            if not hmac.compare_digest(given.encode(), self._sessions.write_token(session).encode()):
                return await refuse(scope, send, 403, "the header token is wrong: load the page again")
            if "origin" not in headers:
                return await refuse(scope, send, 403, "the origin is missing")
        return await self._app({**scope, "session": session}, receive, send)

    async def _enter(self, scope: Scope, send: Send) -> None:
        query = urllib.parse.parse_qs(scope["query_string"].decode("latin-1"))
        session = self._sessions.exchange(query.get("token", [""])[0])
        if session is None:
            return await answer(scope, send, 403, _CLOSED)
        # A page that goes on by itself, not a redirect: after a link from elsewhere, a redirect would lack the cookie.
        cookie = f"{self._cookie}={session}; HttpOnly; SameSite=Strict; Path=/"
        return await answer(scope, send, 200, _ENTERED, (b"set-cookie", cookie.encode()))


def is_of_other_site(
    headers: MutableMapping[str, str], method: str, schemes: Sequence[str] = ("http", "https")
) -> bool:
    """Whether a page of another site makes a browser send a request; a link that was followed does not count.

    Args:
        headers: By lower-case name.
        method: Of the request.
        schemes: Those that this server is reached by; a proxy in front of it may speak TLS.
    """
    origin = headers.get("origin")
    if origin is not None and origin not in {f"{scheme}://{headers.get('host')}" for scheme in schemes}:
        return True
    from_here = headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
    return not from_here and not (method in READS and _is_navigation(headers))


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers of a request by lower-case name."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


async def refuse(scope: Scope, send: Send, status: int, reason: str) -> None:
    """Answer with a status and a reason in words."""
    await _respond(send, status, reason.encode(), b"text/plain; charset=utf-8")


async def answer(scope: Scope, send: Send, status: int, html: str, *headers: tuple[bytes, bytes]) -> None:
    """Answer with a page."""
    await _respond(send, status, html.encode(), b"text/html; charset=utf-8", *headers)


async def _respond(send: Send, status: int, body: bytes, kind: bytes, *headers: tuple[bytes, bytes]) -> None:
    length = str(len(body)).encode()
    own = [(b"content-type", kind), (b"content-length", length), *headers]
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            own = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in given]
            message = {**message, "headers": [*message["headers"], *own]}
        await send(message)

    return sending


def _is_navigation(headers: MutableMapping[str, str]) -> bool:
    """Whether a person followed a link: from elsewhere only to the door, since the cookie is not sent."""
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def _cookie_of(headers: MutableMapping[str, str], name: str) -> str | None:
    cookies: http.cookies.SimpleCookie = http.cookies.SimpleCookie()
    try:
        cookies.load(headers.get("cookie", ""))
    except http.cookies.CookieError:
        return None
    return cookies[name].value if name in cookies else None


def _digest(session: str) -> bytes:
    return hashlib.sha256(session.encode()).digest()
