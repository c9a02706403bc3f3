"""What decides about a page: one model, or several that combine; each in one or more views."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax

from docclf_cli.data.decode import RULES
from docclf_cli.data.page_loader import Look
from docclf_cli.engine.checkpoint import Checkpoint
from docclf_cli.engine.facts import CheckpointFacts
from docclf_cli.engine.inference import Predictor
from docclf_cli.engine.jury import Jury
from docclf_cli.engine.members import Member
from docclf_cli.engine.numerics import inference_runtime
from docclf_cli.engine.onnx_model import load_exported
from docclf_cli.engine.runtime import Runtime, resolve_runtime
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
class Voice:
    """One member at work.

    Attributes:
        member: Whose it is.
        predictors: Its models; of the folds of a run the mean counts.
        look: Which of the looks it wants.
        views: How many views this look has.
        how: How these are merged.
        columns: Where each class of the decider is on the member's own class axis.
    """

    member: Member
    predictors: tuple[Predictor, ...]
    look: int
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
class Decider:
    """What decides.

    Attributes:
        voices: The members.
        looks: What they want to see of a page.
        combination: How the members' probabilities become one.
        class_names: Names along the class axis.
        settings: What makes its log-probabilities, representable as JSON, by a name for people.
        again: Makes another one like it, in this process or another.
    """

    voices: tuple[Voice, ...]
    looks: tuple[Look, ...]
    combination: Combination
    class_names: tuple[str, ...]
    settings: Mapping[str, Any]
    again: Callable[[], Decider]

    @property
    def most_views(self) -> int:
        """Views of the look that has most."""
        return max(len(look.views) for look in self.looks)

    @property
    def precision(self) -> str:
        """Number format of the models; each where they differ."""
        return ", ".join(sorted({one.runtime.precision for voice in self.voices for one in voice.predictors}))

    @property
    def temperature(self) -> float | None:
        """Divides the logits; None where each member has its own."""
        return self.voices[0].member.temperature if len(self.voices) == 1 else None

    def log_probs(self, images: tuple[torch.Tensor, ...]) -> np.ndarray:
        """Calibrated log-probabilities, float32 [n, num_classes], of the images of each look."""
        members = [voice.log_probs(images[voice.look]) for voice in self.voices]
        return (members[0] if len(members) == 1 else self.combination.apply(np.stack(members))).astype(np.float32)


def decider_of(jury: Jury, runtime_config: RuntimeConfig, pages: int = 0, backend: str = TORCH) -> Decider:
    """Put members to work; models are loaded here.

    Args:
        jury: One member, or several that know the same classes; `taught` where its method is fitted.
        runtime_config: Device and numerics; `auto` is how the run of each checkpoint scored its pages.
        pages: About how many there are; 0 where that is not known.
        backend: What runs the models: `torch`, or `onnx` for what `export` made of the checkpoints.

    Raises:
        CheckpointError: A checkpoint is damaged, or not exported.
        InputError: There is no such backend, all listed weights are 0, or no view is left.
    """
    if backend not in BACKENDS:
        raise InputError(f"--backend: '{backend}' is not one of {', '.join(BACKENDS)}")
    members, method, views = jury.members, jury.method, jury.views
    class_names, voices, looks = members[0].facts.class_names, list[Voice](), dict[Any, tuple[int, Look]]()
    shown = jury.looks()
    for member, its_views in zip(members, shown, strict=True):
        preprocess = member.facts.preprocess
        key = preprocess.pixel_fingerprint(), tuple(view.name for view in its_views)
        look, _ = looks.setdefault(key, (len(looks), Look(preprocess, tuple(view.view.apply for view in its_views))))
        columns = np.array([member.facts.class_names.index(name) for name in class_names])
        how = views.merge if views else "mean"
        predictors = tuple(
            _predictor(facts, runtime_config, pages * len(its_views), backend) for facts in member.checkpoints
        )
        voices.append(Voice(member, predictors, look, len(its_views), how, columns))
    settings = {
        "checkpoint": [[facts.sha256 for facts in member.checkpoints] for member in members],
        "views": [[view.name for view in its_views] for its_views in shown] + [views.merge if views else None],
        "method": [
            method.name,
            dict(method.params),
            [member.weight for member in members],
            _learned_from(jury.held_out),
        ],
        "numerics": [[_numerics(one.runtime) for one in voice.predictors] for voice in voices],
        "reading rules": RULES,
        "backend": backend,
    }
    combination = method.combination([member.weight for member in members], jury.held_out)
    again = functools.partial(decider_of, jury, runtime_config, pages, backend)
    return Decider(tuple(voices), tuple(look for _, look in looks.values()), combination, class_names, settings, again)


def _learned_from(held_out: HeldOut | None) -> str | None:
    return None if held_out is None else fingerprint_of(held_out.log_probs.tolist(), held_out.targets.tolist())


def _predictor(facts: CheckpointFacts, config: RuntimeConfig, pages: int, backend: str) -> Predictor:
    if backend == ONNX:
        runtime = resolve_runtime(FOR_ONNX)
        return Predictor(load_exported(facts), facts.preprocess, facts.class_names, runtime)
    checkpoint = Checkpoint.load(facts.path)
    runtime = inference_runtime(config, checkpoint, pages)
    model = runtime.place(checkpoint.build(facts.path))
    return Predictor(model, facts.preprocess, facts.class_names, runtime)


def _numerics(runtime: Runtime) -> list[Any]:
    return [runtime.device.type, runtime.precision, runtime.channels_last, runtime.compile]
