"""Linear probe: the classifier is fitted by logistic regression to the features of the frozen backbone.

The probe takes the place of the first epoch. Each training page is seen plain and in augmented views; the penalty of the regression
is cross-validated, with all views of a page (and all pages of a group) in one fold.
"""

from __future__ import annotations

import hashlib
import io
import logging
import time
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from docclf_cli.data.images.augmentation import Policy
from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.loading.batch import Sample
from docclf_cli.data.loading.cache import cache_folder
from docclf_cli.data.loading.data_loader import OnWait, data_loader
from docclf_cli.data.loading.pages import Pages
from docclf_cli.data.loading.prepared_pages import PreparedPages
from docclf_cli.engine.inference.predictor import normalise
from docclf_cli.engine.runtime import distributed
from docclf_cli.engine.runtime.caches import features_folder
from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.engine.runtime.folded_norms import without_batch_norms
from docclf_cli.engine.training.logistic import fit_logistic, probe_folds
from docclf_cli.engine.training.trainer import Trainer
from docclf_cli.errors import InputError, ResourceError
from docclf_cli.events import Event, Progress, StepDone
from docclf_cli.files import fingerprint_of, write_bytes
from docclf_cli.profile.schema import AugmentationConfig, TrainConfig

FORWARD_PASSES = 1000  # of a probe whose number of views is `auto`: about ten seconds on two cores
FEWEST_VIEWS, MOST_VIEWS = 2, 32
PAGES_TO_BEGIN = 2000  # of a probe that other epochs follow
BATCH = 32  # pages of a forward pass
REGRESSION_SECONDS, REGRESSION_SHARE = 3.0, 0.05  # kept for the regressions: seconds, or a share of the probe's time
CACHED_BYTES = 256 * 2**20  # features stored for later runs with the same backbone and views
_VIEWS = 3  # keeps these random streams apart from those of training
logger = logging.getLogger("docclf")


