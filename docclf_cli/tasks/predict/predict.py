"""Turns the options of `predict` into files, a predictor and a confidence threshold."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from docclf_cli.data.images.page_files import PDF_SUFFIX, PageReader
from docclf_cli.data.images.upright_copies import require_pikepdf
from docclf_cli.data.index.file_list import FileList
from docclf_cli.data.index.inputs import find, of_index
from docclf_cli.data.index.left_out import LeftOut
from docclf_cli.data.loading.pages import PLAIN
from docclf_cli.engine.inference.ensemble_predictor import EnsemblePredictor, build_ensemble_predictor
from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
from docclf_cli.engine.inference.member_predictions import find_evaluation_pages
from docclf_cli.engine.inference.members import Indices, data_of
from docclf_cli.engine.inference.onnx_backend import INT8
from docclf_cli.engine.inference.predictor import TORCH
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.device import Runtime, resolve_runtime
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.results.prediction import PartResult, PredictResult
from docclf_cli.services.storage.remote_files import S3Files
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.costs import read_costs
from docclf_cli.tasks.evaluate.confidence_threshold import threshold_from_held_out
from docclf_cli.tasks.predict.explain import Explainer
from docclf_cli.tasks.predict.explain_text import TextExplainer
from docclf_cli.tasks.predict.files import OutputFiles
from docclf_cli.tasks.predict.output_formats import OUTPUT_FORMATS, format_of, require_format
from docclf_cli.tasks.predict.parts import ANY, PartMaker, Share
from docclf_cli.tasks.predict.run import ConfidenceThreshold, OutputOptions, predict_files
from docclf_cli.tasks.predict.sorting import Upright
from docclf_cli.tasks.predict.submission import Submission
from docclf_cli.tasks.results_folder import results_folder
from docclf_cli.tasks.unknown import (
    MAX_LOST,
    UnknownRule,
    check_shares,
    conditions,
    foreign_pages,
    unknown_rule,
)
from docclf_cli.text import Message

logger = logging.getLogger("docclf")
TEST = "test"
DEFAULT_OUTPUT = Path("predictions")


@dataclass(frozen=True)
class PredictOptions:
    """The options of `predict`.

    Attributes:
        inputs: Files, folders, globs, CSV files, `-`.
        split: `test` instead of inputs, or None.
        data: Data root of the split; None is that of the training.
        top_k: How many classes a row names.
        target_precision: Find the confidence that held-out pages show to be this precise.
        min_confidence: Or this confidence.
        max_lost: Share of pages of known classes that may be called unknown; 0 calls no page unknown.
        expect_unknown: Share of unknown pages to expect; None holds a target precision for known pages alone.
        costs: Decide by the prices in this table instead.
        max_unreadable: Share of unreadable pages that is no failure; None is that of the training.
        output: Folder, or table with its siblings; None is a place by default.
        file_format: Of the tables; None is that of a table named as `output`, else CSV.
        submission: Also write the competition's file.
        fill: Class of its unreadable pages.
        copy_to: Sort copies of the files into class folders below this one.
        upright: Turn the pages of these copies upright, where that takes no loss.
        reencode: Turn them also where pixels must be encoded again with loss.
        explain: Draw heat maps into this new folder.
        explain_text: Write the words that spoke for the classes into this new table.
        backend: What runs the models.
        overwrite: Replace existing results.
    """

    inputs: tuple[str, ...] = ()
    split: str | None = None
    data: str | None = None
    top_k: int = 3
    target_precision: float | None = None
    min_confidence: float | None = None
    max_lost: float = MAX_LOST
    expect_unknown: float | None = None
    costs: Path | None = None
    max_unreadable: float | None = None
    output: Path | None = None
    file_format: str | None = None
    submission: bool = False
    fill: str | None = None
    copy_to: Path | None = None
    upright: bool = False
    reencode: bool = False
    explain: Path | None = None
    explain_text: Path | None = None
    backend: str = TORCH
    overwrite: bool = False

    def check(self, precision: str = "auto") -> None:
        """Refuse options that contradict each other.

        Args:
            precision: Number format that the user named.

        Raises:
            InputError: Two options contradict each other; both are named.
        """
        if self.split not in (None, TEST):
            raise InputError(f"--split: '{self.split}' is not '{TEST}'", "use `docclf evaluate` for the other splits")
        if bool(self.inputs) == (self.split is not None):
            raise InputError(
                "name either inputs or --split test",
                "files, folders, globs in quotes, a CSV, or '-' for a list on stdin",
            )
        if self.split is None and (self.data or self.submission):
            raise InputError(f"{'--submission' if self.submission else '--data'} belongs to --split test")
        if self.fill is not None and not self.submission:
            raise InputError("--fill belongs to --submission")
        if self.target_precision is not None and self.min_confidence is not None:
            raise InputError("name either --target-precision or --min-confidence")
        if self.target_precision is not None and not 0 < self.target_precision < 1:
            raise InputError(f"--target-precision: {self.target_precision:g} is not between 0 and 1", "such as 0.99")
        if self.costs is not None and (self.target_precision, self.min_confidence) != (None, None):
            other = "--min-confidence" if self.target_precision is None else "--target-precision"
            raise InputError(f"--costs decides by prices, and {other} by a confidence", "give only one of them")
        if self.upright and self.copy_to is None:
            raise InputError("--upright turns the pages of sorted copies", "name a folder for them: --copy-to DIR")
        if self.reencode and not self.upright:
            raise InputError("--reencode belongs to --upright")
        if self.upright and self.backend != TORCH:
            raise InputError(
                f"--upright: the {self.backend} backend does not say how pages lie",
                f"leave out --backend {self.backend}",
            )
        check_shares(self.max_lost, self.expect_unknown)
        inside = [
            text for text in self.inputs if self.copy_to and self.copy_to.resolve().is_relative_to(Path(text).resolve())
        ]
        if inside:
            raise InputError(
                f"--copy-to: {self.copy_to} is inside of {inside[0]}", "the copies would become inputs of the next call"
            )
        if self.backend != TORCH and self.explain is not None:
            raise InputError(
                "--explain: an ONNX file has no gradients, so no heat maps", f"leave out --backend {self.backend}"
            )
        computes_in = INT8 if self.backend == INT8 else "fp32"
        if self.backend != TORCH and precision not in ("auto", computes_in):
            raise InputError(
                f"--precision {precision}: the {self.backend} backend computes in {computes_in}",
                "give only one of them",
            )
        if self.file_format is not None:
            require_format(self.file_format)
        of_output = None if self.output is None else format_of(self.output)
        suffix = "" if self.output is None else self.output.suffix
        if self.output is not None and of_output is None and suffix[1:].isalpha() and not self.output.is_dir():
            tables = " or ".join(entry.facts["suffix"] for entry in OUTPUT_FORMATS)
            raise InputError(
                f"--output {self.output}: '{suffix}' is no table that docclf writes",
                f"name a table that ends in {tables}, a folder, or - for stdout",
            )
        if self.file_format and of_output is not None and of_output.name != self.file_format:
            raise InputError(f"--format {self.file_format} and --output {self.output} contradict each other")

        if of_output is not None:
            require_format(of_output.name)

    def check_part(self) -> None:
        """Refuse options that `--part` cannot take.

        Raises:
            InputError: One is given; it is named.
        """
        later = {
            "--submission": self.submission,
            "--copy-to": self.copy_to,
            "--explain": self.explain,
            "--explain-text": self.explain_text,
        }
        if given := [name for name, value in later.items() if value]:
            hint = "give it with --join" if given[0] == "--copy-to" else "leave one of them out"
            raise InputError(f"{given[0]} needs all pages, and --part predicts a share of them", hint)
        if self.output is not None and (str(self.output) == "-" or format_of(self.output) is not None):
            raise InputError(
                f"--part writes a folder, and --output {self.output} is none", "name the same folder for all parts"
            )


def predict(
    spec: EnsembleSpec,
    question: PredictOptions,
    *,
    stdin: IO[bytes],
    runtime_config: RuntimeConfig | None = None,
    reading: Mapping[str, Any] | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> PredictResult:
    """Predict pages, and write the tables.

    All ranks run this function, and return the same result; each makes some shards, and rank 0 writes the tables.

    Args:
        spec: Who answers.
        question: What is asked.
        stdin: Where a list of files may come from.
        runtime_config: Device and numerics.
        reading: Keys of `data` that say how pages are read, where they differ from the training's.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: An input names nothing, or results are there already.
        CheckpointError: A checkpoint is damaged.
        Interrupted: `stop` was set; the same question goes on from there.
    """
    found = _prepare(spec, question, stdin, runtime_config or RuntimeConfig(), reading or {}, emit, stop)
    result = predict_files(
        found.files, found.predictor, found.options, reader=found.reader, runtime=found.runtime, pages=found.data.pages,
        emit=emit, stop=stop,
    )  # fmt: skip
    return replace(result, left_out=found.left_out.counts)


def predict_share(
    spec: EnsembleSpec,
    question: PredictOptions,
    share: Share,
    *,
    stdin: IO[bytes],
    runtime_config: RuntimeConfig | None = None,
    reading: Mapping[str, Any] | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> PartResult:
    """Predict a share of the pages, and keep it in a folder of its own; arguments and errors as those of `predict`."""
    found = _prepare(spec, question, stdin, runtime_config or RuntimeConfig(), reading or {}, emit, stop)
    maker = PartMaker(
        found.files, found.predictor, found.options, question.output or _usual_output(spec, question), found.reader,
        found.runtime, found.data.pages, question.file_format or "csv", found.left_out.counts, emit, stop,
    )  # fmt: skip
    return maker.make_free(share.of) if share.number == ANY else maker.make(share)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What options have become."""

    files: FileList
    predictor: EnsemblePredictor
    options: OutputOptions
    reader: PageReader
    runtime: Runtime
    data: DataConfig
    left_out: LeftOut


