"""`docclf serve`."""

import functools
import os
from typing import Annotated

import typer

from docclf_cli.commands import _options as option
from docclf_cli.commands._checkpoint import checkpoint_or_newest
from docclf_cli.commands._load import settings_of_use
from docclf_cli.display import console
from docclf_cli.errors import InputError
from docclf_cli.streams import prepare_streams

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf serve runs/mine --target-precision 0.99\n\n"
    "curl --data-binary @letter.pdf http://127.0.0.1:8000/classify\n\n"
    "curl --data-binary @packet.pdf http://127.0.0.1:8000/split-packets\n\n"
    "docclf serve letters=runs/letters forms=runs/forms --port 9000 --reload\n\n"
    "DOCCLF_SERVE_TOKEN=$(openssl rand -hex 32) docclf serve runs/mine --host 0.0.0.0"
)
TOKEN_VARIABLE = "DOCCLF_SERVE_TOKEN"
SHORTEST_TOKEN = 16
LIMITS = "Limits"

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME=]RUN...", show_default=False,
        help="Run folders, checkpoints or s3://bucket/key; several need a name each "
        "\\[default: the newest finished run].",
    ),
]  # fmt: skip


def run(
    models: Models = None,
    host: Annotated[str, option.declare("--host", help="Address to listen on; all but loopback need a token.")] = "127.0.0.1",
    port: Annotated[int, option.declare("--port", help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
    target_precision: option.TargetPrecision = None,
    min_confidence: option.MinConfidence = None,
    max_lost: option.MaxLost = 0.05,
    expect_unknown: option.ExpectUnknown = None,
    costs: option.CostTable = None,
    cut_precision: option.CutPrecision = 0.95,
    packet_text: option.PacketText = "auto",
    tta: option.Views = False,
    backend: option.Backend = "torch",
    reload: Annotated[
        bool, option.declare("--reload", help="Load a model again when its checkpoint changes (SIGHUP does it, too).")
    ] = False,
    decoders: Annotated[
        int | None, option.declare("--decoders", help="Files that are decoded at once \\[default: the cores].", min=1)
    ] = None,
    workers: Annotated[
        int, option.declare("--workers", help="Processes that answer, each with the models in its memory.", min=1)
    ] = 1,
    max_wait: Annotated[
        float, option.declare("--max-wait", help="Milliseconds that a page waits for others of its batch.", min=0.0)
    ] = 5.0,
    max_mb: Annotated[float, option.declare("--max-mb", help="Largest file.", panel=LIMITS, min=0.001)] = 50.0,
    max_pages: Annotated[int, option.declare("--max-pages", help="Most pages of a file.", panel=LIMITS, min=1)] = 100,
    max_requests: Annotated[
        int, option.declare("--max-requests", help="Requests in work, of each worker; more are answered 429.", panel=LIMITS, min=1)
    ] = 64,
    timeout: Annotated[
        float, option.declare("--timeout", help="Longest seconds of a request.", panel=LIMITS, min=0.1)
    ] = 60.0,
    device: option.Device = None,
    precision: option.Precision = None,
    sets: option.Sets = None,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:  # fmt: skip
    """Answer HTTP requests as `predict` and `split-packets` do: POST a file to /classify or /split-packets."""
    from docclf_cli.services.web.hosts import is_loopback
    from docclf_cli.services.web.server import require_web

    require_web()
    from typing import cast

    from docclf_cli.data.text.page_text import TextMode
    from docclf_cli.tasks.serve.decoding import DecodeLimits
    from docclf_cli.tasks.serve.served_model import ModelSource
    from docclf_cli.tasks.serve.server import ServeOptions, serve
    from docclf_cli.tasks.serve.service import ServeLimits
    from docclf_cli.tasks.split_packets.options import CutOptions

    token = os.environ.get(TOKEN_VARIABLE) or None
    if token is None and not is_loopback(host):
        raise InputError(
            f"--host {host}: others could use this server without a token",
            f"set {TOKEN_VARIABLE} to a long random text, such as that of `openssl rand -hex 32`",
        )
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise InputError(
            f"{TOKEN_VARIABLE} has fewer than {SHORTEST_TOKEN} characters", "openssl rand -hex 32 prints a good one"
        )
    runtime, reading = settings_of_use(sets, device, precision)
    cuts = CutOptions(cut_precision, cast(TextMode, packet_text))
    cuts.check("--cut-precision", "--packet-text")
    sources = {
        name: ModelSource(
            name,
            checkpoint_or_newest(path, None, quiet),
            runtime,
            tta,
            backend,
            min_confidence,
            target_precision,
            max_lost,
            expect_unknown,
            costs,
            cuts,
        )
        for name, path in _named(models or []).items()
    }
    for source in sources.values():
        source.check()
    limits = ServeLimits(
        bytes=int(max_mb * 1e6),
        seconds=timeout,
        waiting=max_requests,
        decode=DecodeLimits(pages=max_pages, seconds=timeout, pixels=reading.get("max_pixels", DecodeLimits.pixels)),
    )
    options = ServeOptions(host, port, token, decoders or os.cpu_count() or 1, max_wait / 1000, reload)
    if workers == 1:
        serve(sources, options, limits)
        return
    from docclf_cli.tasks.serve.workers import serve_in_workers

    serve_in_workers(workers, sources, options, limits, functools.partial(_messages, quiet, debug))


def _messages(quiet: bool, debug: bool) -> None:
    """Show the messages of a worker as those of the command."""
    prepare_streams()
    console.start_logging()
    console.set_quiet(quiet)
    console.set_debug(debug)


def _named(models: list[str]) -> dict[str, str | None]:
    """Path by name; a single model without a name is called after nothing in particular.

    Raises:
        InputError: Several models have no name, or one in common.
    """
    if not models:
        return {"default": None}
    if len(models) == 1 and "=" not in models[0]:
        return {"default": models[0]}
    named: dict[str, str | None] = {}
    for text in models:
        name, equals, path = text.partition("=")
        if not equals or not name or name in named:
            raise InputError(
                f"'{text}': several models need a name each, no two the same", "such as letters=runs/letters"
            )
        named[name] = path
    return named