def resolve_views(setting: int | str, pages: int) -> int:
    """The number of views of each page: as many as the setting says; `auto` gives few pages more views."""
    if isinstance(setting, int):
        return setting
    return min(max(FORWARD_PASSES // max(pages, 1), FEWEST_VIEWS), MOST_VIEWS)


def begins_with_probe(config: TrainConfig, model: Any, name: str) -> bool:
    """Whether training begins with a linear probe.

    `auto` leaves it out of a network that does not end in one linear layer, unless it is all of the training.

    Args:
        config: The training section.
        model: A timm model.
        name: Its architecture.

    Raises:
        InputError: A probe is asked for, and cannot be.
    """
    if config.linear_probe is None:
        return False
    if config.linear_probe == "auto" and not config.only_probes and not isinstance(model.get_classifier(), nn.Linear):
        return False
    linear_classifier(model, name)
    return True


def linear_classifier(model: Any, name: str) -> nn.Linear:
    """The linear layer that makes logits from features.

    Args:
        model: A timm model.
        name: Its architecture, for the message.

    Raises:
        InputError: It ends in another layer, or in several.
    """
    classifier = model.get_classifier()
    if not isinstance(classifier, nn.Linear):
        raise InputError(
            f"train.linear_probe: {name} does not end in one linear layer",
            "leave the probe out, or choose another --model",
        )
    return classifier


@dataclass(frozen=True)
class ProbeBudget:
    """The time of a probe, with the scoring that follows.

    Attributes:
        seconds: From `began` on.
        began: By `clock`.
        scored: How many pages are scored after it, each about as costly as a view.
        clock: Seconds of a steady clock.
    """

    seconds: float
    began: float
    scored: int
    clock: Callable[[], float] = time.monotonic

    def allows(self, pages: int, each: float) -> bool:
        """Whether one more view of some pages fits, at so many seconds for each."""
        needed = (pages + self.scored) * each + max(REGRESSION_SECONDS, REGRESSION_SHARE * self.seconds)
        return self.clock() - self.began + needed <= self.seconds


@dataclass(frozen=True, eq=False)
class ProbePages:
    """The pages that a probe sees.

    Attributes:
        prepared: All pages.
        rows: Those to train on, int64 [n].
        augmentation: The policy of the views.
        views: How many views of each page; the first one is plain.
        seed: Seed of the run.
        on_wait: Called while no batch comes.
        budget: The time for all this; None takes what it takes.
    """

    prepared: PreparedPages
    rows: np.ndarray
    augmentation: AugmentationConfig
    views: int
    seed: int
    on_wait: OnWait
    budget: ProbeBudget | None = None

    def digests(self) -> list[bytes]:
        """What identifies the pixels of each page."""
        return [hashlib.sha256(self.prepared.pages[int(row)].tobytes()).digest()[:16] for row in self.rows]


class ProbeTrainer(Trainer):
    """A trainer whose first epoch fits the classifier to frozen features; the others are ordinary ones.

    Args:
        pages: What the probe sees.
        name: Architecture of the model.
        arguments: Those of `Trainer`.
    """

    def __init__(self, pages: ProbePages, name: str, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.pages, self.name = pages, name

    def _train_epoch(self) -> Iterator[Event]:
        if self.state.epoch:
            yield from super()._train_epoch()
        elif not self.state.step:  # else the run was stopped during the validation of the probe
            yield from self._probe()

    def _probe(self) -> Iterator[Event]:
        pages, components, state = self.pages, self.components, self.state
        model = components.model
        classifier = linear_classifier(model, self.name)
        features = yield from frozen_features(model, classifier, pages, self.runtime)
        views = features.shape[1]
        if views < pages.views:
            logger.warning(
                "the time is nearly up: the linear probe sees %d of %d planned views of each page", views, pages.views
            )
        index = pages.prepared.index
        labels = index.labels[pages.rows]
        groups = None if index.groups is None else index.groups[pages.rows]
        found = fit_logistic(
            features.reshape(-1, features.shape[-1]),
            np.repeat(labels, views),
            np.repeat(probe_folds(labels, groups, len(index.class_names), self.seed), views),
            components.loss.weights(torch.as_tensor(np.repeat(labels, views)).to(self.runtime.device)).cpu().numpy(),
            classifier.out_features,
        )
        logger.info(
            "linear probe: %d views of each of %d pages, penalty %g, cross-validated log loss %.3f",
            views, len(pages.rows), found.penalty, found.cross_validated,
        )  # fmt: skip
        with torch.no_grad():
            classifier.weight.copy_(torch.as_tensor(found.weight))
            if classifier.bias is not None:
                classifier.bias.copy_(torch.as_tensor(found.bias))
        distributed.broadcast_weights(model)
        if components.ema is not None:
            components.ema.module.load_state_dict(model.state_dict())
        state.step = components.batches.steps
        state.loss_sum, state.loss_weight = found.loss, 1.0
        lr = components.optimizer.param_groups[-1]["lr"]
        yield StepDone(1, self.global_step, found.loss, lr, len(pages.rows))


def frozen_features(
    model: nn.Module, classifier: nn.Linear, pages: ProbePages, runtime: Runtime
) -> Generator[Event, None, np.ndarray]:
    """Compute what the classifier gets for each view of each page, as far as it is not stored; yields progress.

    Returns:
        float32 [pages, views, features]; fewer views than planned where the time is up before, but at least one.

    Raises:
        ResourceError: A page can no longer be read.
    """
    store = _FeatureStore.of(model, pages, runtime)
    keys = pages.digests() if store.path is not None else []
    known = store.load()
    missing = [number for number in range(len(pages.rows)) if not keys or keys[number] not in known]
    dataset = _ViewDataset(
        pages.prepared.pages,
        pages.rows,
        Policy.from_config(pages.augmentation),
        pages.seed,
        pages.prepared.index.labels,
    )
    found = np.empty((pages.views, len(missing), classifier.in_features), dtype=np.float32)
    network = without_batch_norms(model, pages.prepared.preprocess.size, runtime)
    # View after view, so that what is there when the time is up is whole views.
    batches = [
        [(view, missing[place]) for place in range(start, min(start + BATCH, len(missing)))]
        for view in range(pages.views)
        for start in range(0, len(missing), BATCH)
    ]
    seen: list[torch.Tensor] = []
    head: Any = network.get_classifier()  # type: ignore[operator]
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    views, done, began = pages.views, 0, time.perf_counter()
    try:
        for batch in data_loader(dataset, batches, workers=runtime.workers, on_wait=pages.on_wait):
            if batch.unreadable:
                raise ResourceError(
                    f"a page can no longer be read: {next(iter(batch.unreadable))}", "resume the run when it can"
                )
            with torch.inference_mode(), runtime.autocast():
                network(normalise(batch.images[0], pages.prepared.preprocess, runtime))
            view, start = divmod(done, len(missing))
            found[view, start : start + len(batch)] = seen.pop().float().cpu().numpy()
            done += len(batch)
            yield Progress("computing features", done // pages.views, len(missing))
            if pages.budget is None or done % len(missing) or done == len(missing) * pages.views:
                continue
            each = (time.perf_counter() - began) / done
            if not distributed.broadcast(pages.budget.allows(len(missing), each)):
                views = done // len(missing)
                break
    finally:
        hook.remove()
    computed = found[:views].transpose(1, 0, 2)
    if not keys:
        return computed
    if views < pages.views:  # what is stored has all views
        return np.stack(
            [known[key][:views] if key in known else computed[missing.index(n)] for n, key in enumerate(keys)]
        )
    known |= {keys[number]: features for number, features in zip(missing, computed, strict=True)}
    if missing:
        store.save(known, keys)
    return np.stack([known[key] for key in keys])


def backbone_digest(model: nn.Module) -> str:
    """What identifies the weights of a network without its classifier."""
    weights = hashlib.sha256()
    classifier = {id(parameter) for parameter in model.get_classifier().parameters()}  # type: ignore[operator]
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in classifier:
            content = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            weights.update(name.encode() + content)
    return weights.hexdigest()


@dataclass(frozen=True, eq=False)
class _ViewDataset(Dataset[Any]):
    """Views by (view, position in `rows`): the plain page as view 0, then pages that the policy varies.

    What a view looks like is a function of (seed, view, pixels), so that a page has the same views in every run.
    """

    pages: Pages
    rows: np.ndarray
    policy: Policy
    seed: int
    labels: np.ndarray

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        view, number = key
        row = int(self.rows[number])
        try:
            page = self.pages[row]
        except UnreadablePage as error:
            return None, str(error), row
        if view:
            content = int.from_bytes(hashlib.sha256(page.tobytes()).digest()[:8], "big")
            page = self.policy(page, np.random.default_rng((self.seed, _VIEWS, view, content)))
        return (page[None],), int(self.labels[row]), row


@dataclass(frozen=True)
class _FeatureStore:
    """Features of pages by the digest of their pixels, in one file for each backbone and kind of views.

    Attributes:
        path: The file; None where nothing is stored.
    """

    path: Path | None

    @classmethod
    def of(cls, model: nn.Module, pages: ProbePages, runtime: Runtime) -> _FeatureStore:
        """The store of a model and its views; there is none where pages are not cached either."""
        if cache_folder(pages.prepared.pages.config.cache) is None or not pages.prepared.pages.cached:
            return cls(None)
        policy = pages.augmentation.model_dump_json(exclude={"name", "mixup", "cutmix", "mix_probability"})
        preprocess = pages.prepared.preprocess
        numerics = (runtime.device.type, runtime.precision, runtime.channels_last)
        name = fingerprint_of(
            backbone_digest(model), preprocess.fingerprint(), policy, pages.views, pages.seed, *numerics
        )
        return cls(features_folder() / f"{name}.npz")

    def load(self) -> dict[bytes, np.ndarray]:
        """The stored features, float32 [views, features] by digest; none where the file is missing or damaged."""
        if self.path is None:
            return {}
        try:
            with np.load(self.path) as content:
                keys, features = content["keys"], content["features"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return {}
        return {key.tobytes(): row for key, row in zip(keys, features, strict=True)}

    def save(self, features: dict[bytes, np.ndarray], newest: Sequence[bytes]) -> None:
        """Store features, those of `newest` first, as far as there is room."""
        if self.path is None:
            return
        order = list(dict.fromkeys([*newest, *features]))
        order = order[: max(1, CACHED_BYTES // features[order[0]].nbytes)]
        content = io.BytesIO()
        keys = np.stack([np.frombuffer(key, np.uint8) for key in order])
        np.savez(content, keys=keys, features=np.stack([features[key] for key in order]))
        try:
            write_bytes(self.path, content.getvalue())
        except ResourceError as error:
            logger.debug("features are computed again next time: %s", error.message)
