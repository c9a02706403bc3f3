"""`docclf review`: a page in the browser where people confirm or correct labels, one decision at a time."""

from __future__ import annotations

import importlib.util
import logging
import shlex
import threading
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from docclf_cli.data.images.page_files import PDF_SUFFIX, PageReader
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.files import fingerprint_of, save_with
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.registry import did_you_mean
from docclf_cli.results.packets import CUT, JOIN
from docclf_cli.results.review import ReviewResult
from docclf_cli.services.web.security import ENTER, BrowserOnly, HardenedApp, Sessions
from docclf_cli.services.web.server import address_of, listen, require_web, serve, warn_if_open
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.review.label_studio import write_label_studio
from docclf_cli.tasks.review.learner import Learner
from docclf_cli.tasks.review.learning import LearningJob
from docclf_cli.tasks.review.queue import PAGES, ReviewPage, ReviewQueue
from docclf_cli.tasks.review.session import LABEL, SKIP, UNKNOWN, ReviewSession
from docclf_cli.tasks.review.sources import open_queue

if TYPE_CHECKING:
    from docclf_cli.engine.inference.heat_maps import HeatMaps

TOGETHER = "open the link that it shows, which lets several people in; or name another --output"
LABELS_A_ROUND = 20
CSV, LABEL_STUDIO = "csv", "label-studio"
FORMATS = (CSV, LABEL_STUDIO)
LONGEST_SAVED = 3000  # pixels of a page that is saved from a file of several pages
logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class ReviewOptions:
    """What a person asks.

    Attributes:
        source: An audit, a run, a table of predictions, what `split-packets` wrote, or a folder of pages.
        run: A run that suggests classes for a folder of pages.
        classes: More classes to choose from.
        every_page: Offer all pages of a table, not only those that need review.
        output: Folder of the journal and the tables; None is one beside the source.
        host: What to listen on.
        port: 0 takes a free one.
        open_browser: Open the link in the browser of this machine.
        export: Only write the tables of what is decided.
        export_format: `csv`, or `label-studio` for its JSON as well.
        learn: Update the suggestions while people label.
        every: How many new labels update them.
        max_pixels: Larger pages are not decoded.
        allow_symlinks: Follow symbolic links that leave the folder of a page.
    """

    source: Path
    run: Path | None = None
    classes: tuple[str, ...] = ()
    every_page: bool = False
    output: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    open_browser: bool = False
    export: bool = False
    export_format: str = CSV
    learn: bool = False
    every: int = LABELS_A_ROUND
    max_pixels: int = DataConfig().max_pixels
    allow_symlinks: bool = False


