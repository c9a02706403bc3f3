"""Predictors: networks with their preprocessing, views, temperature, device and numerics."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import log_softmax

from docclf_cli.data.images.layout_cues import cues_of_images
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.loading.batch import Batch
from docclf_cli.data.loading.pages import AS_IT_IS, PLAIN, NamedView
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.info import CheckpointInfo, precision_of
from docclf_cli.engine.inference.onnx_backend import INT8, ONNX_SUFFIX, OnnxModel, load_exported, load_onnx
from docclf_cli.engine.runtime.device import Runtime, fast_precisions, resolve_runtime
from docclf_cli.engine.runtime.folded_norms import inference_model
from docclf_cli.engine.runtime.numerics import for_inference, pick_numerics, precision_here
from docclf_cli.engine.runtime.numerics_benchmark import Workload
from docclf_cli.ensembling.merging import Merge, merge
from docclf_cli.ensembling.text_branch import LAYER, OCR, TextBranch
from docclf_cli.errors import InputError, ResourceError, is_out_of_memory
from docclf_cli.metrics.novelty import NoveltyModel
from docclf_cli.metrics.orientation import OrientationModel, agreed
from docclf_cli.models.features import FeatureRecorder, StageRecorder
from docclf_cli.models.text_features import TextPage
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.predictions import Predictions

TORCH, ONNX = "torch", "onnx"
BACKENDS = (TORCH, ONNX, INT8)
IMAGES_PER_PASS = 64
# onnxruntime is fed from the main memory, in the layout that its graphs are made for.
FOR_ONNX = RuntimeConfig(device="cpu", precision="fp32", memory_format="contiguous", compile="off")
logger = logging.getLogger("docclf")


class NetworkOutputs(NamedTuple):
    """What a network computes for images, on its device.

    Attributes:
        logits: float32 [n, num_classes].
        features: What the classifier takes, then what the last stages give (`FeatureRecorder`), float32 [n, width]; of
            width 0 without a recorder.
        stage: What an earlier stage gives, pooled, float32 [n, width]; of width 0 without a recorder.
    """

    logits: torch.Tensor
    features: torch.Tensor
    stage: torch.Tensor


@dataclass(frozen=True)
class Network:
    """A network ready to compute.

    Attributes:
        model: In evaluation mode, on the runtime's device.
        preprocess: How pages become its input.
        runtime: Device and numerics.
        recorder: Takes the features of the model; None where no one asks for them, or the model gives none.
        novelty: Says how foreign a page is; None where the checkpoint does not know, or the model gives no features.
        text: Reads pages; None where the model only looks at them.
        stages: Takes what an earlier stage of the model gives; None where no one asks for it.
        orientation: Says how a page lies; None as for `novelty`.
    """

    model: torch.nn.Module
    preprocess: Preprocess
    runtime: Runtime
    recorder: FeatureRecorder | None = None
    novelty: NoveltyModel | None = None
    text: TextBranch | None = None
    stages: StageRecorder | None = None
    orientation: OrientationModel | None = None

    @property
    def precision(self) -> str:
        """The number format that it computes in."""
        return self.model.precision if isinstance(self.model, OnnxModel) else self.runtime.precision

    def log_probs(self, images: torch.Tensor) -> torch.Tensor:
        """Log-probabilities, float32 [n, num_classes], of uint8 images [n, 3, size, size]; on the device.

        Raises:
            ResourceError: Memory does not do for a single page.
        """
        return torch.log_softmax(self.outputs(images).logits, dim=1)

    def read(self, logits: torch.Tensor, texts: Sequence[TextPage]) -> np.ndarray:
        """Log-probabilities, float [n, num_classes], of logits and of what is written on the pages."""
        log_probs = torch.log_softmax(logits, dim=1).cpu().numpy()
        return log_probs if self.text is None else self.text.fused(log_probs, texts)

    def outputs(self, images: torch.Tensor) -> NetworkOutputs:
        """Logits, and features where they are recorded.

        Where memory runs out, half of the images are tried at a time, and that is said.

        Args:
            images: uint8 [n, 3, size, size].

        Raises:
            ResourceError: Memory does not do for a single page.
        """
        try:
            return self._outputs(images)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(images) == 1:
                text = f"memory has run out at one page of {self.preprocess.size} pixels"
                raise ResourceError(text, "end other programs, or use a smaller model") from error
        half = len(images) // 2
        logger.warning("memory is short: %d pages at a time instead of %d", half, len(images))
        parts = zip(self.outputs(images[:half]), self.outputs(images[half:]), strict=True)
        return NetworkOutputs(*(torch.cat(part) for part in parts))

    def _outputs(self, images: torch.Tensor) -> NetworkOutputs:
        with torch.inference_mode(), self.runtime.autocast():
            logits = self.model(normalise(images, self.preprocess, self.runtime))
        nothing = logits.new_empty(len(logits), 0)
        features = nothing if self.recorder is None else self.recorder.take()
        return NetworkOutputs(logits.float(), features, nothing if self.stages is None else self.stages.take())


@dataclass(frozen=True, eq=False)
class PageOutputs:
    """What is said about a batch of pages.

    Attributes:
        log_probs: Calibrated log-probabilities, float64 [n, num_classes].
        unknown: Log-odds of belonging to no class, at even odds, float64 [n]; None where that cannot be said.
        leading: Features along their leading components, float32 [n, dimensions]; None as above.
        orientation: Number of the orientation in which each page lies, int8 [n]; -1 where it cannot be told. None
            where that is not asked of the model.
    """

    log_probs: np.ndarray
    unknown: np.ndarray | None = None
    leading: np.ndarray | None = None
    orientation: np.ndarray | None = None


@dataclass(frozen=True)
class Predictor:
    """Turns a batch of pages into log-probabilities.

    Attributes:
        networks: Its network; of a folds run one per fold, whose mean counts. All have the same preprocessing.
        class_names: Names along the class axis.
        views: How it looks at each page.
        merge: How the probabilities of several views become one.
        temperature: Divides the log-probabilities; 1 leaves them as the network gives them.
    """

    networks: tuple[Network, ...]
    class_names: tuple[str, ...]
    views: tuple[NamedView, ...] = (AS_IT_IS,)
    merge: Merge = "mean"
    temperature: float = 1.0

    @property
    def preprocess(self) -> Preprocess:
        """How pages become the input."""
        return self.networks[0].preprocess

    @property
    def runtime(self) -> Runtime:
        """Device and numerics; of several networks those of the first."""
        return self.networks[0].runtime

    @property
    def precision(self) -> str:
        """The number format of the networks; several, joined by commas, if they differ."""
        return ", ".join(sorted({network.precision for network in self.networks}))

    def log_probs(self, images: torch.Tensor, texts: Sequence[TextPage] = ()) -> np.ndarray:
        """Calibrated log-probabilities, float64 [n, num_classes], with several views merged (`outputs`)."""
        return self.outputs(images, texts).log_probs

    @property
    def text_source(self) -> str:
        """Where it takes the text of pages from: `ocr`, `layer`, or empty where it does not read."""
        sources = {network.text.source for network in self.networks if network.text is not None}
        return OCR if OCR in sources else LAYER if sources else ""

    @property
    def sees_plain(self) -> bool:
        """Whether one of the views is the page as it is."""
        return any(view.name == PLAIN for view in self.views)

    @property
    def knows_unknown(self) -> bool:
        """Whether it can say how foreign a page is: each network can, and one of the views is the page as it is."""
        return self.sees_plain and all(network.novelty is not None for network in self.networks)

    @property
    def knows_orientation(self) -> bool:
        """Whether it can say how a page lies: each network can, and one of the views is the page as it is."""
        return self.sees_plain and all(network.orientation is not None for network in self.networks)

    @property
    def _reads_layout(self) -> bool:
        heads = [network.orientation for network in self.networks if network.orientation is not None]
        return any(head.layout is not None for head in heads)

    def outputs(self, images: torch.Tensor, texts: Sequence[TextPage] = ()) -> PageOutputs:
        """What the networks say together: log-probabilities of all views, how foreign the plain page is, and how it lies.

        Several networks say how foreign a page is by the mean of their log-odds, and how it lies where they agree.

        Args:
            images: uint8 [views * n, 3, size, size], view after view.
            texts: Texts of the n pages; none where no page has text.
        """
        outputs = [network.outputs(images) for network in self.networks]
        found = [torch.log_softmax(one.logits, dim=1).cpu().numpy() for one in outputs]
        texts = texts or [TextPage("")] * (len(images) // len(self.views))
        found = [
            one if network.text is None else network.text.fused(one, texts)
            for network, one in zip(self.networks, found, strict=True)
        ]
        log_probs = self._calibrated(found)
        if not self.sees_plain:
            return PageOutputs(log_probs)
        place, count = [view.name for view in self.views].index(PLAIN), len(images) // len(self.views)
        plain = slice(place * count, (place + 1) * count)
        cues = cues_of_images(images[plain].cpu().numpy()) if self._reads_layout else np.empty((count, 0))
        log_odds, leading, orientations = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
        for network, output in zip(self.networks, outputs, strict=True):
            if network.novelty is not None:
                features = output.features[plain].cpu().numpy()
                log_odds.append(network.novelty.log_odds(features, output.logits[plain].cpu().numpy()))
                leading.append(network.novelty.leading_of(features))
            if network.orientation is not None:
                orientations.append(network.orientation.decide(output.stage[plain].cpu().numpy(), cues))
        return PageOutputs(
            log_probs,
            np.mean(log_odds, axis=0) if self.knows_unknown else None,
            leading[0] if self.knows_unknown else None,
            agreed(orientations) if self.knows_orientation else None,
        )

    def _calibrated(self, found: Sequence[np.ndarray]) -> np.ndarray:
        mean = found[0] if len(found) == 1 else merge(np.stack(found))
        calibrated = log_softmax(mean.astype(np.float64) / self.temperature, axis=1)
        views = calibrated.reshape(len(self.views), -1, calibrated.shape[1])
        return views[0] if len(views) == 1 else merge(views, self.merge)

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Log-probabilities as the network gives them, float32 [n, num_classes], on the device.

        For one network and one view; what is stored of a model is this.
        """
        (network,), (images,) = self.networks, batch.images
        return network.log_probs(images)


