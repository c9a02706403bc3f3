"""The HTTP interface of `serve`."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import ASGIApp, Receive, Scope, Send

from docclf_cli.registry import did_you_mean
from docclf_cli.results.as_json import jsonable
from docclf_cli.services.web.hosts import is_loopback
from docclf_cli.services.web.security import headers_of, is_of_other_site
from docclf_cli.tasks.predict.page_predictions import UNKNOWN
from docclf_cli.tasks.serve.batching import Batcher
from docclf_cli.tasks.serve.decoding import DecodeLimits, DecodePool, TooManyPages
from docclf_cli.tasks.serve.served_model import ServedModel, of_all_pages
from docclf_cli.version import __version__

requests_log = logging.getLogger("docclf.requests")
RETRY_AFTER = "1"  # seconds
FILE = "file"  # the form field
QUERY = ("model", "top_k", "name")
ADDRESSES = "POST /classify classifies a file; GET /docs lists all addresses"
MULTIPART = "multipart/form-data"
_FORM_OVERHEAD = 64 * 1024  # bytes that the parts of a form may take beside the file
_BODY = {
    "required": True,
    "content": {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        MULTIPART: {
            "schema": {
                "type": "object",
                "required": [FILE],
                "properties": {FILE: {"type": "string", "format": "binary"}},
            }
        },
    },
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The request is malformed, or its body came too slowly."},
    401: {"description": "The bearer token is missing or wrong."},
    403: {"description": "The request comes from a page of another site, or names another host."},
    404: {"description": "There is no model of this name."},
    413: {"description": "The file is larger, or has more pages, than the server takes."},
    422: {"description": "The file cannot be read, or a parameter is wrong or not known; `detail` says why."},
    405: {"description": "The address takes another method; `Allow` says which."},
    429: {"description": "Too many requests are waiting; `Retry-After` says when to come back."},
    503: {"description": "The server is starting or stopping, or the request took too long."},
}


@dataclass(frozen=True)
class ServeLimits:
    """What one request may take, and how many may wait.

    Attributes:
        bytes: Largest file.
        seconds: Longest time from the first byte of a request to its answer.
        waiting: Most requests at the same time.
        decode: What decoding a file may take.
    """

    bytes: int = 50 * 2**20
    seconds: float = 60.0
    waiting: int = 64
    decode: DecodeLimits = field(default_factory=DecodeLimits)


@dataclass(eq=False)
class Service:
    """What all requests share.

    Attributes:
        models: By name; an entry is replaced when its checkpoint was.
        limits: What a request may take.
        batcher: Runs the models.
        pool: Decodes files.
        token: Bearer token; None where none is asked for.
        loopback_only: Whether requests have to name this machine as their host.
    """

    models: dict[str, ServedModel]
    limits: ServeLimits
    batcher: Batcher
    pool: DecodePool
    decoders: int
    token: str | None = None
    loopback_only: bool = True
    stopping: bool = False
    active: int = 0
    metrics: ServeMetrics = field(default_factory=lambda: ServeMetrics())

    def __post_init__(self) -> None:
        self.threads = ThreadPoolExecutor(self.decoders, thread_name_prefix="decode")

    def model(self, name: str | None) -> ServedModel:
        """The model of a name; the only or first one without.

        Raises:
            HTTPException: There is none.
        """
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise HTTPException(404, f"no model '{name}'; there are {', '.join(self.models)}")
        return self.models[name]


class ServeMetrics:
    """The figures of `GET /metrics`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("docclf_requests", "Answered requests.", ("path", "status"), registry=self.registry)
        self.pages = Counter(
            "docclf_pages", "Classified pages by predicted class.", ("model", "label"), registry=self.registry
        )
        self.review = Counter("docclf_review_pages", "Pages that need review.", ("model",), registry=self.registry)
        self.unknown = Counter(
            "docclf_unknown_pages", "Pages that belong to no class.", ("model",), registry=self.registry
        )
        self.seconds = Histogram(
            "docclf_request_seconds", "Seconds from a request to its answer.", ("path",), registry=self.registry
        )
        self.active = Gauge("docclf_active_requests", "Requests in work.", registry=self.registry)
        self.waiting = Gauge("docclf_waiting_pages", "Pages that wait for the model.", registry=self.registry)


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
        service.metrics.active.set(service.active)
        service.metrics.waiting.set(service.batcher.waiting)
        return Response(generate_latest(service.metrics.registry), media_type="text/plain; version=0.0.4")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        page = files("docclf_cli.tasks.serve").joinpath("docs.html").read_text(encoding="utf-8")
        return HTMLResponse(page.replace("{{schema}}", _as_script_text(app.openapi())))

    @app.post(
        "/classify",
        summary="Classify the pages of an image, TIFF or PDF file.",
        openapi_extra={"requestBody": _BODY},
        responses=_REFUSALS,
    )
    async def classify(request: Request, model: str | None = None, top_k: int = 3) -> JSONResponse:
        if unknown := [key for key in request.query_params if key not in QUERY]:
            raise HTTPException(
                422,
                f"there is no parameter '{unknown[0]}'{did_you_mean(unknown[0], QUERY)} (known: {', '.join(QUERY)})",
            )
        served = service.model(model)
        if not 1 <= top_k <= len(served.predictor.class_names):
            raise HTTPException(422, f"top_k: {top_k} is not between 1 and {len(served.predictor.class_names)}")
        name, content = await _file_of(request, service.limits.bytes)
        return JSONResponse(jsonable(await _classified(service, served, name, content, top_k)))

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


