"""The web page of a review: a thin layer of routes over `ReviewSession`."""

from __future__ import annotations

import getpass
import hashlib
import hmac
import io
import secrets
import threading
from collections.abc import Callable
from dataclasses import asdict
from importlib import resources
from typing import Annotated, Any

import numpy as np
from fastapi import BackgroundTasks, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.page_files import PageReader
from docclf_cli.errors import DocclfError
from docclf_cli.services.web.security import Sessions
from docclf_cli.tasks.review.queue import ORDERS, UNCERTAIN, ReviewItem, ReviewPage
from docclf_cli.tasks.review.session import LONGEST_NAME, RefusedDecision, ReviewSession, file_state

LONGEST_SIDE, QUALITY = 2200, 88  # of pages as they are sent to the browser
MOST_AT_ONCE = 4
STATIC = {"review.css": "text/css", "review.js": "text/javascript"}

Text = Annotated[str, Field(max_length=200)]
HeatMap = Callable[[ReviewPage, str], np.ndarray]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NextRequest(_Body):
    """A tab wants items."""

    holder: Text
    order: str = UNCERTAIN
    count: Annotated[int, Field(ge=1, le=MOST_AT_ONCE)] = 2


class DecisionRequest(_Body):
    """A tab sends a decision."""

    holder: Text
    id: Text
    item: Text
    answer: Text
    label: Text | None = None
    same: bool | None = None
    who: Text = ""


class UndoRequest(_Body):
    """A tab takes a decision back."""

    holder: Text
    id: Text


class ClassRequest(_Body):
    """A new class."""

    name: Annotated[str, Field(max_length=LONGEST_NAME)]
    who: Text = ""


class HolderRequest(_Body):
    """A tab is closed."""

    holder: Text


