"""Runs an ensemble, or a single model, over batches of pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from docclf_cli.data.images.decode import RULES
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.loading.batch import Batch
from docclf_cli.data.loading.pages import NamedView
from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
from docclf_cli.engine.inference.predictor import TORCH, PageOutputs, Predictor
from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.ensembling.combine import Combination
from docclf_cli.ensembling.text_branch import LAYER, OCR
from docclf_cli.files import fingerprint_of
from docclf_cli.metrics.orientation import agreed
from docclf_cli.profile.schema import RuntimeConfig


@dataclass(frozen=True, eq=False)
class MemberPredictor:
    """A predictor as the member of an ensemble.

    Attributes:
        predictor: The member's.
        input: Which of the ensemble's inputs it looks at.
        columns: Where each class of the ensemble is on the member's own class axis.
    """

    predictor: Predictor
    input: int
    columns: np.ndarray


@dataclass(frozen=True, eq=False)
class EnsemblePredictor:
    """One predictor, or several whose probabilities are combined.

    Attributes:
        member_predictors: The members.
        inputs: What they look at: how a page becomes the input of a model, and the views of it.
        combination: How the members' probabilities become one.
        class_names: Names along the class axis.
        settings: What makes its log-probabilities, representable as JSON, by a name for people.
    """

    member_predictors: tuple[MemberPredictor, ...]
    inputs: tuple[tuple[Preprocess, tuple[NamedView, ...]], ...]
    combination: Combination
    class_names: tuple[str, ...]
    settings: Mapping[str, Any]

    @property
    def most_views(self) -> int:
        """The largest number of views that an input has."""
        return max(len(views) for _, views in self.inputs)

    @property
    def runtime(self) -> Runtime:
        """Device and numerics of the first member."""
        return self.member_predictors[0].predictor.runtime

    @property
    def precision(self) -> str:
        """The number format of the models; several, joined by commas, if they differ."""
        networks = (network for member in self.member_predictors for network in member.predictor.networks)
        return ", ".join(sorted({network.precision for network in networks}))

    @property
    def temperature(self) -> float | None:
        """The temperature of a single model; None for an ensemble, whose members have one each."""
        return self.member_predictors[0].predictor.temperature if len(self.member_predictors) == 1 else None

    @property
    def knows_unknown(self) -> bool:
        """Whether it can say how foreign a page is: all members can."""
        return all(member.predictor.knows_unknown for member in self.member_predictors)

    @property
    def text_source(self) -> str:
        """Where its members take the text of pages from: `ocr` if any does, `layer`, or empty where none reads."""
        sources = {member.predictor.text_source for member in self.member_predictors}
        return OCR if OCR in sources else LAYER if LAYER in sources else ""

    @property
    def knows_orientation(self) -> bool:
        """Whether it can say how a page lies: a member can."""
        return any(member.predictor.knows_orientation for member in self.member_predictors)

    @property
    def leading_dimensions(self) -> int:
        """Width of `PageOutputs.leading`; 0 where there is none."""
        novelty = self.member_predictors[0].predictor.networks[0].novelty
        return novelty.leading.shape[1] if self.knows_unknown and novelty is not None else 0

    def __call__(self, batch: Batch) -> np.ndarray:
        """Calibrated log-probabilities, float32 [n, num_classes], of a batch with the images of each input."""
        return self.outputs(batch).log_probs

    def outputs(self, batch: Batch) -> PageOutputs:
        """What the members say of a batch together: classes, how foreign each page is (mean log-odds), how it lies (if they agree)."""
        members = [
            member.predictor.outputs(batch.images[member.input], batch.texts) for member in self.member_predictors
        ]
        found = [one.log_probs[:, member.columns] for one, member in zip(members, self.member_predictors, strict=True)]
        log_probs = (found[0] if len(found) == 1 else self.combination.apply(np.stack(found))).astype(np.float32)
        log_odds = [one.unknown for one in members if one.unknown is not None]
        orientations = [one.orientation for one in members if one.orientation is not None]
        return PageOutputs(
            log_probs,
            np.mean(log_odds, axis=0) if self.knows_unknown else None,
            members[0].leading if self.knows_unknown else None,
            agreed(orientations) if self.knows_orientation else None,
        )


def build_ensemble_predictor(
    spec: EnsembleSpec, runtime_config: RuntimeConfig, pages: int = 0, backend: str = TORCH
) -> EnsemblePredictor:
    """Load the models of an ensemble spec, and return what predicts with them.

    Args:
        spec: One member, or several that know the same classes; `fitted_on_held_out` where its method is fitted.
        runtime_config: Device and numerics; `auto` is how the run of each checkpoint scored its pages.
        pages: About how many there are; 0 where that is not known.
        backend: What runs the models: `torch`, or `onnx` or `int8` for what `export` made of the checkpoints.

    Raises:
        CheckpointError: A checkpoint is damaged, or not exported.
        InputError: There is no such backend, all listed weights are 0, or no view is left.
    """
    members, method, views = spec.members, spec.method, spec.views
    class_names = members[0].info.class_names
    how = views.merge if views else "mean"
    member_predictors: list[MemberPredictor] = []
    inputs: dict[Any, tuple[int, tuple[Preprocess, tuple[NamedView, ...]]]] = {}
    shown = spec.view_specs()
    for member, its_views in zip(members, shown, strict=True):
        preprocess = member.info.preprocess
        key = preprocess.pixel_fingerprint(), tuple(view.name for view in its_views)
        number, _ = inputs.setdefault(key, (len(inputs), (preprocess, its_views)))
        columns = np.array([member.info.class_names.index(name) for name in class_names])
        predictor = member.predictor(runtime_config, pages=pages, views=its_views, merge=how, backend=backend)
        member_predictors.append(MemberPredictor(predictor, number, columns))
    learned_from = None
    if spec.held_out is not None:
        learned_from = fingerprint_of(spec.held_out.log_probs.tolist(), spec.held_out.targets.tolist())
    settings = {
        "checkpoint": [[info.sha256 for info in member.checkpoints] for member in members],
        "views": [[view.name for view in its_views] for its_views in shown] + [views.merge if views else None],
        "method": [
            method.name,
            dict(method.params),
            [member.weight for member in members],
            learned_from,
        ],
        "numerics": [
            [_numerics(network.runtime) for network in member.predictor.networks] for member in member_predictors
        ],
        "reading rules": RULES,
        "backend": backend,
        "unknown pages": all(member.predictor.knows_unknown for member in member_predictors),
        "orientation": any(member.predictor.knows_orientation for member in member_predictors),
    }
    return EnsemblePredictor(
        tuple(member_predictors),
        tuple(seen for _, seen in inputs.values()),
        method.combination([member.weight for member in members], spec.held_out),
        class_names,
        settings,
    )


def _numerics(runtime: Runtime) -> list[Any]:
    return [runtime.device.type, runtime.precision, runtime.channels_last, runtime.compile]