def _prepare(
    spec: EnsembleSpec,
    question: PredictOptions,
    stdin: IO[bytes],
    runtime_config: RuntimeConfig,
    reading: Mapping[str, Any],
    emit: Emit,
    stop: StopFlag,
) -> _Prepared:
    data = spec.members[0].info.data.model_copy(update=dict(reading))
    members = spec.members
    plain = any(view.name == PLAIN for views in spec.view_specs()[:1] for view in views)
    unknown = unknown_rule(
        members, question.max_lost, question.expect_unknown, has_features=question.backend == TORCH, plain_view=plain
    )
    costs = None if question.costs is None else read_costs(question.costs, members[0].info.class_names)
    threshold = _confidence_threshold(spec, question, runtime_config, unknown, emit, stop)
    files, submission, left_out = distributed.on_main(
        lambda: _test_split(spec, question) if question.split else _files(question, data, stdin)
    )
    left_out.warn()
    if question.upright:
        _check_upright(spec, files)
    reader = PageReader(data.max_pixels, data.allow_symlinks, S3Files())
    explainer = None
    if question.explain is not None:
        explainer = Explainer.of(question.explain, spec, runtime_config, reader)
    text_explainer = None
    if question.explain_text is not None:
        text_explainer = TextExplainer.of(question.explain_text, spec, reader, overwrite=question.overwrite)
    options = OutputOptions(
        outputs=OutputFiles.at(question.output or _usual_output(spec, question), question.file_format or "csv"),
        model=spec.name,
        max_unreadable=data.max_unreadable,
        columns=("ID" if question.split else "path", "page"),
        top_k=question.top_k,
        confidence_threshold=threshold,
        unknown=unknown,
        costs=costs,
        notes=(*conditions(unknown, question.target_precision, question.expect_unknown), *_about_refit(spec)),
        submission=submission,
        copy_to=question.copy_to,
        upright=Upright(data.max_pixels, question.reencode) if question.upright else None,
        overwrite=question.overwrite or (question.output is None and bool(question.split) and len(spec.members) == 1),
        explain=explainer,
        explain_text=text_explainer,
    )
    spec = spec.fitted_on_held_out(runtime_config, emit, stop)
    predictor = build_ensemble_predictor(spec, runtime_config, len(files), question.backend)
    return _Prepared(files, predictor, options, reader, resolve_runtime(runtime_config), data, left_out)


