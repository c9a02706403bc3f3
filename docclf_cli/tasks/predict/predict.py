"""`predict`: resolves the options of the command into files, a predictor and a threshold, and runs it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.index.file_list import FileList
from docclf_cli.data.index.inputs import find, of_index
from docclf_cli.data.index.left_out import LeftOut
from docclf_cli.engine.inference.ensemble_predictor import ONNX, TORCH, build_ensemble_predictor
from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
from docclf_cli.engine.inference.member_predictions import find_evaluation_pages
from docclf_cli.engine.inference.members import Indices, data_of
from docclf_cli.engine.runtime.device import resolve_runtime
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.results.prediction import PredictResult
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.evaluate.confidence_threshold import threshold_from_held_out
from docclf_cli.tasks.predict.files import FORMATS, OutputFiles
from docclf_cli.tasks.predict.run import ConfidenceThreshold, OutputOptions, predict_files
from docclf_cli.tasks.predict.submission import Submission
from docclf_cli.tasks.results_folder import results_folder

logger = logging.getLogger("docclf")
TEST = "test"
DEFAULT_OUTPUT = Path("predictions")


@dataclass(frozen=True)
class PredictOptions:
    """The options of `predict`.

    Attributes:
        inputs: Files, folders, globs, CSV files, `-`.
        split: `test` instead of inputs, or None.
        data: Data root of the split; None is the one the model was trained on.
        top_k: Number of classes in a row.
        target_precision: Pages below the confidence with this precision on held-out pages need review.
        min_confidence: Pages below this confidence need review.
        max_unreadable: Largest share of unreadable pages that is no failure; None is that of training.
        output: Folder, or table with its siblings; None is the default folder.
        file_format: Format of the tables; None is that of a table named as `output`, else CSV.
        submission: Also write the competition's file.
        fill: Class of unreadable pages in the submission.
        copy_to: Sort copies of the files into class folders below this folder.
        backend: Runs the models: `torch` or `onnx`.
        overwrite: Replace existing results.
    """

    inputs: tuple[str, ...] = ()
    split: str | None = None
    data: str | None = None
    top_k: int = 3
    target_precision: float | None = None
    min_confidence: float | None = None
    max_unreadable: float | None = None
    output: Path | None = None
    file_format: str | None = None
    submission: bool = False
    fill: str | None = None
    copy_to: Path | None = None
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
            raise InputError(
                f"--split: '{self.split}' is not '{TEST}'", "of other pages, docclf knows the class: evaluate"
            )
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
        inside = [
            text for text in self.inputs if self.copy_to and self.copy_to.resolve().is_relative_to(Path(text).resolve())
        ]
        if inside:
            raise InputError(
                f"--copy-to: {self.copy_to} is inside of {inside[0]}", "its copies would be inputs next time"
            )
        if self.backend == ONNX and precision not in ("auto", "fp32"):
            raise InputError(f"--precision {precision}: the onnx backend computes in fp32", "leave one of them out")
        if self.file_format not in (None, *FORMATS):
            raise InputError(f"--format: '{self.file_format}' is not one of {', '.join(FORMATS)}")
        table = self.output.suffix.lower().removeprefix(".") if self.output else ""
        if self.file_format and table in FORMATS and table != self.file_format:
            raise InputError(f"--format {self.file_format} and --output {self.output} contradict each other")


def predict(
    spec: EnsembleSpec,
    options: PredictOptions,
    *,
    stdin: IO[bytes],
    runtime_config: RuntimeConfig | None = None,
    reading: Mapping[str, Any] | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> PredictResult:
    """Predict the classes of pages, and write the results.

    Args:
        spec: The model or the ensemble.
        options: Options of the command.
        stdin: Source of a list of files.
        runtime_config: Device and numerics.
        reading: Keys of `data` on how pages are read, if they differ from those of training.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: An input matches no file, or results exist already.
        CheckpointError: A checkpoint is damaged.
        Interrupted: `stop` was set; the same command continues from there.
    """
    runtime_config = runtime_config or RuntimeConfig()
    data = spec.members[0].info.data.model_copy(update=dict(reading or {}))
    threshold = _confidence_threshold(spec, options, runtime_config, emit, stop)
    files, submission, left_out = _test_split(spec, options) if options.split else _named_files(options, data, stdin)
    left_out.say()
    output_options = OutputOptions(
        outputs=OutputFiles.at(options.output or _default_output(spec, options), options.file_format or "csv"),
        model=spec.name,
        max_unreadable=data.max_unreadable,
        columns=("ID" if options.split else "path", "page"),
        top_k=options.top_k,
        trusted=threshold,
        submission=submission,
        copy_to=options.copy_to,
        overwrite=options.overwrite or (options.output is None and bool(options.split) and len(spec.members) == 1),
    )
    spec = spec.fitted_on_held_out(runtime_config, emit, stop)
    predictor = build_ensemble_predictor(spec, runtime_config, len(files), options.backend)
    result = predict_files(
        files,
        predictor,
        output_options,
        reader=PageReader(data.max_pixels, data.allow_symlinks),
        runtime=resolve_runtime(runtime_config),
        paged=options.split is None,
        emit=emit,
        stop=stop,
    )
    return replace(result, left_out=left_out.counts)


def _confidence_threshold(
    spec: EnsembleSpec, options: PredictOptions, runtime_config: RuntimeConfig, emit: Emit, stop: StopFlag
) -> ConfidenceThreshold:
    if options.min_confidence is not None:
        return ConfidenceThreshold(options.min_confidence, "as given")
    if options.target_precision is None:
        return ConfidenceThreshold()
    if spec.views is not None or len(spec.members) > 1:
        raise InputError(
            "--target-precision is about one model that looks at each page once",
            "with views or an ensemble, name --min-confidence",
        )
    value = threshold_from_held_out(spec.members[0], options.target_precision, runtime_config, emit, stop)
    return ConfidenceThreshold(value, f"where {options.target_precision:.2%} of held-out pages are right")


def _named_files(options: PredictOptions, data: DataConfig, stdin: IO[bytes]) -> tuple[FileList, None, LeftOut]:
    left_out = LeftOut()
    files = FileList(find(options.inputs, stdin, data.allow_symlinks, left_out))
    if not len(files):
        raise InputError("the list names no file")
    if files.repeated:
        logger.info("%d files are named more than once: each is predicted once", files.repeated)
    return files, None, left_out


def _test_split(spec: EnsembleSpec, options: PredictOptions) -> tuple[FileList, Submission | None, LeftOut]:
    info = spec.members[0].info
    if len(spec.members) > 1:
        config = find_evaluation_pages(
            spec.members, {"root": options.data} if options.data else {}, "test"
        ).target.config
    else:
        config = info.data if options.data is None else data_of(info.data, options.data)
    index = Indices(config).of("test", info.class_names)
    submission = Submission.of(index, config, info.class_names, options.fill) if options.submission else None
    return FileList(of_index(index)), submission, index.left_out


def _default_output(spec: EnsembleSpec, options: PredictOptions) -> Path:
    if not options.split or len(spec.members) > 1:
        return DEFAULT_OUTPUT
    member = spec.members[0]
    data = member.info.data
    config = data if options.data is None else data_of(data, options.data)
    return results_folder(member, "predict", TEST, config)
