"""The HTTP interface of `serve`."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from docclf_cli.registry import did_you_mean
from docclf_cli.results.as_json import jsonable
from docclf_cli.services.web.hosts import is_loopback
from docclf_cli.services.web.security import headers_of, is_of_other_site
from docclf_cli.tasks.predict.page_predictions import UNKNOWN
from docclf_cli.tasks.serve.packets import require_splitter, split_upload
from docclf_cli.tasks.serve.served_model import ServedModel, of_all_pages
from docclf_cli.tasks.serve.service import Service
from docclf_cli.tasks.serve.uploads import BODY, file_of
from docclf_cli.version import __version__

requests_log = logging.getLogger("docclf.requests")
RETRY_AFTER = "1"  # seconds
QUERY = ("model", "name")
ADDRESSES = "POST /classify classifies a file, POST /split-packets splits one; GET /docs lists all addresses"
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The request is malformed, or its body came too slowly."},
    401: {"description": "The bearer token is missing or wrong."},
    403: {"description": "The request comes from a page of another site, or names another host."},
    404: {"description": "There is no model of this name."},
    409: {"description": "The model was not trained to split packets."},
    413: {"description": "The file is larger, or has more pages, than the server takes."},
    422: {"description": "The file cannot be read, or a parameter is wrong or not known; `detail` says why."},
    405: {"description": "The address takes another method; `Allow` says which."},
    429: {"description": "Too many requests are waiting; `Retry-After` says when to come back."},
    503: {"description": "The server is starting or stopping, or the request took too long."},
}


def create_app(service: Service) -> FastAPI:
    """The ASGI application of a service."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        await service.batcher.close()
        service.threads.shutdown()
        service.pool.close()

    app = FastAPI(
        title="docclf",
        version=__version__,
        summary="Classifies pages of documents.",
        docs_url=None,  # FastAPI's page loads its scripts from another site
        redoc_url=None,
        lifespan=lifespan,
    )

    @app.get("/health", summary="Whether the process answers.")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", summary="Whether requests are taken.", responses={503: _REFUSALS[503]})
    async def ready() -> dict[str, str]:
        if service.stopping:
            raise HTTPException(503, "the server is stopping", {"Retry-After": RETRY_AFTER})
        return {"status": "ready"}

    @app.get("/model", summary="The models and their classes.")
    async def model() -> JSONResponse:
        return JSONResponse(jsonable([one.facts() for one in service.models.values()]))

    @app.get("/metrics", summary="Counts and times for Prometheus.", response_class=Response)
    async def metrics() -> Response:
        service.note_load()
        return Response(service.metrics.as_text(), media_type="text/plain; version=0.0.4")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        page = files("docclf_cli.tasks.serve").joinpath("docs.html").read_text(encoding="utf-8")
        return HTMLResponse(page.replace("{{schema}}", _as_script_text(app.openapi())))

    @app.post(
        "/classify",
        summary="Classify the pages of an image, TIFF or PDF file.",
        openapi_extra={"requestBody": BODY},
        responses={status: meaning for status, meaning in _REFUSALS.items() if status != 409},
    )
    async def classify(request: Request, model: str | None = None, top_k: int = 3) -> JSONResponse:
        _check_query(request, (*QUERY, "top_k"))
        served = service.model(model)
        classes = len(served.predictor.class_names)
        if "top_k" in request.query_params and not 1 <= top_k <= classes:
            raise HTTPException(422, f"top_k: {top_k} is not between 1 and {classes}")
        name, content = await file_of(request, service.limits.bytes)
        return JSONResponse(jsonable(await _classified(service, served, name, content, min(top_k, classes))))

    @app.post(
        "/split-packets",
        summary="Find the documents in a PDF or TIFF file that holds several.",
        openapi_extra={"requestBody": BODY},
        responses=_REFUSALS,
    )
    async def split_packets(request: Request, model: str | None = None) -> JSONResponse:
        _check_query(request, QUERY)
        served = service.model(model)
        require_splitter(served)
        name, content = await file_of(request, service.limits.bytes)
        return JSONResponse(jsonable(await split_upload(service, served, name, content)))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        headers, detail = dict(error.headers or {}), error.detail
        if error.status_code == 405:
            detail = f"{request.url.path} takes {headers.get('Allow', 'another method')}, not {request.method}"
        elif error.status_code == 404 and "route" not in request.scope:
            detail = f"there is nothing at this address; {ADDRESSES}"
        return JSONResponse({"detail": detail}, error.status_code, headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        wanted = "a whole number" if first["type"].startswith("int") else "of this type"
        return JSONResponse({"detail": f"{first['loc'][-1]}: '{first.get('input')}' is not {wanted}"}, 422)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "the server failed; its log names the place"}, 500)

    app.add_middleware(_Gate, service=service)
    return app


