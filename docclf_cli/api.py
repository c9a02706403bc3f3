"""docclf from Python: `docclf_cli.load` and `docclf_cli.train`."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import yaml
from PIL import Image

from docclf_cli.data.images.decode import UnreadablePage, decoding, fitted
from docclf_cli.data.images.orientation import Orientation
from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.file_pages import pages_per_file
from docclf_cli.data.loading.pages import PLAIN
from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, silent
from docclf_cli.files import fingerprint_of
from docclf_cli.page_ids import is_paged
from docclf_cli.profile.schema import Profile, RuntimeConfig
from docclf_cli.results.prediction import Prediction
from docclf_cli.services.storage.remote_files import S3Files
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.predict.page_predictions import DecisionRule
from docclf_cli.tasks.unknown import MAX_LOST, UnknownRule, unknown_rule

if TYPE_CHECKING:
    from docclf_cli.data.loading.texts import FileTexts
    from docclf_cli.engine.inference.ensemble_predictor import EnsemblePredictor
    from docclf_cli.results.training import TrainResult

Page = str | Path | bytes | Image.Image | np.ndarray
Columns = Mapping[str, Any]  # of a batch: a list, array or column of values for each name
INPUT_COLUMNS = ("bytes", "path")
MOST_LOADED = 4
_LOADED: dict[str, EnsemblePredictor] = {}  # of this process: an engine unpickles a model for each of its tasks


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model to call from Python; `load` makes it.

    It can be pickled: the copy reads the same files again when it is first used.

    Attributes:
        trained: The model.
        spec: The same with its views.
        runtime: Device and numerics.
        backend: `torch`, `onnx` or `int8`.
        threshold: Pages below this confidence are to be reviewed; None where no one asked.
        max_lost: Share of pages of known classes that may be called unknown; 0 calls no page unknown.
    """

    trained: TrainedModel
    spec: EnsembleSpec
    runtime: RuntimeConfig
    backend: str = "torch"
    threshold: float | None = None
    max_lost: float = MAX_LOST

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that it tells apart."""
        return self.trained.info.class_names

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_predictor"}

    @functools.cached_property
    def _predictor(self) -> EnsemblePredictor:
        from docclf_cli.engine.inference.ensemble_predictor import build_ensemble_predictor

        weights = [info.sha256 for info in self.trained.checkpoints]
        views = [view.name for view in self.spec.view_specs()[0]]
        key = fingerprint_of(weights, views, self.runtime.model_dump(mode="json"), self.backend)
        if key not in _LOADED:
            while len(_LOADED) >= MOST_LOADED:
                del _LOADED[next(iter(_LOADED))]
            _LOADED[key] = build_ensemble_predictor(self.spec, self.runtime, backend=self.backend)
        return _LOADED[key]

    @functools.cached_property
    def unknown_rule(self) -> UnknownRule:
        """Which pages are called unknown."""
        plain = any(view.name == PLAIN for view in self.spec.view_specs()[0])
        return unknown_rule(self.spec.members, self.max_lost, has_features=self.backend != "onnx", plain_view=plain)

    def predict(self, pages: Page | Iterable[Page]) -> list[Prediction]:
        """Classify pages.

        Args:
            pages: Paths of image, TIFF or PDF files (also `s3://bucket/key`), their content as bytes, PIL images, or arrays (uint8,
                [height, width] or [height, width, 3 or 4], RGB); also a single one.

        Returns:
            One result a page, in order; a PDF or TIFF gives one for each of its pages (that the model was trained to read). A page that cannot be read
            has no label, and says why in `error`.

        Raises:
            InputError: Something is neither a path, nor bytes, nor an image.
            CheckpointError: The model's file is damaged.
            RemoteError: S3 cannot be reached.
        """
        return [one for _, one in self._predict(pages)]

    def __call__(self, batch: Columns) -> Columns:
        """Classify a batch of files for an engine such as Ray Data, Spark or Daft (docs/engines.md).

        Args:
            batch: Columns of one length (a mapping of names to lists or arrays, or a pandas data frame); files come in
                a column `bytes` (their content) or `path`. Other columns are returned as they are.

        Returns:
            The same kind of batch with the columns `page`, `label`, `confidence`, `decision`, `unknown`, `review` and
            `error`; without `bytes`. A file of several pages gives one row for each, and its other columns are repeated.

        Raises:
            InputError: There is no such column, or a column has another length.
        """
        named = next((name for name in INPUT_COLUMNS if name in batch), None)
        if named is None:
            raise InputError(f"the batch has no column {' or '.join(INPUT_COLUMNS)}", f"it has: {', '.join(batch)}")
        columns = {name: _column(batch[name]) for name in batch}
        if len({len(column) for column in columns.values()}) > 1:
            raise InputError("the columns of the batch have different lengths")
        rows, found = list[int](), list[Prediction]()
        for row, one in self._predict(columns[named].tolist()):
            rows.append(row)
            found.append(one)
        others = {name: column[np.array(rows, np.int64)] for name, column in columns.items() if name != "bytes"}
        table = {
            **others,
            "page": np.array([one.page for one in found], np.int64),
            "label": np.array([one.label for one in found], object),
            "confidence": np.array([one.confidence for one in found], np.float64),
            "decision": np.array([one.decision for one in found], object),
            "unknown": np.array([math.nan if one.unknown is None else one.unknown for one in found], np.float64),
            "review": np.array([bool(one.review) for one in found], np.bool_),
            "error": np.array([one.error for one in found], object),
        }
        return table if isinstance(batch, Mapping) else type(batch)(table)

    def _predict(self, pages: Page | Iterable[Page]) -> list[tuple[int, Prediction]]:
        """The results, each with the number of what was given."""
        from docclf_cli.data.loading.data_loader import data_loader
        from docclf_cli.data.loading.datasets import InferenceDataset, ModelInput, cut
        from docclf_cli.engine.inference.predictor import IMAGES_PER_PASS
        from docclf_cli.engine.inference.run_inference import run_inference

        given = [pages] if isinstance(pages, str | Path | bytes | Image.Image | np.ndarray) else list(pages)
        data = self.trained.info.data
        reader = PageReader(data.max_pixels, data.allow_symlinks, S3Files())
        places = [place for number, page in enumerate(given) for place in _pages_of(number, page, reader, data.pages)]
        predictor = self._predictor
        inputs = [
            ModelInput(_GivenPages(places, reader, preprocess, data.max_pixels), views)
            for preprocess, views in predictor.inputs
        ]
        batches = data_loader(
            InferenceDataset(inputs, texts=self._texts(places, reader)),
            cut(range(len(places)), max(1, IMAGES_PER_PASS // predictor.most_views)),
            pin=predictor.runtime.device.type == "cuda",
        )
        found: list[tuple[int, Prediction]] = []
        for batch, outputs in run_inference([predictor.outputs], batches, total=len(places)):
            log_probs, log_odds, lies = dict[int, np.ndarray](), dict[int, float](), dict[int, int]()
            for output in outputs:
                log_probs |= zip(batch.rows.tolist(), output.log_probs, strict=True)
                if output.unknown is not None:
                    log_odds |= zip(batch.rows.tolist(), output.unknown.tolist(), strict=True)
                if output.orientation is not None:
                    lies |= zip(batch.rows.tolist(), output.orientation.tolist(), strict=True)
            reasons = dict(batch.unreadable)
            for number in sorted({*log_probs, *reasons}):
                unknown, reason = log_odds.get(number, math.nan), reasons.get(number, "")
                one = self._prediction(places[number], log_probs.get(number), unknown, reason)
                if lies.get(number, -1) >= 0:
                    orientation = Orientation.numbered(lies[number])
                    one = replace(one, turn=orientation.turn, mirrored=orientation.mirrored)
                found.append((places[number].given, one))
        reader.close()
        return found

    def _texts(self, places: Sequence[_Place], reader: PageReader) -> FileTexts | None:
        from docclf_cli.data.loading.texts import FileTexts

        def place(number: int) -> tuple[Path | bytes, int, Path | None] | None:
            page = places[number].page
            if isinstance(page, Image.Image | np.ndarray):  # pictures have no layer, and are not read by OCR
                return None
            return page if isinstance(page, bytes) else Path(page), places[number].number, None

        source = self._predictor.text_source
        return FileTexts(place, reader, source) if source else None

    def _prediction(self, place: _Place, log_probs: np.ndarray | None, log_odds: float, error: str) -> Prediction:
        path = str(place.page) if isinstance(place.page, str | Path) else None
        names, number = self.class_names, place.number + 1
        rule = DecisionRule(len(names), self.threshold, self.unknown_rule)
        found = rule.of_page(path or "", number, np.zeros(0) if log_probs is None else log_probs, log_odds, error)
        probabilities = {names[index]: probability for index, probability in found.top}
        label, confidence = next(iter(probabilities.items()), (None, 0.0))
        return Prediction(
            path, number, label, confidence, probabilities, found.needs_review, error, found.unknown, found.is_unknown,
            found.decision(names),
        )  # fmt: skip


def load(
    path: str | Path,
    *,
    device: str = "auto",
    precision: str = "auto",
    tta: bool = False,
    min_confidence: float | None = None,
    target_precision: float | None = None,
    backend: str = "torch",
    max_lost: float = MAX_LOST,
) -> Model:
    """Open a trained model.

        import docclf_cli

        model = docclf_cli.load("runs/mine", min_confidence=0.9)
        for page in model.predict(["letter.jpg", "contract.pdf"]):
            print(page.path, page.label, page.confidence, page.review)

    Args:
        path: A run folder (a run of folds predicts with the mean of its folds), a checkpoint, an ONNX file that
            `docclf export` wrote, or `s3://bucket/key`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `fp32`, `bf16` or `fp16`; `auto` is what training found good enough.
        tta: Look at each page in the views that its augmentation trained, and merge them.
        min_confidence: Pages below this confidence are to be reviewed.
        target_precision: Instead: pages below the confidence from which on held-out pages are right in this share.
        backend: `torch`, or `onnx` or `int8` for what `docclf export` made of the checkpoint.
        max_lost: Share of pages of known classes that may be called unknown; 0 calls no page unknown.

    Raises:
        CheckpointError: There is no such model, or it is damaged.
        InputError: Options contradict each other, or no confidence reaches the target.
        RemoteError: S3 cannot be reached.
    """
    if min_confidence is not None and target_precision is not None:
        raise InputError("name either min_confidence or target_precision")
    if target_precision is not None and tta:
        raise InputError("target_precision is about a model that looks at each page once", "name min_confidence")
    if str(path).startswith("s3://"):
        from docclf_cli.services.storage.cache import fetch_checkpoint

        path = fetch_checkpoint(str(path))
    runtime = RuntimeConfig.model_validate({"device": device, "precision": precision})
    spec = EnsembleSpec.of_checkpoint(Path(path), tta)
    (trained,) = spec.members
    threshold = min_confidence
    if target_precision is not None:
        from docclf_cli.tasks.evaluate.confidence_threshold import threshold_from_held_out

        threshold = threshold_from_held_out(trained, target_precision, runtime, silent, NEVER)
    return Model(trained, spec, runtime, backend, threshold, max_lost)


def train(
    profile: Profile | str | Path | Mapping[str, Any] = "config",
    options: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> TrainResult:
    """Train a model as `docclf train` does, without experiment tracking and S3.

        result = docclf_cli.train("quickstart", {"data.root": "my-pages", "train.epochs": 5})
        model = docclf_cli.load(result.run)

    Args:
        profile: A profile, its name or path, or its keys as nested mappings.
        options: Keys laid over it, such as `{"train.epochs": 5}`.
        overwrite: Replace an existing run of that name.
        emit: Consumer of progress events.
        stop: Polled after every step.

    Raises:
        ProfileError: The profile has faults; all of them are listed.
        DocclfError: Pages, weights or the folder cannot be worked with.
    """
    from docclf_cli.commands._load import load_checked
    from docclf_cli.tasks.train import train as run

    if isinstance(profile, Profile):
        if options:
            raise InputError("options are laid over a profile's name, path or keys, not over a resolved profile")
        return run(profile, overwrite=overwrite, emit=emit, stop=stop)
    if isinstance(profile, Mapping):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "profile.yaml"
            file.write_text(yaml.safe_dump(dict(profile), allow_unicode=True), encoding="utf-8")
            loaded = load_checked(str(file), options or {}, ())
    else:
        loaded = load_checked(str(profile), options or {}, ())
    return run(loaded.profile, overwrite=overwrite, emit=emit, stop=stop)


@dataclass(frozen=True, eq=False)
class _Place:
    """A page that was given: an image, or a page (counted from 0) of a file; `error` says why a file was not opened.

    Attributes:
        given: Number of what was given.
        page: The image, the path or the content.
        number: Of the page in the file.
        error: Why the file was not opened.
    """

    given: int
    page: Page
    number: int = 0
    error: str = ""


def _pages_of(number: int, page: Page, reader: PageReader, wanted: str | int) -> Iterator[_Place]:
    if isinstance(page, Image.Image):
        yield _Place(number, page)
    elif isinstance(page, np.ndarray):
        if page.dtype != np.uint8 or not (page.ndim == 2 or (page.ndim == 3 and page.shape[2] in (3, 4))):
            raise InputError(
                f"pages[{number}]: an array of {page.dtype} {list(page.shape)}",
                "give uint8, [height, width] or [height, width, 3 or 4]",
            )
        yield _Place(number, Image.fromarray(page))
    elif isinstance(page, str | Path | bytes):
        try:
            if isinstance(page, bytes):
                count = pages_per_file(wanted, reader.count_content(page))
            else:
                count = pages_per_file(wanted, reader.count(Path(page))) if is_paged(Path(page).name) else 1
        except UnreadablePage as error:
            yield _Place(number, page, error=error.reason)
            return
        yield from (_Place(number, page, one) for one in range(count))
    else:
        raise InputError(f"pages[{number}]: a {type(page).__name__}", "give a path, bytes, a PIL image or an array")


def _column(values: Any) -> np.ndarray:
    """A column of a batch as an array, whose first axis are the rows."""
    if isinstance(values, list | tuple) and any(
        isinstance(value, str | bytes | list) or value is None for value in values
    ):
        column = np.empty(len(values), object)  # texts, bytes and lists stay what they are
        column[:] = values
        return column
    return np.asarray(values)


@dataclass(frozen=True)
class _GivenPages:
    """Pages that were given, as the input of a model."""

    places: Sequence[_Place]
    reader: PageReader
    preprocess: Preprocess
    max_pixels: int
    cached: ClassVar = False

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> np.ndarray:
        place = self.places[number]
        if place.error:
            raise UnreadablePage(place.error)
        if isinstance(place.page, Image.Image):
            with decoding(self.max_pixels):
                return fitted(place.page, self.preprocess, self.max_pixels)
        if isinstance(place.page, bytes):
            return self.reader.read_content(place.page, place.number, self.preprocess)
        return self.reader.read(Path(str(place.page)), None, place.number, self.preprocess)