def review(
    options: ReviewOptions,
    *,
    runtime_config: RuntimeConfig | None = None,
    announce: Callable[[str], None] = lambda link: None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> ReviewResult:
    """Let people decide about the pages of a source in their browsers, and write the tables of what they decided.

    Args:
        options: What to review, and how to be reached.
        runtime_config: Device and numerics of suggestions and heat maps.
        announce: Is given the link when the page can be opened.
        emit: Consumer of progress events.
        stop: Ends the server when set; all decisions are saved already.

    Raises:
        InputError: There is nothing to review, another process reviews it, or the web packages are missing.
        ResourceError: The port is taken, or the disk is full.
    """
    runtime_config = runtime_config or RuntimeConfig()
    _check_format(options)
    if not options.export:
        require_web()
    queue = open_queue(options.source, options.run, every_page=options.every_page)
    queue = replace(queue, class_names=tuple(dict.fromkeys((*queue.class_names, *options.classes))))
    if options.learn:
        require_single_pages(queue)
    if options.export_format != CSV and queue.of_cuts:
        raise InputError(
            f"--format {options.export_format} is about labels, and {queue.source} about cuts", "leave it out"
        )
    folder = options.output or _usual_folder(options.source)
    with RunFolder(folder).writing(TOGETHER):
        if options.run is not None and queue.is_folder and not options.learn:
            from docclf_cli.tasks.review.suggestions import with_suggestions  # takes torch to import

            queue = with_suggestions(queue, options.run, folder, runtime_config, emit, stop)
        model = None if queue.model is None else TrainedModel.load(queue.model)
        save = _PageSaver(folder / "pages", options)
        session = ReviewSession(queue, folder, model_key=None if model is None else model.key, save_page=save)
        _say_changes(session)
        try:
            if not options.export:
                _serve(options, session, model, runtime_config, announce, emit, stop)
            files = session.write_results()
            if options.export_format == LABEL_STUDIO:
                files += write_label_studio(session, folder, save)
            return _result(session, folder, tuple(files))
        finally:
            session.journal.close()


def _check_format(options: ReviewOptions) -> None:
    """Refuse a format that is not known, or that nothing is exported in.

    Raises:
        InputError: It is.
    """
    if options.export_format not in FORMATS:
        raise InputError(
            f"--format: '{options.export_format}' is not one of {', '.join(FORMATS)}"
            f"{did_you_mean(options.export_format, FORMATS)}"
        )
    if options.export_format != CSV and not options.export:
        raise InputError(f"--format {options.export_format} belongs to --export", "add --export")


def _usual_folder(source: Path) -> Path:
    """A folder beside the source: what audits and evaluations write is replaced as a whole when they are run again."""
    absolute = source.absolute()
    name = absolute.name if absolute.is_dir() else absolute.stem
    if (run := next((one for one in absolute.parents if (one / "run.json").is_file()), None)) is not None:
        absolute, name = run, f"{run.name}-{absolute.parent.name if absolute.is_file() else name}"
    return absolute.with_name(f"{name}-review")


def _say_changes(session: ReviewSession) -> None:
    if session.changed:
        logger.warning(
            "%d pages have changed since they were decided, such as %s: they are offered again",
            len(session.changed), session.changed[0],
        )  # fmt: skip
    if None not in (session.earlier_model, session.model_key) and session.earlier_model != session.model_key:
        logger.warning("the suggestions come from another model than before; decisions that were made stay")


def _serve(
    options: ReviewOptions,
    session: ReviewSession,
    model: TrainedModel | None,
    runtime_config: RuntimeConfig,
    announce: Callable[[str], None],
    emit: Emit,
    stop: StopFlag,
) -> None:
    from docclf_cli.tasks.review.web.app import ReviewServices, review_app

    opened = listen(options.host, options.port)
    port = int(opened.getsockname()[1])
    name, hosts = address_of(options.host, port)

    def link(token: str) -> str:
        return f"http://{name}:{port}{ENTER}?token={token}"

    sessions = Sessions(lambda token: logger.info("another browser can join with %s", link(token)))
    finished = threading.Event()
    learner = _learner(options, session, runtime_config, emit) if options.learn else None

    def changed() -> None:
        session.write_results()
        if learner is not None:
            learner.notice()

    services = ReviewServices(
        _heat_maps(options, model, runtime_config), finished.set, changed, None if learner is None else learner.state
    )
    app = review_app(session, sessions, services, max_pixels=options.max_pixels, allow_symlinks=options.allow_symlinks)
    warn_if_open(options.host)
    announce(link(sessions.token))
    if options.open_browser:
        webbrowser.open(link(sessions.token))
    try:
        serve(HardenedApp(BrowserOnly(app, sessions, port), hosts), opened, until=lambda: finished.is_set() or stop())
    finally:
        if learner is not None:
            learner.close()


def require_single_pages(queue: ReviewQueue) -> None:
    """Refuse to learn from an audit, whose questions are about labels that pages have already.

    Raises:
        InputError: It is an audit.
    """
    if queue.of_cuts:
        raise InputError(f"--learn: {queue.source} is about cuts, and not about labels", "leave --learn out")
    if any(item.kind != PAGES for item in queue.items):
        raise InputError(
            f"--learn: {queue.source} is an audit",
            "leave --learn out, and train on what you decide: docclf train --add review_labels.csv",
        )


def _learner(options: ReviewOptions, session: ReviewSession, runtime_config: RuntimeConfig, emit: Emit) -> Learner:
    pages = tuple(item.pages[0] for item in session.queue.items)
    job = LearningJob(
        pages, session.folder, session.queue.model, runtime_config, options.max_pixels, options.allow_symlinks
    )
    return Learner(session, job, options.every, emit)


def _heat_maps(
    options: ReviewOptions, model: TrainedModel | None, runtime_config: RuntimeConfig
) -> Callable[[ReviewPage, str], np.ndarray] | None:
    """What draws heat maps; the model is loaded when the first is asked for. None where that is not possible."""
    if model is None or model.path.suffix == ".onnx" or importlib.util.find_spec("torchcam") is None:
        return None
    lock, loaded = threading.Lock(), list["HeatMaps"]()

    def draw(page: ReviewPage, label: str) -> np.ndarray:
        from docclf_cli.engine.inference.heat_maps import HeatMaps, on_page, stronger_half

        with lock:
            if not loaded:
                loaded.append(HeatMaps.of(model, runtime_config))
            (maps,) = loaded
            reader = PageReader(options.max_pixels, options.allow_symlinks)
            try:
                seen = reader.read(page.path, page.root, page.number, maps.preprocess)
                height, width = reader.picture(page.path, page.root, page.number, maps.preprocess.size).shape[:2]
            finally:
                reader.close()
            return on_page(stronger_half(maps(seen, label)), height, width, maps.preprocess)

    return draw


@dataclass(frozen=True)
class _PageSaver:
    """Saves the pages of PDF files and of files of several pages as images, since training reads one page a file."""

    folder: Path
    options: ReviewOptions

    def __call__(self, page: ReviewPage) -> Path:
        """The image of a page: its own file, or a copy of the page."""
        if not page.number and not page.group and page.path.suffix.lower() != PDF_SUFFIX:
            return page.path
        if page.label is not None:  # a page of a data root is one file
            return page.path
        path = self.folder / f"{page.path.stem}-{page.number + 1}-{fingerprint_of(page.id)[:8]}.png"
        if not path.is_file():
            reader = PageReader(self.options.max_pixels, self.options.allow_symlinks)
            try:
                picture = reader.picture(page.path, page.root, page.number, LONGEST_SAVED)
            finally:
                reader.close()
            save_with(path, lambda file: Image.fromarray(picture).save(file, "PNG"))
        return path


def _result(session: ReviewSession, folder: Path, files: tuple[Path, ...]) -> ReviewResult:
    counts, progress = session.counts(), session.progress()
    return ReviewResult(
        folder=folder,
        source=session.queue.source,
        items=progress.total,
        labelled=counts[LABEL] + counts[CUT] + counts[JOIN],
        unknown=counts[UNKNOWN],
        skipped=counts[SKIP],
        left=progress.total - progress.decided,
        suggested=counts["suggested"],
        confirmed=counts["confirmed"],
        classes=tuple(session.class_names),
        of_cuts=session.queue.of_cuts,
        files=(*files, session.journal.path),
        next_commands=_next_commands(session, files),
    )


def _next_commands(session: ReviewSession, files: tuple[Path, ...]) -> tuple[str, ...]:
    if session.queue.of_cuts and session.decisions:
        model = [] if session.queue.model is None else [str(session.queue.model)]
        packets = dict.fromkeys(item.pages[0].group for item in session.queue.items)
        return (
            shlex.join(["docclf", "split-packets", *model, *packets, "--cuts", str(files[0]), "--write", "documents"]),
        )
    if not any(one.answer == LABEL for one in session.decisions.values()):
        return ()
    start = ["--from", str(session.queue.model)] if session.queue.model is not None else []
    return (shlex.join(["docclf", "train", *start, "--add", str(files[0])]),)
