"""`train.minutes`: measures this machine for some seconds, and fits recipe, image size and epochs to the time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from docclf_cli.data.images.augmentation import Policy
from docclf_cli.data.images.decode import UnreadablePage, read_page
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.splits import stratified_sample
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.device import Runtime, resolve_runtime
from docclf_cli.engine.runtime.numerics import SCORING_BATCH, resolve_numerics, scoring_runtime
from docclf_cli.engine.runtime.numerics_benchmark import Workload, seconds_per_page
from docclf_cli.engine.training.best_epoch import passes_after_epochs, seconds_beside_passes
from docclf_cli.engine.training.job import preprocess_of
from docclf_cli.engine.training.linear_probe import MOST_VIEWS, PAGES_TO_BEGIN, resolve_views
from docclf_cli.engine.training.orientation import COPIES, COPY_SECONDS, forward_passes
from docclf_cli.engine.training.pace import MOST_EPOCHS
from docclf_cli.hardware import usable_cores
from docclf_cli.models.factory import create_model
from docclf_cli.models.freezing import Freezing
from docclf_cli.profile.schema import Profile, RuntimeConfig
from docclf_cli.tasks.recipe import BRIEF, INSTANT, Recipe
from docclf_cli.text import Message

# Seconds before a run's first line of code, and after its last prediction: tables, plots, verdict.
START_SECONDS, END_SECONDS = 5.0, 8.0
PROBE_SECONDS = 3.0  # of the logistic regressions of a probe
SAMPLE, READING_SECONDS = 24, 1.0  # pages that are read to measure reading
NO_BENCHMARK = 2.0  # minutes; shorter runs take the numerics that are fastest for most networks on CPUs
FEWEST_EPOCHS = 8  # fewer epochs of training are worth less than a linear probe
ENOUGH_EPOCHS = 24  # the largest pages that get so many are worth more than smaller ones that get more
BRIEFLY_ENOUGH = 15  # likewise, of the profile `brief`
ENOUGH_STEPS = 200  # and with few pages so many optimizer steps
LARGER = 10 / 7  # 320 pixels instead of 224
FROZEN = 0.84  # time of a training step with frozen batch norms, in those with statistics of each batch; first stages frozen in both
UPRIGHT_SHARE = 0.1  # of the time, to learn how pages lie
logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class Load:
    """How many pages a run works on.

    Attributes:
        train: Training pages of a fit.
        val: Its held-out pages.
        all: Pages that are read.
        fits: How many models are trained, a refit counted by its pages.
        processes: How many share each fit.
    """

    train: int
    val: int
    all: int
    fits: float
    processes: int = 1


@dataclass(frozen=True)
class Speed:
    """Seconds that this machine takes for a page.

    Attributes:
        read: To decode and resize it.
        augment: To augment it.
        train: For its share of an optimizer step.
        score: For its share of a forward pass.
    """

    read: float
    augment: float
    train: float
    score: float

    def scaled(self, factor: float) -> Speed:
        """The same for pages whose sides are longer or shorter by a factor."""
        area = factor**2
        return Speed(self.read, self.augment * area, self.train * area, self.score * area)

    def with_norms(self, kind: str) -> Speed:
        """The same with such batch norms: `train.batch_norm`."""
        return replace(self, train=self.train * FROZEN) if kind == "frozen" else self

    def described(self) -> Message:
        """The milliseconds of each."""
        milliseconds = {name: 1000 * seconds for name, seconds in asdict(self).items()}
        return Message.of(
            "reading {read:.1f} ms, augmenting {augment:.1f} ms, training {train:.1f} ms, scoring {score:.1f} ms",
            **milliseconds,
        )


def fit_to_minutes(
    profile: Profile, recipe: Recipe, index: DocumentIndex, load: Load, began: float
) -> tuple[Profile, Recipe]:
    """The best use of `train.minutes`: image size, epochs and views are resolved, and another recipe may take the place.

    Args:
        profile: What the run starts from.
        recipe: Its name, and what may take its place.
        index: The pages.
        load: How many of them there are to work on.
        began: When the run began, by `time.monotonic`.
    """
    minutes = profile.train.minutes
    assert minutes is not None
    profile = _with_known_numerics(profile, minutes, load)
    speed = measure_speed(profile, index)
    return choose(profile, recipe, speed, load, 60 * minutes - START_SECONDS - (time.monotonic() - began))


def choose(profile: Profile, recipe: Recipe, speed: Speed, load: Load, seconds: float) -> tuple[Profile, Recipe]:
    """What makes the most of some seconds.

    Args:
        profile: What the run starts from; the speed was measured with it.
        recipe: Its name, and what may take its place.
        speed: Of this machine.
        load: Of the run.
        seconds: Until the run is to have ended.
    """
    reading = load.all * speed.read
    if reading + END_SECONDS > seconds:
        logger.warning(
            "reading %d pages takes about %.0f s, and %.0f s are left: the run will take longer than train.minutes",
            load.all, reading, max(seconds, 0),
        )  # fmt: skip
    if profile.train.only_probes:
        return _probing(profile, speed, load, seconds), recipe
    for way in _ways(profile, recipe):
        factor = way.profile.data.image_size / profile.data.image_size
        pace = speed.scaled(factor).with_norms(way.profile.train.batch_norm)
        fitted = _with_upright(way.profile, pace, load, seconds)
        epochs = epochs_within(fitted, pace, load, seconds)
        steps = (epochs - _probes(fitted)) * load.train // profile.train.batch_size
        if epochs - _probes(fitted) >= way.epochs and steps >= way.steps:
            break
    else:
        if recipe.instant is not None:
            return _probing(recipe.instant, speed, load, seconds), _with_little_time(recipe, INSTANT)
    size = fitted.data.image_size
    text = Message.counted(epochs, "{count} epoch at {size} pixels", "{count} epochs at {size} pixels", size=size)
    fitted = _with_plan(fitted, speed, text, epochs=epochs)
    return fitted, recipe if way.name == recipe.profile else _with_little_time(recipe, way.name)


@dataclass(frozen=True)
class _Way:
    """A profile that could be trained.

    Attributes:
        name: Of the profile.
        profile: With its image size.
        epochs: How many it has to get.
        steps: Likewise, of the optimizer.
    """

    name: str
    profile: Profile
    epochs: int
    steps: int = 0


def _ways(profile: Profile, recipe: Recipe) -> Iterator[_Way]:
    """What could be trained, the best first."""
    if recipe.brief is None:
        yield _Way(recipe.profile, profile, FEWEST_EPOCHS)
        return
    brief, size = recipe.brief.model_copy(update={"runtime": profile.runtime}), profile.data.image_size
    if recipe.any_size:
        larger = round(size * LARGER / 32) * 32
        yield _Way(recipe.profile, _with_size(profile, larger), ENOUGH_EPOCHS, ENOUGH_STEPS)
    yield _Way(recipe.profile, profile, ENOUGH_EPOCHS, ENOUGH_STEPS)
    if recipe.any_size:
        yield _Way(BRIEF, _with_size(brief, size), BRIEFLY_ENOUGH, ENOUGH_STEPS)
    yield _Way(BRIEF, brief, FEWEST_EPOCHS)


def _with_size(profile: Profile, size: int) -> Profile:
    return profile.model_copy(update={"data": profile.data.model_copy(update={"image_size": size})})


def _with_little_time(recipe: Recipe, name: str) -> Recipe:
    return Recipe(name, Message.joined([recipe.reason, Message.of("there is little time")], "; "))


def epochs_within(profile: Profile, speed: Speed, load: Load, left: float) -> int:
    """How many epochs of each fit go into some seconds, with the linear probe that may be the first; at least one after it."""
    probes = _probes(profile)
    free = _for_epochs(profile, speed, load, left) / load.fits - probes * _probe_seconds(profile, speed, load)
    each = load.train * (speed.train + speed.augment) / load.processes + _validation_seconds(profile, speed, load)
    return probes + int(min(max(free / each, 1), MOST_EPOCHS - probes))


def after_epochs(profile: Profile, speed: Speed, load: Load) -> float:
    """Seconds of a fit after its last epoch: the best epoch scores its pages once more, and learns what is unknown and how pages lie."""
    passes = passes_after_epochs(profile, load.train, load.val)
    return speed.score * passes + seconds_beside_passes(profile, load.train, load.val)


def _with_upright(profile: Profile, speed: Speed, load: Load, seconds: float) -> Profile:
    """The profile with as many copies that teach how pages lie as go into a small share of the time."""
    if profile.train.upright != "auto":
        return profile
    passes = UPRIGHT_SHARE * seconds / load.fits / (speed.score + COPY_SECONDS)
    copies = next((n for n in range(COPIES, 0, -1) if forward_passes(n, load.train, load.val) <= passes), 0)
    return profile.model_copy(update={"train": profile.train.model_copy(update={"upright": copies})})


def measure_speed(profile: Profile, index: DocumentIndex) -> Speed:
    """Read, augment, train and score some pages, and take the time."""
    size = profile.data.image_size
    runtime, scoring = resolve_runtime(profile.runtime), scoring_runtime(profile.runtime)
    cores = usable_cores()
    pages, read = _read_some(profile, index)
    policy, began = Policy.from_config(profile.augmentation), time.perf_counter()
    for number, page in enumerate(pages):
        policy(page, np.random.default_rng((profile.seed, number)))
    augment = (time.perf_counter() - began) / max(len(pages), 1)
    batch = max(profile.train.batch_size // profile.train.accumulate // distributed.world_size(), 1)

    def work(runtime: Runtime, pages: int, training: bool) -> Workload:
        def build() -> torch.nn.Module:
            return create_model(profile.model, len(index.class_names), weights=False, image_size=size)

        frozen = Freezing.in_epoch(profile.train, profile.train.epochs - 1)
        return Workload(build, runtime, len(index.class_names), size, pages, pages, training, frozen)

    step = seconds_per_page(work(runtime, batch, training=True))
    score = seconds_per_page(work(scoring, SCORING_BATCH * batch, training=False))
    # On a CPU the cores that augment are those that train.
    waits = augment / max(runtime.workers, 1) if runtime.device.type == "cpu" else max(0.0, augment / cores - step)
    return Speed(read / max(min(runtime.workers, cores), 1), waits, step, score)


def _read_some(profile: Profile, index: DocumentIndex) -> tuple[list[np.ndarray], float]:
    """Some pages, and the seconds that each took to read."""
    preprocess = preprocess_of(profile)
    found: list[np.ndarray] = []
    began = time.perf_counter()
    tried = 0
    for row in stratified_sample(index.labels, SAMPLE, profile.data.split_seed).tolist():
        tried += 1
        try:
            found.append(
                read_page(
                    index.path(row), preprocess, max_pixels=profile.data.max_pixels, root=index.root,
                    allow_symlinks=profile.data.allow_symlinks,
                )
            )  # fmt: skip
        except UnreadablePage:
            continue
        if time.perf_counter() - began > READING_SECONDS:
            break
    return found, (time.perf_counter() - began) / tried


def _with_known_numerics(profile: Profile, minutes: float, load: Load) -> Profile:
    """The profile with numerics as its run will have them: measured where that pays, else those for a short run."""
    if minutes >= NO_BENCHMARK and not profile.train.only_probes:
        return resolve_numerics(profile, 2, load.all)
    runtime = profile.runtime
    if resolve_runtime(runtime).device.type != "cpu":
        return profile
    usual = {"precision": "fp32", "memory_format": "channels_last", "compile": "off"}
    changes = {key: value for key, value in usual.items() if getattr(runtime, key) == "auto"}
    return profile.model_copy(update={"runtime": RuntimeConfig.model_validate({**runtime.model_dump(), **changes})})


def _for_epochs(profile: Profile, speed: Speed, load: Load, left: float) -> float:
    """What is left for the epochs of all fits."""
    degraded = load.val * speed.augment if profile.data.degraded_validation else 0.0
    after = after_epochs(profile, speed, load)
    return left - load.all * speed.read - load.fits * (degraded + after) - END_SECONDS


def _validation_seconds(profile: Profile, speed: Speed, load: Load) -> float:
    return profile.data.scored_views * load.val * speed.score / load.processes


def _probes(profile: Profile) -> int:
    """How many linear probes come before the other epochs."""
    return 0 if profile.train.linear_probe is None else 1


def _probe_seconds(profile: Profile, speed: Speed, load: Load) -> float:
    """Seconds of a linear probe that other epochs follow, with its validation."""
    pages = min(load.train, PAGES_TO_BEGIN)
    seen = pages * resolve_views(profile.train.linear_probe or 0, pages)
    return seen * (speed.score + speed.augment) + _validation_seconds(profile, speed, load) + PROBE_SECONDS


def _probing(profile: Profile, speed: Speed, load: Load, seconds: float) -> Profile:
    """A profile of a linear probe with as many views as go into the time."""
    each = max(load.train, 1) * (speed.score + speed.augment)
    free = _for_epochs(profile, speed, load, seconds) / load.fits - PROBE_SECONDS
    if free < each - 1:
        logger.warning("one view of each page takes %.0f s longer than train.minutes", load.fits * (each - free))
    views = int(min(max(free / each, 1), MOST_VIEWS))
    text = Message.counted(
        views,
        "a linear probe of {count} view a page at {size} pixels",
        "a linear probe of {count} views a page at {size} pixels",
        size=profile.data.image_size,
    )
    return _with_plan(profile, speed, text, linear_probe=views)


def _with_plan(profile: Profile, speed: Speed, text: Message, **changes: int) -> Profile:
    """The profile with what the time decides, and a sentence about it."""
    train = profile.train
    plan = Message.of(
        "{text}, fitted to {minutes:g} minutes ({speed} a page)",
        text=text,
        minutes=train.minutes,
        speed=speed.described(),
    )
    return profile.model_copy(update={"train": train.model_copy(update={**changes, "plan": plan})})