def open_predictor(
    checkpoints: Sequence[CheckpointInfo],
    config: RuntimeConfig,
    *,
    pages: int = 0,
    batch_size: int = IMAGES_PER_PASS,
    views: tuple[NamedView, ...] = (AS_IT_IS,),
    merge: Merge = "mean",
    temperature: float = 1.0,
    backend: str = TORCH,
) -> Predictor:
    """Load the networks of a model and place them on the device.

    Args:
        checkpoints: One, or the folds of a run; exported ONNX files are run by onnxruntime.
        config: Device and numerics; `auto` is how the run of each checkpoint scored its pages.
        pages: About how many pages there are; 0 where that is not known.
        batch_size: Images of a forward pass.
        views: How to look at each page.
        merge: How several views are merged.
        temperature: Divides the log-probabilities.
        backend: `torch`, or `onnx` or `int8` for what `export` made of the checkpoints.

    Raises:
        CheckpointError: A checkpoint is damaged, or not exported.
        InputError: There is no such backend.
    """
    if backend not in BACKENDS:
        raise InputError(f"--backend: '{backend}' is not one of {', '.join(BACKENDS)}")
    networks = tuple(_network(info, config, pages * len(views), batch_size, backend) for info in checkpoints)
    return Predictor(networks, checkpoints[0].class_names, views, merge, temperature)


