"""Resolves `auto` for number format, memory layout and compilation: by measurement if that pays, else by a guess.

Measurements are cached. No setting is always the fastest: on one machine bf16 with channels_last trained a resnet18 at 2.7 times the speed of fp32, and a
mobilenetv3_small_100 at less than its speed.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from docclf_cli.engine.runtime.caches import measured_numerics
from docclf_cli.engine.runtime.device import Numerics, Runtime, fast_precisions, resolve_runtime
from docclf_cli.engine.runtime.numerics_benchmark import (
    Measured,
    Workload,
    compiles,
    fastest,
    try_compiled,
    worth_probing,
)
from docclf_cli.errors import ResourceError
from docclf_cli.files import fingerprint_of, write_json
from docclf_cli.hardware import cpu_features, cpu_name
from docclf_cli.models.factory import create_model
from docclf_cli.models.freezing import Freezing
from docclf_cli.profile.schema import InferenceConfig, ModelConfig, Profile, RuntimeConfig
from docclf_cli.results.predictions import Predictions
from docclf_cli.version import __version__

SCORING_BATCH = 2  # times the pages of a training step: a forward pass stores fewer activations
# How much a number format may change predictions for held-out pages against fp32 (`Agreement`).
MOST_LABELS = 0.005  # share of the pages
MOST_CHANGE = 0.05  # of any probability
PAGES_TO_COMPARE, FEWEST_TO_COMPARE = 300, 50
LAYOUTS = {"auto": (False, True), "contiguous": (False,), "channels_last": (True,)}
LAYOUT_NAMES: Mapping[bool, Literal["contiguous", "channels_last"]] = {False: "contiguous", True: "channels_last"}
logger = logging.getLogger("docclf")


def resolve_numerics(profile: Profile, num_classes: int, pages: int, own_val: int = 0) -> Profile:
    """Replace each `auto` of a profile's runtime section, for training and for scoring.

    Args:
        profile: The resolved profile.
        num_classes: Length of the class axis.
        pages: Number of all pages that the run trains on or validates with.
        own_val: How many of them are a separate validation set.
    """
    config = profile.runtime
    train = profile.train
    runtime = resolve_runtime(config)
    trained, scored = planned_pages(profile, pages, own_val)
    size = profile.data.image_size
    work = Workload(
        build=lambda: create_model(profile.model, num_classes, weights=False, image_size=size),
        runtime=runtime,
        num_classes=num_classes,
        size=size,
        batch=train.batch_size // train.accumulate,
        pages=trained,
        training=True,
        frozen=Freezing.in_epoch(train, train.epochs - 1),
    )
    training = pick_numerics(config, work, profile.model)
    scoring = replace(work, batch=SCORING_BATCH * train.batch_size, pages=scored, training=False)
    inference = pick_numerics(for_inference(config), scoring, profile.model)
    resolved = {
        "device": runtime.device.type if runtime.world_size > 1 else str(runtime.device),
        "precision": training.precision,
        "memory_format": LAYOUT_NAMES[training.channels_last],
        "compile": "on" if training.compile else "off",
        "threads": torch.get_num_threads(),
        "inference": InferenceConfig(
            precision=inference.precision,
            memory_format=LAYOUT_NAMES[inference.channels_last],
            check=_resolve_check(config.inference, inference.precision),
        ),
    }
    return profile.model_copy(update={"runtime": config.model_copy(update=resolved)})


def planned_pages(profile: Profile, pages: int, own_val: int = 0) -> tuple[int, int]:
    """Estimate how many pages a run trains on and scores, each counted as often as it is processed."""
    train = profile.train
    data = profile.data
    fits = 1 if train.folds is None or train.fold is not None else train.folds
    val = pages // train.folds if train.folds else own_val or round(pages * data.val_fraction)
    used = min(pages - val, data.limit or pages)
    steps = min(train.epochs * max(1, used // train.batch_size), train.max_steps or math.inf)
    epochs = min(train.epochs, math.ceil(steps * train.batch_size / max(used, 1)))
    compared = min(used, pages_to_compare(val))
    return fits * int(steps * train.batch_size), fits * (val * (data.scored_views * epochs + 1) + compared)


def pages_to_compare(val: int) -> int:
    """Return how many training pages are scored after training, for a number of held-out pages.

    As many, because the smaller sample limits a comparison, but at least 500 and at most 2,000.
    """
    return min(max(val, 500), 2000)


def _resolve_check(config: InferenceConfig, picked: str) -> Literal["on", "off"]:
    """Resolve `runtime.inference.check`: a number format that was picked is compared with fp32 at the end."""
    if config.check != "auto":
        return config.check
    return "on" if config.precision == "auto" and picked != "fp32" else "off"


@dataclass(frozen=True)
class Agreement:
    """The difference between predictions in a number format and in fp32, on the same pages.

    Attributes:
        pages: Number of readable pages.
        labels: How many of them get another label.
        largest: Largest change of a probability (at temperature 1).
    """

    pages: int
    labels: int
    largest: float

    @classmethod
    def of(cls, predictions: Predictions, fp32: Predictions) -> Agreement:
        """Compare predictions for the same pages in the same order."""
        readable = ~(np.isnan(predictions.log_probs) | np.isnan(fp32.log_probs)).any(axis=1)
        log_probs = predictions.log_probs[readable].astype(np.float64)
        reference = fp32.log_probs[readable].astype(np.float64)
        changed = int((log_probs.argmax(axis=1) != reference.argmax(axis=1)).sum())
        largest = float(np.abs(np.exp(log_probs) - np.exp(reference)).max(initial=0.0))
        return cls(int(readable.sum()), changed, largest)

    @property
    def close(self) -> bool:
        """Whether the difference is within the limits; False for fewer than `FEWEST_TO_COMPARE` pages."""
        enough = self.pages >= FEWEST_TO_COMPARE
        return enough and self.labels <= MOST_LABELS * self.pages and self.largest <= MOST_CHANGE

    def __str__(self) -> str:
        if self.pages < FEWEST_TO_COMPARE:
            return f"{self.pages} held-out pages are too few to compare ({FEWEST_TO_COMPARE} are needed)"
        return (
            f"{self.labels} of {self.pages} labels change compared with fp32, and probabilities change by up to {self.largest:.3f} "
            f"(allowed: {MOST_LABELS:.1%} of the labels and {MOST_CHANGE:g})"
        )


def with_precision(profile: Mapping[str, Any], precision: str) -> dict[str, Any]:
    """Return a checkpoint's profile with a final number format of prediction, which is not checked again."""
    runtime = profile["runtime"]
    inference = {**runtime["inference"], "precision": precision, "check": "off"}
    return {**profile, "runtime": {**runtime, "inference": inference}}


