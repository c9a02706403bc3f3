"""`docclf class-report`."""

import logging
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from docclf_cli.commands import _options as option
from docclf_cli.commands._arguments import argument_or_option
from docclf_cli.commands._checkpoint import checkpoint_or_newest
from docclf_cli.commands._load import settings_of_use
from docclf_cli.display import show as report
from docclf_cli.display.progress import progress_display
from docclf_cli.errors import InputError

if TYPE_CHECKING:
    from docclf_cli.engine.inference.heat_maps import HeatMaps
    from docclf_cli.events import Emit
    from docclf_cli.profile.schema import RuntimeConfig
    from docclf_cli.results.class_report import ClassReport
    from docclf_cli.stop import StopFlag
    from docclf_cli.tasks.class_report.class_report import ReportInputs

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf class-report\n\n"
    "docclf class-report runs/mine --split test --open\n\n"
    "docclf class-report runs/mine --class invoice\n\n"
    "docclf class-report --predictions runs/mine/predictions/val-0123456789abcdef.npz --json"
)
PAGE = "report.html"
logger = logging.getLogger("docclf")


def run(
    checkpoint: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="Run folder or checkpoint \\[default: the newest finished run]."),
    ] = None,
    named: option.CheckpointPath = None,
    predictions: Annotated[
        Path | None,
        option.declare("--predictions", help="Report on this file of stored predictions (.npz) instead of a run."),
    ] = None,
    split: option.Split = None,
    data: option.OtherData = None,
    one: Annotated[
        str | None,
        option.declare("--class", metavar="NAME|INDEX", help="Report on this class only."),
    ] = None,
    html: Annotated[
        bool,
        option.declare("--html", help="Also write report.html, a single file for the browser.", panel=option.OUTPUT),
    ] = False,
    open_page: Annotated[
        bool, option.declare("--open", help="Write report.html and open it in the browser.", panel=option.OUTPUT)
    ] = False,
    no_thumbnails: Annotated[
        bool, option.declare("--no-thumbnails", help="Leave page images out of report.html.", panel=option.OUTPUT)
    ] = False,
    explain: Annotated[
        bool,
        option.declare(
            "--explain",
            panel=option.OUTPUT,
            help="Write report.html with heat maps of mistakes and of the most confident page of each class.",
        ),
    ] = False,
    device: option.Device = None,
    sets: option.Sets = None,
    output: option.ResultsOutput = None,
    as_json: option.Json = False,
    lang: option.Language = None,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Report on each class from stored predictions: accuracy, precision, F1, loss, confusions, over-fitting."""
    from docclf_cli.stop import StopFlag
    from docclf_cli.tasks.class_report.class_report import class_report, inputs_of, inputs_of_file, one_class

    checkpoint = argument_or_option(checkpoint, named, "--checkpoint")
    runtime, reading = settings_of_use(sets, device, None)
    html = html or open_page or explain
    _check_usage(checkpoint, predictions, one, html, no_thumbnails)
    if explain:
        _check_explain(predictions, no_thumbnails)
    with progress_display(quiet) as emit, StopFlag().installed() as stop:
        if predictions is not None:
            inputs = inputs_of_file(predictions, split, data=data, output=output)
        else:
            path = checkpoint_or_newest(checkpoint, output, quiet)
            given = None if checkpoint is None else output
            inputs = inputs_of(
                path, split, data=data, output=given, reading=reading, runtime_config=runtime, emit=emit, stop=stop
            )
        if one is not None:
            return report.show(one_class(inputs, one), as_json=as_json)
        result = class_report(inputs)
        if html:
            maps = _heat_maps(inputs.source, runtime) if explain else None
            result = _with_page(inputs, result, not no_thumbnails, maps, emit, stop)
    if open_page:
        _open(result.files[0])
    return report.show(result, as_json=as_json)


def _check_usage(
    checkpoint: str | None, predictions: Path | None, one: str | None, html: bool, no_thumbnails: bool
) -> None:
    if checkpoint is not None and predictions is not None:
        raise InputError("a run and --predictions are both given", "give only one of them")
    if one is not None and html:
        raise InputError("--html and --open report on all classes, --class on one class", "give only one of them")
    if no_thumbnails and not html:
        raise InputError("--no-thumbnails has no effect without --html", "add --html")


def _check_explain(predictions: Path | None, no_thumbnails: bool) -> None:
    from docclf_cli.engine.inference.heat_maps import require_heat_maps

    if predictions is not None:
        raise InputError("--explain needs the model, and --predictions names a file without one", "name the run")
    if no_thumbnails:
        raise InputError("--explain shows pages, and --no-thumbnails leaves them out", "give only one of them")
    require_heat_maps()


def _heat_maps(source: Path, runtime: "RuntimeConfig") -> "HeatMaps":
    from docclf_cli.engine.inference.heat_maps import HeatMaps
    from docclf_cli.engine.inference.trained_model import TrainedModel

    return HeatMaps.of(TrainedModel.load(source), runtime)


def _open(page: Path) -> None:
    """Show a page in the browser, or say where it is."""
    import webbrowser

    if not webbrowser.open(page.absolute().as_uri()):
        logger.warning("no browser was found: open %s yourself", page)


def _with_page(
    inputs: "ReportInputs",
    result: "ClassReport",
    pictures: bool,
    maps: "HeatMaps | None",
    emit: "Emit",
    stop: "StopFlag",
) -> "ClassReport":
    """Also write the report as an HTML page."""
    from dataclasses import replace

    import numpy as np

    from docclf_cli.display.html import Page, write_page
    from docclf_cli.metrics.mistakes import pages_to_show
    from docclf_cli.tasks.class_report.thumbnails import thumbnails
    from docclf_cli.tasks.class_report.words import words_of_pages

    shown, surest = pages_to_show(inputs.predictions), list[int]()
    heat: dict[str, bytes] = {}
    if maps is not None and inputs.data is not None:
        from docclf_cli.tasks.class_report.heat_pictures import heat_pictures, rows_to_explain

        mistakes, surest = rows_to_explain(inputs.predictions, shown.tolist())
        rows = [*mistakes, *surest]
        heat = heat_pictures(inputs.predictions, rows, inputs.split, inputs.data, maps, emit=emit, stop=stop)
        shown = np.concatenate([shown, [row for row in surest if row not in shown]]).astype(np.int64)
    made = None
    if pictures and inputs.data is not None:
        ids = [str(page_id) for page_id in inputs.predictions.ids[shown]]
        made = thumbnails(ids, inputs.split, inputs.data, emit=emit, stop=stop)
    words: Mapping[str, Sequence[str]] = {}
    if inputs.member is not None and inputs.data is not None:
        pages = inputs.predictions.take(shown)
        words = words_of_pages(inputs.member, pages, inputs.split, inputs.data, emit=emit, stop=stop)
    run = inputs.run
    history = () if run is None else run.read_history()
    profile = run.profile.read_text(encoding="utf-8") if run is not None and run.profile.is_file() else ""
    state = {} if run is None else run.read_state()
    facts = {
        "model": inputs.model,
        "data": "" if inputs.data is None else inputs.data.root,
        "trained": str(state.get("time", ""))[:10],
        "report made": f"{date.today():%Y-%m-%d}",
    }
    page = Page(
        result,
        inputs.predictions,
        shown,
        made,
        history,
        profile,
        {name: fact for name, fact in facts.items() if fact},
        state.get("best_epoch") or None,
        words,
        heat,
        frozenset(surest),
    )
    return replace(result, files=(write_page(inputs.folder / PAGE, page), *result.files))