def _network(info: CheckpointInfo, config: RuntimeConfig, pages: int, batch_size: int, backend: str) -> Network:
    if backend != TORCH or info.path.suffix == ONNX_SUFFIX:
        precision = INT8 if backend == INT8 else "fp32"
        if info.text is not None:
            logger.warning("%s also reads pages, and its export only looks at them: it is less often right", info.path)
        model = load_onnx(info.path) if info.path.suffix == ONNX_SUFFIX else load_exported(info, precision)
        return Network(model, info.preprocess, resolve_runtime(FOR_ONNX))
    checkpoint = Checkpoint.load(info.path)
    runtime = inference_runtime(config, checkpoint, pages, batch_size)
    network = Network(
        for_prediction(checkpoint, info.path, runtime),
        checkpoint.preprocess,
        runtime,
        text=checkpoint.text_branch(info.path),
    )
    if (novelty := NoveltyModel.from_arrays(checkpoint.novelty)) is not None:
        network = replace(network, recorder=FeatureRecorder(network.model), novelty=novelty)
    if checkpoint.orientation:
        orientation = OrientationModel.from_arrays(checkpoint.orientation)
        network = replace(network, stages=StageRecorder.of(network.model), orientation=orientation)
    return network


def for_prediction(checkpoint: Checkpoint, path: Path, runtime: Runtime) -> torch.nn.Module:
    """The model of a checkpoint, placed, as it predicts."""
    return inference_model(runtime.place(checkpoint.build(path)), checkpoint.preprocess.size, runtime)