async def _classified(service: Service, served: ServedModel, name: str, content: bytes, top_k: int) -> Any:
    loop = asyncio.get_running_loop()
    try:
        pages = await loop.run_in_executor(
            service.threads, service.pool.decode, content, served.preprocesses, served.text_mode
        )
    except TooManyPages as error:
        raise HTTPException(413, f"the file {error}") from error
    if not any(page.images for page in pages):
        raise HTTPException(422, f"the file cannot be read: {pages[0].error if pages else 'it has no pages'}")
    answer = served.answer(name, of_all_pages(pages, await service.batcher.outputs(served, pages)), top_k)
    for row in answer.predictions:
        if row.predicted is not None:
            service.metrics.pages.labels(served.name, row.predicted).inc()
        if row.needs_review:
            service.metrics.review.labels(served.name).inc()
            if row.decision == UNKNOWN:
                service.metrics.unknown.labels(served.name).inc()
    return answer


async def _file_of(request: Request, limit: int) -> tuple[str, bytes]:
    """Name and content of the file of a request, which stays in memory.

    Raises:
        HTTPException: It is too large, empty, or the form has not exactly one file.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MULTIPART:
        content = b"".join([chunk async for chunk in _bounded(request, limit)])
        if not content:
            raise HTTPException(
                422, f"the body is empty (0 bytes); send the file as it is, or as the form field '{FILE}'"
            )
        return request.query_params.get("name", ""), content
    parser = MultiPartParser(request.headers, _bounded(request, limit + _FORM_OVERHEAD), max_files=1, max_fields=8)
    parser.spool_max_size = limit + _FORM_OVERHEAD  # larger ones would go to the disk
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise HTTPException(400, f"the form cannot be read: {getattr(error, 'message', 'no boundary')}") from error
    if others := [field for field in form if field != FILE]:
        raise HTTPException(422, f"there is no form field '{others[0]}'; send the file as the form field '{FILE}'")
    uploads = [value for value in form.values() if not isinstance(value, str)]
    if len(uploads) != 1:
        raise HTTPException(422, f"the form has no file; send it as the form field '{FILE}'")
    content = await uploads[0].read()
    if len(content) > limit:
        raise HTTPException(413, f"the file is larger than {limit:,} bytes")
    if not content:
        raise HTTPException(422, "the file is empty (0 bytes)")
    return uploads[0].filename or "", content


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes]:
    """The body in chunks.

    Raises:
        HTTPException: It is larger than allowed.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise HTTPException(413, f"the file is larger than {limit:,} bytes")
    seen = 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen > limit:
            raise HTTPException(413, f"the file is larger than {limit:,} bytes")
        yield chunk


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
