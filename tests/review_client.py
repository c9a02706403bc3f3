"""A browser without a screen: speaks to a running `docclf review` as its page does."""

import re
from typing import Any

import httpx


class ReviewClient:
    """A tab that has opened the link."""

    def __init__(self, link: str, holder: str = "tab") -> None:
        self.base = re.match(r"http://[^/]+", link)[0]  # type: ignore[index]
        self.http = httpx.Client(base_url=self.base, timeout=30)
        assert self.http.get(link).status_code == 200
        self.holder = holder
        self.state = self.http.get("/api/state").json()
        self.headers = {"origin": self.base, "x-docclf-token": self.state["token"]}

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.http.post(path, json=body, headers=self.headers)

    def next(self, count: int = 1, order: str = "file") -> list[dict[str, Any]]:
        return self.post("/api/next", holder=self.holder, count=count, order=order).json()["items"]

    def learning(self) -> dict[str, Any]:
        """How far the learning is."""
        return self.http.get("/api/state").json()["progress"]["learning"]  # type: ignore[no-any-return]

    def decide(self, item: str, decision: str, label: str) -> httpx.Response:
        return self.post("/api/decide", holder=self.holder, id=decision, item=item, answer="label", label=label)


def link_in(text: str) -> str:
    """The link that the command shows."""
    return re.findall(r"open (http\S+)", text)[-1]