def inference_runtime(config: RuntimeConfig, checkpoint: Checkpoint, pages: int = 0, batch: int = 64) -> Runtime:
    """The runtime to predict with: the checkpoint's own number format, unless another is asked for or it is emulated here.

    Args:
        config: Device, threads, and numerics that were asked for.
        checkpoint: Whose model it is.
        pages: How many pages there are, each as often as it is looked at; 0 where that is not known.
        batch: Pages of a forward pass.
    """
    asked = for_inference(config)
    runtime = resolve_runtime(asked)
    stored = RuntimeConfig.model_validate(checkpoint.profile.get("runtime", {})).inference
    own: dict[str, str] = {}
    if asked.precision == "auto":
        own["precision"] = precision_here(precision_of(checkpoint.profile), runtime.device)
    if asked.memory_format == "auto" and stored.precision in fast_precisions(runtime.device):
        own["memory_format"] = stored.memory_format
    asked = asked.model_copy(update=own)
    work = Workload(
        build=checkpoint.build,
        runtime=runtime,
        num_classes=len(checkpoint.class_names),
        size=checkpoint.preprocess.size,
        batch=batch,
        pages=pages,
        training=False,
    )
    return runtime.with_numerics(pick_numerics(asked, work, checkpoint.model_config))


def normalise(images: torch.Tensor, preprocess: Preprocess, runtime: Runtime) -> torch.Tensor:
    """uint8 [n, 3, h, w] to the float32 input of the model, on its device and in its memory layout."""
    count, channels, height, width = images.shape
    pages = runtime.to_device(images).movedim(1, -1)  # as pages are stored
    # Three channels as the last axis are not vectorised, a row of pixels is.
    rows = pages.reshape(count, height, width * channels).to(torch.float32)
    mean = torch.tensor(preprocess.mean, device=rows.device).repeat(width) * 255
    std = torch.tensor(preprocess.std, device=rows.device).repeat(width) * 255
    rows.sub_(mean).div_(std)
    return rows.view(pages.shape).movedim(-1, 1).contiguous(memory_format=runtime.memory_format)


def evaluate_single_class_performance(
    model: torch.nn.Module, dataloader: Iterable[Any], target_class: int, device: str | torch.device = "cpu"
) -> dict[str, float]:
    """How a model does on one class, with the arguments and keys of the seed framework.

    Args:
        model: Gives logits [n, num_classes] for a batch of images.
        dataloader: Yields (images, targets) as the model takes them.
        target_class: Index of the class.
        device: Where to run.

    Returns:
        `accuracy` (recall: the share of the class's pages that were recognised), `f1`, `loss` (mean cross entropy
        of the class's pages) and `support` (how many there are).

    Raises:
        InputError: No page of the class is there.
    """
    from docclf_cli.metrics.class_metrics import single_class

    model = model.to(device).eval()
    log_probs, targets = [], []
    with torch.inference_mode():
        for images, batch_targets in dataloader:
            log_probs.append(torch.log_softmax(model(images.to(device)).float(), dim=1).cpu())
            targets.append(torch.as_tensor(batch_targets).cpu())
    stacked, truth = torch.cat(log_probs).numpy(), torch.cat(targets).numpy()
    names = tuple(f"class_{index}" for index in range(stacked.shape[1]))
    ids = np.arange(len(truth)).astype(np.str_)
    return single_class(Predictions(ids, stacked, names, truth), target_class)
