"""From what a person asks of `predict` to the files, the decider and the threshold that it is about."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from docclf_cli.data.file_list import FileList
from docclf_cli.data.index import load_index
from docclf_cli.data.inputs import find, of_index
from docclf_cli.data.page_files import PageReader
from docclf_cli.engine.decider import Decider, decider_at
from docclf_cli.engine.events import Emit, silent
from docclf_cli.engine.predicting import Trusted, Wish, predict_files
from docclf_cli.engine.prediction_files import FORMATS, OutputFiles
from docclf_cli.engine.runtime import NEVER, StopFlag, resolve_runtime
from docclf_cli.engine.submission import Submission
from docclf_cli.engine.thresholds import held_out, threshold_value
from docclf_cli.errors import InputError, UnreadableImagesError
from docclf_cli.profile.schema import DataConfig, RuntimeConfig
from docclf_cli.results.prediction import PredictResult

logger = logging.getLogger("docclf")
TEST = "test"
DEFAULT_OUTPUT = Path("predictions")


@dataclass(frozen=True)
class Question:
    """What a person asks.

    Attributes:
        inputs: Files, folders, globs, CSV files, `-`.
        split: `test` instead of inputs, or None.
        data: Data root of the split; None is that of the training.
        top_k: How many classes a row names.
        target_precision: Find the confidence that held-out pages show to be this precise.
        min_confidence: Or this confidence.
        max_unreadable: Share of unreadable pages that is no failure; None is that of the training.
        output: Folder, or table with its siblings; None is a place by default.
        file_format: Of the tables.
        submission: Also write the competition's file.
        fill: Class of its unreadable pages.
        overwrite: Replace results that are there.
    """

    inputs: tuple[str, ...] = ()
    split: str | None = None
    data: str | None = None
    top_k: int = 3
    target_precision: float | None = None
    min_confidence: float | None = None
    max_unreadable: float | None = None
    output: Path | None = None
    file_format: str = "csv"
    submission: bool = False
    fill: str | None = None
    overwrite: bool = False

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            InputError: Naming the options.
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
        if self.file_format not in FORMATS:
            raise InputError(f"--format: '{self.file_format}' is not one of {', '.join(FORMATS)}")


def predict(
    checkpoint: Path,
    question: Question,
    *,
    stdin: IO[bytes],
    runtime_config: RuntimeConfig | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> PredictResult:
    """Answer a question about pages.

    Args:
        checkpoint: Checkpoint file or run folder.
        question: What is asked.
        stdin: Where a list of files may come from.
        runtime_config: Device and numerics.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        InputError: An input names nothing, or results are there already.
        CheckpointError: There is no checkpoint, or it is damaged.
        Interrupted: `stop` was set; the same question goes on from there.
    """
    runtime = resolve_runtime(runtime_config or RuntimeConfig())
    decider = decider_at(checkpoint, runtime)
    trusted = _trusted(decider, question)
    reader = PageReader(decider.data.max_pixels, decider.data.allow_symlinks)
    if question.split is None:
        outputs = OutputFiles.at(question.output or DEFAULT_OUTPUT, question.file_format)
        files = FileList(find(question.inputs, stdin, decider.data.allow_symlinks))
        if files.repeated:
            logger.info("%d files are named more than once: each is predicted once", files.repeated)
        wish = Wish(outputs, ("path", "page"), question.top_k, trusted, None, question.overwrite)
    else:
        outputs = OutputFiles.at(question.output or decider.folder / "predict" / TEST, question.file_format)
        files, submission = _test_split(decider, question)
        overwrite = question.overwrite or question.output is None
        wish = Wish(outputs, ("ID", "page"), question.top_k, trusted, submission, overwrite)
    paged = question.split is None
    return predict_files(
        files, decider, wish, reader=reader, runtime=runtime, paged=paged, emit=emit, stop=stop
    )  # fmt: skip


def require_readable(result: PredictResult, question: Question) -> None:
    """Say by the exit code that too many pages could not be read; everything is written all the same.

    Raises:
        UnreadableImagesError: Their share is above the one allowed.
    """
    allowed = result.max_unreadable if question.max_unreadable is None else question.max_unreadable
    if result.unreadable > allowed * result.pages:
        raise UnreadableImagesError(
            f"{result.unreadable} of {result.pages} pages cannot be read, more than {allowed:.2%}",
            "all files are written, the quarantine names the reasons; --max-unreadable 1 accepts any number",
        )


def _trusted(decider: Decider, question: Question) -> Trusted:
    if question.min_confidence is not None:
        return Trusted(question.min_confidence, "as given")
    if question.target_precision is None:
        return Trusted()
    value = threshold_value(held_out(decider.checkpoints[0]), question.target_precision, decider.temperature)
    return Trusted(value, f"held-out pages, {question.target_precision:.2%} of them right from there on")


def _test_split(decider: Decider, question: Question) -> tuple[FileList, Submission | None]:
    config = decider.data.model_copy(update={"groups": None})
    if question.data is not None:
        config = _other_data(decider.data, question.data)
    index = load_index(config, "test", decider.class_names)
    submission = Submission.of(index, config, decider.class_names, question.fill) if question.submission else None
    return FileList(of_index(index)), submission


def _other_data(trained_on: DataConfig, root: str) -> DataConfig:
    # Files that belong to the training data say nothing about other pages.
    changes = {"root": root, "images": None, "groups": None, "relabel": None, "val": None, "limit": None}
    return trained_on.model_copy(update=changes)