def _check_query(request: Request, known: tuple[str, ...]) -> None:
    """Refuse parameters that are not known.

    Raises:
        HTTPException: There is one.
    """
    if unknown := [key for key in request.query_params if key not in known]:
        raise HTTPException(
            422, f"there is no parameter '{unknown[0]}'{did_you_mean(unknown[0], known)} (known: {', '.join(known)})"
        )


async def _classified(service: Service, served: ServedModel, name: str, content: bytes, top_k: int) -> Any:
    pages = await service.decoded(content, served.preprocesses, served.text_mode)
    answer = served.answer(name, of_all_pages(pages, await service.batcher.outputs(served, pages)), top_k)
    for row in answer.predictions:
        if row.predicted is not None:
            service.metrics.pages.labels(served.name, row.predicted).inc()
        if row.needs_review:
            service.metrics.review.labels(served.name).inc()
            if row.decision == UNKNOWN:
                service.metrics.unknown.labels(served.name).inc()
    return answer


def _as_script_text(schema: Mapping[str, Any]) -> str:
    """JSON that may stand inside of a script element."""
    return json.dumps(schema).replace("<", "\\u003c")


class _Gate:
    """Lets requests in: who may ask, how many at once, for how long; and writes one line a request to the log."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, started, status = Request(scope), time.monotonic(), 500
        number = secrets.token_hex(8)

        async def answered(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", number.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"cache-control", b"no-store"),
                ]
            await send(message)

        try:
            refusal = self._refusal(request)
            if refusal is not None:
                await refusal(scope, receive, answered)
            elif scope["method"] == "POST":
                await self._in_time(scope, receive, answered, lambda: status)
            else:
                await self._app(scope, receive, answered)
        finally:
            self._note(request, number, status, time.monotonic() - started)

    async def _in_time(
        self, scope: Scope, receive: Receive, send: Callable[[Any], Awaitable[None]], status: Callable[[], int]
    ) -> None:
        service, started = self._service, False

        async def starting(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        service.active += 1
        service.note_load()
        try:
            async with asyncio.timeout(service.limits.seconds):
                await self._app(scope, receive, starting)
        except TimeoutError:
            if not started:
                late = _refused(
                    503, f"took longer than {service.limits.seconds:g} seconds", {"Retry-After": RETRY_AFTER}
                )
                await late(scope, receive, send)
        finally:
            service.active -= 1
            service.note_load()

    def _refusal(self, request: Request) -> Response | None:
        service = self._service
        headers = headers_of(request.scope)
        if service.loopback_only and not is_loopback(urlsplit(f"//{headers.get('host', '')}").hostname or ""):
            return _refused(403, "this server answers only requests to localhost")
        if is_of_other_site(headers, request.method):
            return _refused(403, "requests from pages of other sites are refused")
        path = request.url.path
        if service.token is not None and path not in ("/health", "/ready"):
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {service.token}".encode()):
                return _refused(401, "the bearer token is missing or wrong", {"WWW-Authenticate": "Bearer"})
        if request.method == "POST":
            if service.stopping:
                return _refused(503, "the server is stopping", {"Retry-After": RETRY_AFTER})
            if service.active >= service.limits.waiting:
                return _refused(429, "too many requests are waiting", {"Retry-After": RETRY_AFTER})
        return None

    def _note(self, request: Request, number: str, status: int, seconds: float) -> None:
        route = getattr(request.scope.get("route"), "path", "other")
        self._service.metrics.requests.labels(route, str(status)).inc()
        self._service.metrics.seconds.labels(route).observe(seconds)
        client = request.client.host if request.client else ""
        line = {"request": number, "client": client, "method": request.method, "path": route, "status": status}
        requests_log.info("%s", json.dumps({**line, "ms": round(seconds * 1000, 1)}))


def _refused(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, dict(headers or {}))