def review_app(
    session: ReviewSession,
    sessions: Sessions,
    *,
    max_pixels: int,
    allow_symlinks: bool = False,
    heat_map: HeatMap | None = None,
    finish: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The app; put it behind `HardenedApp` and `BrowserOnly`.

    Args:
        session: The review.
        sessions: Gives the token that writing needs.
        max_pixels: Larger pages are not decoded.
        allow_symlinks: Follow symbolic links that leave the folder of a page.
        heat_map: Computes where a page speaks for a class, [h, w] in 0..1; None where there is no model.
        finish: Ends the server.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    pages = _Pages(session, max_pixels, allow_symlinks)

    @app.exception_handler(DocclfError)
    def _refused(request: Request, error: DocclfError) -> JSONResponse:
        status = 409 if isinstance(error, RefusedDecision) else 500
        return JSONResponse({"reason": error.message, "hint": error.hint}, status)

    @app.get("/")
    def index() -> Response:
        return Response(_static("index.html"), media_type="text/html")

    @app.get("/favicon.ico")
    def icon() -> Response:
        return Response(status_code=204)

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        return Response(_static(name), media_type=STATIC[name]) if name in STATIC else Response(status_code=404)

    @app.get("/api/state")
    def state(request: Request) -> dict[str, Any]:
        return {
            "token": sessions.write_token(request.scope["session"]),
            "source": session.queue.source.name,
            "classes": list(session.class_names),
            "orders": ORDERS,
            "who": _user(),
            "heat": heat_map is not None,
            "progress": asdict(session.progress()),
        }

    @app.post("/api/next")
    def next_items(body: NextRequest) -> dict[str, Any]:
        order = body.order if body.order in ORDERS else UNCERTAIN
        items = session.next_items(body.holder, body.count, order)
        return {
            "items": [pages.item(item) for item in items],
            "progress": asdict(session.progress()),
            "classes": list(session.class_names),
        }

    @app.post("/api/decide")
    def decide(body: DecisionRequest, later: BackgroundTasks) -> dict[str, Any]:
        session.decide(
            body.holder, body.id, body.item, body.answer, label=body.label, same=body.same, who=body.who or _user()
        )
        later.add_task(session.write_results)
        return {"progress": asdict(session.progress())}

    @app.post("/api/undo")
    def undo(body: UndoRequest, later: BackgroundTasks) -> dict[str, Any]:
        item = session.undo(body.holder, body.id)
        later.add_task(session.write_results)
        return {"item": pages.item(item), "progress": asdict(session.progress())}

    @app.post("/api/classes")
    def add_class(body: ClassRequest) -> dict[str, Any]:
        return {"name": session.add_class(body.name, body.who or _user()), "classes": list(session.class_names)}

    @app.post("/api/release")
    def release(body: HolderRequest) -> dict[str, Any]:
        session.release(body.holder)
        return {}

    @app.post("/api/finish")
    def end(later: BackgroundTasks) -> dict[str, Any]:
        later.add_task(finish)
        return {"files": [str(path) for path in session.write_results()]}

    @app.get("/pages/{name}.jpg")
    def page(name: str) -> Response:
        found = pages.of_name.get(name)
        if found is None:
            return Response(status_code=404)
        try:
            return _jpeg(pages.picture(found))
        except UnreadablePage as error:
            return JSONResponse({"reason": error.reason}, 422)

    @app.get("/heat/{name}.png")
    def heat(name: str, label: str) -> Response:
        found = pages.of_name.get(name)
        if found is None or heat_map is None or label not in session.class_names:
            return Response(status_code=404)
        try:
            picture = pages.picture(found)
            return _overlay(heat_map(found, label), picture.shape[:2])
        except UnreadablePage as error:
            return JSONResponse({"reason": error.reason}, 422)

    return app


class _Pages:
    """Gives pages names that say nothing, and decodes them.

    Args:
        session: Whose pages.
        max_pixels: Larger ones are not decoded.
        allow_symlinks: Follow symbolic links that leave the folder of a page.
    """

    def __init__(self, session: ReviewSession, max_pixels: int, allow_symlinks: bool) -> None:
        key = secrets.token_bytes(16)
        self.of_name: dict[str, ReviewPage] = {}
        self._name_of: dict[tuple[str, int], str] = {}
        for item in session.queue.items:
            for place, page in enumerate(item.pages):
                name = hmac.new(key, f"{item.key} {place}".encode(), hashlib.sha256).hexdigest()[:24]
                self.of_name[name], self._name_of[item.key, place] = page, name
        self._max_pixels, self._allow_symlinks = max_pixels, allow_symlinks
        self._lock = threading.Lock()  # Pillow's switches belong to the process

    def item(self, item: ReviewItem) -> dict[str, Any]:
        """An item for the browser."""
        return {
            "key": item.key,
            "kind": item.kind,
            "suggested": item.suggested,
            "confidence": item.confidence,
            "runner_up": item.runner_up,
            "runner_up_confidence": item.runner_up_confidence,
            "note": item.note,
            "pages": [
                {
                    "name": self._name_of[item.key, place],
                    "id": page.id,
                    "label": page.label,
                    "version": "-".join(map(str, file_state(page.path))),
                }
                for place, page in enumerate(item.pages)
            ],
        }

    def picture(self, page: ReviewPage) -> np.ndarray:
        """The whole page, uint8 [height, width, 3].

        Raises:
            UnreadablePage: It cannot be read.
        """
        with self._lock:
            reader = PageReader(self._max_pixels, self._allow_symlinks)
            try:
                return reader.picture(page.path, page.root, page.number, LONGEST_SIDE)
            finally:
                reader.close()


def _jpeg(picture: np.ndarray) -> Response:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY)
    # The address names the version of the file as well.
    return Response(file.getvalue(), media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})


def _overlay(heat: np.ndarray, size: tuple[int, int]) -> Response:
    """A heat map as red of varying opacity over a page of [height, width]."""
    alpha = Image.fromarray(np.round(heat * 170).astype(np.uint8)).resize(size[::-1], Image.Resampling.BILINEAR)
    picture = Image.new("RGB", alpha.size, (230, 30, 30))
    picture.putalpha(alpha)
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return Response(file.getvalue(), media_type="image/png")


def _static(name: str) -> bytes:
    return (resources.files("docclf_cli.tasks.review.web") / "static" / name).read_bytes()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without users
        return "unknown"
