"""The web page of a review: a thin layer of routes over `ReviewSession`."""

from __future__ import annotations

import getpass
import hashlib
import hmac
import io
import secrets
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, BackgroundTasks, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.page_files import PageReader
from docclf_cli.errors import DocclfError
from docclf_cli.services.web.security import Sessions
from docclf_cli.tasks.review.learner import LearningState
from docclf_cli.tasks.review.queue import UNCERTAIN, ReviewItem, ReviewPage, file_state
from docclf_cli.tasks.review.session import LONGEST_NAME, RefusedDecision, ReviewSession

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


@dataclass(frozen=True)
class ReviewServices:
    """What the page of a review can do beside showing pages.

    Attributes:
        heat_map: Computes where a page speaks for a class, [h, w] in 0..1; None where there is no model.
        finish: Ends the server.
        changed: Called after each decision, when its answer is sent.
        learning: How far the learning is; None where nothing is learned.
    """

    heat_map: HeatMap | None = None
    finish: Callable[[], None] = lambda: None
    changed: Callable[[], None] = lambda: None
    learning: Callable[[], LearningState] | None = None


def review_app(
    session: ReviewSession,
    sessions: Sessions,
    services: ReviewServices,
    *,
    max_pixels: int,
    allow_symlinks: bool = False,
) -> FastAPI:
    """The app; put it behind `HardenedApp` and `BrowserOnly`.

    Args:
        session: The review.
        sessions: Gives the token that writing needs.
        services: What else there is.
        max_pixels: Larger pages are not decoded.
        allow_symlinks: Follow symbolic links that leave the folder of a page.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    pages = _Pages(session, max_pixels, allow_symlinks)

    @app.exception_handler(DocclfError)
    def _refused(request: Request, error: DocclfError) -> JSONResponse:
        status = 409 if isinstance(error, RefusedDecision) else 500
        return JSONResponse({"reason": error.message, "hint": error.hint}, status)

    app.include_router(_static_files())
    app.include_router(_decisions(session, sessions, pages, services))
    app.include_router(_pictures(session, pages, services.heat_map))
    return app


def _static_files() -> APIRouter:
    router = APIRouter()

    @router.get("/")
    def index() -> Response:
        return Response(_static("index.html"), media_type="text/html")

    @router.get("/favicon.ico")
    def icon() -> Response:
        return Response(status_code=204)

    @router.get("/static/{name}")
    def static(name: str) -> Response:
        return Response(_static(name), media_type=STATIC[name]) if name in STATIC else Response(status_code=404)

    return router


def _decisions(session: ReviewSession, sessions: Sessions, pages: _Pages, services: ReviewServices) -> APIRouter:
    """Give items out and take decisions; every answer says how far the review is."""
    router = APIRouter(prefix="/api")

    def progress() -> dict[str, Any]:
        learning = None if services.learning is None else asdict(services.learning())
        return {"progress": {**asdict(session.progress()), "learning": learning}}

    @router.get("/state")
    def state(request: Request) -> dict[str, Any]:
        return {
            "token": sessions.write_token(request.scope["session"]),
            "source": session.queue.source.name,
            "classes": list(session.class_names),
            "orders": session.queue.orders,
            "who": _user(),
            "heat": services.heat_map is not None,
            **progress(),
        }

    @router.post("/next")
    def next_items(body: NextRequest) -> dict[str, Any]:
        order = body.order if body.order in session.queue.orders else session.queue.orders[0]
        items = session.next_items(body.holder, body.count, order)
        return {"items": [pages.item(item) for item in items], "classes": list(session.class_names), **progress()}

    @router.post("/decide")
    def decide(body: DecisionRequest, later: BackgroundTasks) -> dict[str, Any]:
        session.decide(
            body.holder, body.id, body.item, body.answer, label=body.label, same=body.same, who=body.who or _user()
        )
        later.add_task(services.changed)
        return progress()

    @router.post("/undo")
    def undo(body: UndoRequest, later: BackgroundTasks) -> dict[str, Any]:
        item = session.undo(body.holder, body.id)
        later.add_task(services.changed)
        return {"item": pages.item(item), **progress()}

    @router.post("/classes")
    def add_class(body: ClassRequest) -> dict[str, Any]:
        return {"name": session.add_class(body.name, body.who or _user()), "classes": list(session.class_names)}

    @router.post("/release")
    def release(body: HolderRequest) -> dict[str, Any]:
        session.release(body.holder)
        return {}

    @router.post("/finish")
    def end(later: BackgroundTasks) -> dict[str, Any]:
        later.add_task(services.finish)
        return {"files": [str(path) for path in session.write_results()]}

    return router


def _pictures(session: ReviewSession, pages: _Pages, heat_map: HeatMap | None) -> APIRouter:
    """Pages and heat maps, by names that say nothing."""
    router = APIRouter()

    @router.get("/pages/{name}.jpg")
    def page(name: str) -> Response:
        found = pages.of_name.get(name)
        if found is None:
            return Response(status_code=404)
        try:
            return _jpeg(pages.picture(found))
        except UnreadablePage as error:
            return JSONResponse({"reason": error.reason}, 422)

    @router.get("/heat/{name}.png")
    def heat(name: str, label: str) -> Response:
        found = pages.of_name.get(name)
        if found is None or heat_map is None or label not in session.class_names:
            return Response(status_code=404)
        try:
            picture = pages.picture(found)
            return _overlay(heat_map(found, label), picture.shape[:2])
        except UnreadablePage as error:
            return JSONResponse({"reason": error.reason}, 422)

    return router


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
                    "number": page.number + 1,
                    "file": page.group or page.id,
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