def precision_here(precision: str, device: torch.device) -> str:
    """Return a number format, or fp32 if the device would emulate it."""
    return precision if precision in fast_precisions(device) else "fp32"


def scoring_runtime(config: RuntimeConfig) -> Runtime:
    """Return the runtime for scoring, from a profile without `auto`."""
    return resolve_runtime(for_inference(config))


def pick_numerics(config: RuntimeConfig, work: Workload, model: ModelConfig) -> Numerics:
    """Pick the numerics for a workload among those that the runtime section allows."""
    device = work.runtime.device
    precisions = fast_precisions(device) if config.precision == "auto" else (config.precision,)
    candidates = [Numerics(*both) for both in product(precisions, LAYOUTS[config.memory_format])]
    if config.compile == "on" and not compiles(device):
        logger.warning("runtime.compile: no working compiler was found, so the model runs uncompiled")
    elif config.compile == "on":
        candidates = [replace(one, compile=True) for one in candidates]
    if len(candidates) == 1 and config.compile != "auto":
        return candidates[0]
    pick, reason = _pick_among(candidates, work, model, may_compile=config.compile == "auto")
    logger.info("number format for %s: %s (%s)", "training" if work.training else "scoring", _describe(pick), reason)
    return pick


def _pick_among(
    candidates: Sequence[Numerics], work: Workload, model: ModelConfig, may_compile: bool
) -> tuple[Numerics, str]:
    """Pick from a cached benchmark, from a new one, or by a guess; and give the reason for the log."""
    memory = measured_numerics() / f"{_key(candidates, work, model)}.json"
    alone = work.runtime.world_size == 1  # processes that train together must not measure different things
    measured, told = (_load_cached(memory), "measured earlier") if alone else (None, "")
    if measured is None and alone and worth_probing(work, len(candidates)):
        measured, told = fastest(work, candidates), "measured now"
    if measured is None:
        # Fastest for most networks: the shortest number format that is not emulated, and channels_last.
        guess = candidates[0] if work.runtime.device.type == "mps" else candidates[-1]
        return guess, "a usual choice; the run is too short to measure others"
    if may_compile and measured.repays_a_try(work.pages) and compiles(work.runtime.device):
        measured = try_compiled(work, measured)
    _store_cached(memory, measured)
    compiled = may_compile and measured.repays_compiling(work.pages)
    gain = measured.gain * (measured.compiled_gain if compiled else 1.0)
    pick = replace(measured.numerics, channels_last=True, compile=True) if compiled else measured.numerics
    return pick, f"{gain:.1f} times the speed of plain fp32, {told}"


def for_inference(config: RuntimeConfig) -> RuntimeConfig:
    """Return the runtime section for scoring: its own keys, or those of training for `auto`; never compiled.

    Compiled forward passes at 224 px on two cores were 1.2 (resnet18, convnext_atto) to 1.4 times (efficientnet_lite0) as
    fast after some 20 seconds of compiling, for one batch size: repaid from about 10,000 pages on, if these are decoded
    already. To decode an A4 page takes four times as long as such a pass.
    """
    inference = config.inference
    update: dict[str, Any] = {name: value for name, value in inference if value != "auto"}
    return config.model_copy(update={**update, "compile": "off"})


def _describe(numerics: Numerics) -> str:
    parts = [numerics.precision, "channels_last" if numerics.channels_last else "contiguous"]
    return " ".join(parts + ["compiled"] * numerics.compile)


def _key(candidates: Sequence[Numerics], work: Workload, model: ModelConfig) -> str:
    """Fingerprint of the machine and of everything about the work that decides which numerics are fastest."""
    device = work.runtime.device
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    network = model.model_dump(include={"model_name", "use_attention", "attention_dim"})
    return fingerprint_of(
        __version__,
        machine,
        sorted(cpu_features()),
        torch.get_num_threads(),
        torch.__version__,
        torch.are_deterministic_algorithms_enabled(),
        network,
        work.size,
        work.batch,
        (work.training, astuple(work.frozen)),
        [asdict(one) for one in candidates],
    )


def _load_cached(path: Path) -> Measured | None:
    try:
        return Measured(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _store_cached(path: Path, measured: Measured) -> None:
    try:
        write_json(path, asdict(measured))
    except ResourceError as error:
        logger.debug("numerics are measured again next time: %s", error.message)