def _check_upright(spec: EnsembleSpec, files: FileList) -> None:
    """Refuse to turn copies by a model that does not say how pages lie, or PDFs without what writes them.

    Raises:
        InputError: Either is so.
    """
    infos = [info for member in spec.members for info in member.checkpoints]
    if lacking := next((info for info in infos if info.orientation is None), None):
        raise InputError(
            f"--upright: {lacking.path} does not say how pages lie, because an earlier version, a refit or "
            "train.upright: 0 made it, or it had too few pages",
            "train again, a linear probe with --set train.upright=4, or leave --upright out",
        )
    names = (files[row].name for row in range(len(files)))
    if (pdf := next((name for name in names if name.lower().endswith(PDF_SUFFIX)), None)) is not None:
        require_pikepdf(pdf)


def _about_refit(spec: EnsembleSpec) -> tuple[str, ...]:
    """Say that a refit predicts, of which nothing was measured."""
    if all(member.sisters is None for member in spec.members):
        return ()
    return (
        Message.of(
            "Predicted by refit.ckpt, which was trained on all pages. Its temperature and its confidence threshold come from "
            "the folds, its sister models, on the pages that each of them held out; no page is left to measure it on."
        ),
    )


def _confidence_threshold(
    spec: EnsembleSpec,
    question: PredictOptions,
    runtime_config: RuntimeConfig,
    unknown: UnknownRule,
    emit: Emit,
    stop: StopFlag,
) -> ConfidenceThreshold:
    if question.min_confidence is not None:
        return ConfidenceThreshold(question.min_confidence, Message.of("as given"))
    if question.target_precision is None:
        return ConfidenceThreshold()
    if spec.views is not None or len(spec.members) > 1:
        raise InputError(
            "--target-precision needs a single model without --tta",
            "with --tta or an ensemble, use --min-confidence",
        )
    foreign = foreign_pages(spec.members[0], unknown, question.expect_unknown)
    value = threshold_from_held_out(
        spec.members[0], question.target_precision, runtime_config, emit, stop, foreign=foreign
    )
    source = Message.of(
        "for a precision of {target:g} % on held-out pages", target=round(100 * question.target_precision, 4)
    )
    return ConfidenceThreshold(value, source)


