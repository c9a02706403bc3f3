"""Who is let in, and what browsers are told."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from docclf_cli.services.web.security import WRITE_HEADER, BrowserOnly, HardenedApp, Sessions
from docclf_cli.services.web.server import address_of

HOST = "http://127.0.0.1:8000"


async def _who(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.scope["session"])


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


@pytest.fixture
def browser(sessions: Sessions) -> Callable[[], TestClient]:
    inner = Starlette(routes=[Route("/", _who, methods=["GET", "POST"])])
    app: Any = HardenedApp(BrowserOnly(inner, sessions, 8000), address_of("127.0.0.1", 8000)[1], most_bytes=100)
    return lambda: TestClient(app, base_url=HOST, follow_redirects=False)


def _enter(browser: TestClient, sessions: Sessions) -> dict[str, str]:
    """Open the link, and return the headers of a request that writes."""
    assert browser.get("/enter", params={"token": sessions.token}).status_code == 200
    return {"origin": HOST, WRITE_HEADER: sessions.write_token(browser.cookies["docclf-8000"])}


def test_a_link_lets_one_browser_in(browser: Callable[[], TestClient], sessions: Sessions) -> None:
    first, second, token = browser(), browser(), sessions.token
    answer = first.get("/enter", params={"token": token})
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert first.get("/").status_code == 200
    assert second.get("/enter", params={"token": token}).status_code == 403
    assert second.get("/").status_code == 403
    assert second.get("/enter", params={"token": sessions.token}).status_code == 200  # the next link
    assert first.get("/").text != second.get("/").text


@pytest.mark.parametrize("token", ["", "wrong", "é", "a" * 5000])
def test_a_wrong_token_is_refused(browser: Callable[[], TestClient], sessions: Sessions, token: str) -> None:
    one = browser()
    assert one.get("/enter", params={"token": token}).status_code == 403
    one.cookies.set("docclf-8000", token.encode("ascii", "replace").decode())
    assert one.get("/").status_code == 403
    assert one.get("/enter", params={"token": sessions.token}).status_code == 200  # nothing was used up


def test_every_answer_carries_the_headers(browser: Callable[[], TestClient], sessions: Sessions) -> None:
    one = browser()
    refused, entered = one.get("/"), one.get("/enter", params={"token": sessions.token})
    for answer in (refused, entered, one.get("/"), one.get("/nowhere")):
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("host", ["evil.example:8000", "127.0.0.1", "127.0.0.1:80", "[::1", ""])
def test_another_host_is_refused(browser: Callable[[], TestClient], sessions: Sessions, host: str) -> None:
    one = browser()
    _enter(one, sessions)
    assert one.get("/", headers={"host": host}).status_code == 421


def test_writing_needs_origin_and_header(browser: Callable[[], TestClient], sessions: Sessions) -> None:
    one = browser()
    headers = _enter(one, sessions)
    assert one.post("/", json={}, headers=headers).status_code == 200
    assert one.post("/", json={}, headers={"origin": HOST}).status_code == 403
    assert one.post("/", json={}, headers=headers | {WRITE_HEADER: "0" * 64}).status_code == 403
    assert one.post("/", json={}, headers={WRITE_HEADER: headers[WRITE_HEADER]}).status_code == 403
    for origin in ("http://evil.example", "null", "https://127.0.0.1:8000", "http://127.0.0.1:8001"):
        assert one.post("/", json={}, headers=headers | {"origin": origin}).status_code == 403
    assert one.get("/", headers={"origin": "http://evil.example"}).status_code == 403
    assert one.get("/", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}).status_code == 403
    form = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert one.post("/", json={}, headers=headers | form).status_code == 403
    assert one.post("/", content=b"x" * 101, headers=headers).status_code == 413


def test_the_token_of_one_browser_does_not_serve_another(browser: Callable[[], TestClient], sessions: Sessions) -> None:
    first, second = browser(), browser()
    headers = _enter(first, sessions)
    _enter(second, sessions)
    assert second.post("/", json={}, headers=headers).status_code == 403


def test_the_addresses_of_a_server() -> None:
    assert address_of("127.0.0.1", 80) == ("127.0.0.1", frozenset({"127.0.0.1:80", "[::1]:80", "localhost:80"}))
    assert address_of("10.0.0.7", 80) == ("10.0.0.7", frozenset({"10.0.0.7:80"}))
    shown, names = address_of("0.0.0.0", 80)
    assert f"{shown}:80" in names
    assert "evil.example:80" not in names
