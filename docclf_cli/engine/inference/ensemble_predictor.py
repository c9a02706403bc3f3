"""What decides about a page: one model, or several that combine; each in one or more views."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax

from docclf_cli.data.images.decode import RULES
from docclf_cli.data.loading.page_loader import ViewSpec
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.info import CheckpointInfo
from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
from docclf_cli.engine.inference.members import Member
from docclf_cli.engine.inference.onnx_backend import load_exported
from docclf_cli.engine.inference.predictor import Predictor, inference_runtime
from docclf_cli.engine.runtime.device import Runtime, resolve_runtime
from docclf_cli.ensembling.combine import Combination
from docclf_cli.ensembling.held_out import HeldOut
from docclf_cli.ensembling.merging import Merge, merge
from docclf_cli.errors import InputError
from docclf_cli.files import fingerprint_of
from docclf_cli.profile.schema import RuntimeConfig

TORCH, ONNX = "torch", "onnx"
BACKENDS = (TORCH, ONNX)
# onnxruntime is fed from the main memory, in the layout that its graphs are made for.
FOR_ONNX = RuntimeConfig(device="cpu", precision="fp32", memory_format="contiguous", compile="off")


@dataclass(frozen=True, eq=False)
class MemberPredictor:
    """One member at work.

    Attributes:
        member: Whose it is.
        predictors: Its models; of the folds of a run the mean counts.
        view_spec: Which of the looks it wants.
        views: How many views this look has.
        how: How these are merged.
        columns: Where each class of the ensemble is on the member's own class axis.
    """

    member: Member
    predictors: tuple[Predictor, ...]
    view_spec: int
    views: int
    how: Merge
    columns: np.ndarray

    def log_probs(self, images: torch.Tensor) -> np.ndarray:
        """Calibrated log-probabilities [n, num_classes] of images [views * n, 3, size, size], view after view."""
        models = [predictor.log_probs(images).cpu().numpy() for predictor in self.predictors]
        mean = models[0] if len(models) == 1 else merge(np.stack(models))
        calibrated = log_softmax(mean.astype(np.float64) / self.member.temperature, axis=1)
        views = calibrated.reshape(self.views, -1, calibrated.shape[1])
        return (views[0] if self.views == 1 else merge(views, self.how))[:, self.columns]


@dataclass(frozen=True, eq=False)
class EnsemblePredictor:
    """What decides.

    Attributes:
        member_predictors: The members.
        view_specs: What they want to see of a page.
        combination: How the members' probabilities become one.
        class_names: Names along the class axis.
        settings: What makes its log-probabilities, representable as JSON, by a name for people.
        again: Makes another one like it, in this process or another.
    """

    member_predictors: tuple[MemberPredictor, ...]
    view_specs: tuple[ViewSpec, ...]
    combination: Combination
    class_names: tuple[str, ...]
    settings: Mapping[str, Any]
    again: Callable[[], EnsemblePredictor]

    @property
    def most_views(self) -> int:
        """Views of the look that has most."""
        return max(len(view_spec.views) for view_spec in self.view_specs)

    @property
    def precision(self) -> str:
        """Number format of the models; each where they differ."""
        return ", ".join(
            sorted(
                {
                    one.runtime.precision
                    for member_predictor in self.member_predictors
                    for one in member_predictor.predictors
                }
            )
        )

    @property
    def temperature(self) -> float | None:
        """Divides the logits; None where each member has its own."""
        return self.member_predictors[0].member.temperature if len(self.member_predictors) == 1 else None

    def log_probs(self, images: tuple[torch.Tensor, ...]) -> np.ndarray:
        """Calibrated log-probabilities, float32 [n, num_classes], of the images of each look."""
        members = [
            member_predictor.log_probs(images[member_predictor.view_spec])
            for member_predictor in self.member_predictors
        ]
        return (members[0] if len(members) == 1 else self.combination.apply(np.stack(members))).astype(np.float32)


def build_ensemble_predictor(
    spec: EnsembleSpec, runtime_config: RuntimeConfig, pages: int = 0, backend: str = TORCH
) -> EnsemblePredictor:
    """Put members to work; models are loaded here.

    Args:
        spec: One member, or several that know the same classes; `fitted_on_held_out` where its method is fitted.
        runtime_config: Device and numerics; `auto` is how the run of each checkpoint scored its pages.
        pages: About how many there are; 0 where that is not known.
        backend: What runs the models: `torch`, or `onnx` for what `export` made of the checkpoints.

    Raises:
        CheckpointError: A checkpoint is damaged, or not exported.
        InputError: There is no such backend, all listed weights are 0, or no view is left.
    """
    if backend not in BACKENDS:
        raise InputError(f"--backend: '{backend}' is not one of {', '.join(BACKENDS)}")
    members, method, views = spec.members, spec.method, spec.views
    class_names, member_predictors, view_specs = (
        members[0].info.class_names,
        list[MemberPredictor](),
        dict[Any, tuple[int, ViewSpec]](),
    )
    shown = spec.view_specs()
    for member, its_views in zip(members, shown, strict=True):
        preprocess = member.info.preprocess
        key = preprocess.pixel_fingerprint(), tuple(view.name for view in its_views)
        view_spec, _ = view_specs.setdefault(
            key, (len(view_specs), ViewSpec(preprocess, tuple(view.view.apply for view in its_views)))
        )
        columns = np.array([member.info.class_names.index(name) for name in class_names])
        how = views.merge if views else "mean"
        predictors = tuple(
            _predictor(info, runtime_config, pages * len(its_views), backend) for info in member.checkpoints
        )
        member_predictors.append(MemberPredictor(member, predictors, view_spec, len(its_views), how, columns))
    settings = {
        "checkpoint": [[info.sha256 for info in member.checkpoints] for member in members],
        "views": [[view.name for view in its_views] for its_views in shown] + [views.merge if views else None],
        "method": [
            method.name,
            dict(method.params),
            [member.weight for member in members],
            _learned_from(spec.held_out),
        ],
        "numerics": [
            [_numerics(one.runtime) for one in member_predictor.predictors] for member_predictor in member_predictors
        ],
        "reading rules": RULES,
        "backend": backend,
    }
    combination = method.combination([member.weight for member in members], spec.held_out)
    again = functools.partial(build_ensemble_predictor, spec, runtime_config, pages, backend)
    return EnsemblePredictor(
        tuple(member_predictors),
        tuple(view_spec for _, view_spec in view_specs.values()),
        combination,
        class_names,
        settings,
        again,
    )


def _learned_from(held_out: HeldOut | None) -> str | None:
    return None if held_out is None else fingerprint_of(held_out.log_probs.tolist(), held_out.targets.tolist())


def _predictor(info: CheckpointInfo, config: RuntimeConfig, pages: int, backend: str) -> Predictor:
    if backend == ONNX:
        runtime = resolve_runtime(FOR_ONNX)
        return Predictor(load_exported(info), info.preprocess, info.class_names, runtime)
    checkpoint = Checkpoint.load(info.path)
    runtime = inference_runtime(config, checkpoint, pages)
    model = runtime.place(checkpoint.build(info.path))
    return Predictor(model, info.preprocess, info.class_names, runtime)


def _numerics(runtime: Runtime) -> list[Any]:
    return [runtime.device.type, runtime.precision, runtime.channels_last, runtime.compile]