def _files(question: PredictOptions, data: DataConfig, stdin: IO[bytes]) -> tuple[FileList, None, LeftOut]:
    left_out = LeftOut()
    files = FileList(find(question.inputs, stdin, data.allow_symlinks, left_out, S3Files()))
    if not len(files):
        raise InputError("the list contains no files")
    if files.repeated:
        logger.info("%d files are listed more than once; each is predicted once", files.repeated)
    return files, None, left_out


def _test_split(spec: EnsembleSpec, question: PredictOptions) -> tuple[FileList, Submission | None, LeftOut]:
    first, class_names = spec.members[0].info, spec.members[0].info.class_names
    if len(spec.members) > 1:
        config = find_evaluation_pages(
            spec.members, {"root": question.data} if question.data else {}, "test"
        ).target.config
    else:
        config = first.data if question.data is None else data_of(first.data, question.data)
    index = Indices(config).of("test", class_names)
    submission = Submission.of(index, config, class_names, question.fill) if question.submission else None
    return FileList(of_index(index)), submission, index.left_out


def _usual_output(spec: EnsembleSpec, question: PredictOptions) -> Path:
    if not question.split or len(spec.members) > 1:
        return DEFAULT_OUTPUT
    member = spec.members[0]
    data = member.info.data
    config = data if question.data is None else data_of(data, question.data)
    return results_folder(member, "predict", TEST, config)
