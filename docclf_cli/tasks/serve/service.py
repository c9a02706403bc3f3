"""What all requests of `serve` share: models, limits, the batcher, the processes that decode, and the figures of `GET /metrics`."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.exceptions import HTTPException

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.text.page_text import TextMode
from docclf_cli.tasks.serve.batching import Batcher
from docclf_cli.tasks.serve.decoding import DecodedPage, DecodeLimits, DecodePool, TooManyPages
from docclf_cli.tasks.serve.served_model import ServedModel

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus-client keeps figures in files there, for all processes


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

    def note_load(self) -> None:
        """Note how much there is to do, for `GET /metrics`."""
        self.metrics.active.set(self.active)
        self.metrics.waiting.set(self.batcher.waiting)

    async def decoded(
        self, content: bytes, preprocesses: Sequence[Preprocess], text: TextMode, *, sizes: bool = False
    ) -> list[DecodedPage]:
        """The pages of a file, of which one at least can be read (`DecodePool.decode`).

        Raises:
            HTTPException: It has too many pages, or none can be read.
        """
        work = functools.partial(self.pool.decode, content, preprocesses, text, sizes=sizes)
        try:
            pages = await asyncio.get_running_loop().run_in_executor(self.threads, work)
        except TooManyPages as error:
            raise HTTPException(413, f"the file {error}") from error
        if not any(page.images for page in pages):
            raise HTTPException(422, f"the file cannot be read: {pages[0].error if pages else 'it has no pages'}")
        return pages


class ServeMetrics:
    """The figures of `GET /metrics`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("docclf_requests", "Answered requests.", ("path", "status"), registry=self.registry)
        self.pages = Counter(
            "docclf_pages", "Classified pages by predicted class.", ("model", "label"), registry=self.registry
        )
        self.review = Counter("docclf_review_pages", "Pages that need review.", ("model",), registry=self.registry)
        self.documents = Counter(
            "docclf_packet_documents", "Documents found in packets by predicted class.", ("model", "label"),
            registry=self.registry,
        )  # fmt: skip
        self.uncertain = Counter(
            "docclf_packet_documents_review",
            "Documents of packets that need review.",
            ("model",),
            registry=self.registry,
        )
        self.unknown = Counter(
            "docclf_unknown_pages", "Pages that belong to no class.", ("model",), registry=self.registry
        )
        self.seconds = Histogram(
            "docclf_request_seconds", "Seconds from a request to its answer.", ("path",), registry=self.registry
        )
        self.active = Gauge(
            "docclf_active_requests", "Requests in work.", registry=self.registry, multiprocess_mode="livesum"
        )
        self.waiting = Gauge(
            "docclf_waiting_pages",
            "Pages that wait for the model.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )

    def as_text(self) -> bytes:
        """The figures of this process, or of all processes where several answer."""
        registry = self.registry
        if METRICS_FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry)
