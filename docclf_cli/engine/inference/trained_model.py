"""Opens trained models by their path. Imports torch only to load the networks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from docclf_cli.data.loading.pages import AS_IT_IS, NamedView
from docclf_cli.engine.checkpoints.info import CheckpointInfo, info_of
from docclf_cli.engine.checkpoints.run_folder import NO_CHECKPOINT, RunFolder
from docclf_cli.ensembling.merging import Merge
from docclf_cli.errors import CheckpointError
from docclf_cli.files import fingerprint_of, write_json
from docclf_cli.profile.schema import RuntimeConfig

if TYPE_CHECKING:
    from docclf_cli.engine.inference.predictor import Predictor

Use = Literal["best", "folds", "snapshots"]
VAL, TEST = "val", "test"
FOLD = re.compile(r"fold-\d+")  # the folder of one fold in that of its run


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model that is ready to predict: a checkpoint, all folds of a run as one, or an exported ONNX file.

    Nothing is computed and torch is not imported before `predictor`.

    Attributes:
        name: Label in tables.
        path: Checkpoint or ONNX file, or the folder of a folds run.
        checkpoints: Its checkpoint; of a folds run one per fold that was trained.
        weight: Its weight as the member of an ensemble, as listed.
        sisters: Of a refit of a folds run, that run: its folds give the temperature and every figure, because no page is held
            out from the refit itself.
    """

    name: str
    path: Path
    checkpoints: tuple[CheckpointInfo, ...]
    weight: float = 1.0
    sisters: TrainedModel | None = None

    @classmethod
    def load(cls, path: Path, *, name: str | None = None, weight: float = 1.0) -> TrainedModel:
        """Open what a user names: a checkpoint file, a run by its best checkpoint, a folds run, or an ONNX export.

        Raises:
            CheckpointError: There is no such file, or no checkpoint in the folder.
        """
        if path.suffix == ".onnx" and not path.is_dir():
            from docclf_cli.engine.inference.onnx_backend import exported_info

            return cls(name or path.stem, path, (exported_info(path),), weight)
        if not path.is_dir():
            return cls(name or _label(path), path, (info_of(path),), weight)
        if (best := RunFolder(path).best).is_file():
            RunFolder(path).say_unfinished()
            return cls(name or path.name, best, (info_of(best),), weight)
        if folds := fold_checkpoints(path):
            RunFolder(path).say_unfinished()
            return cls(name or path.name, path, tuple(info_of(fold) for fold in folds), weight)
        if path.exists():
            raise CheckpointError(
                f"{path}: no best.ckpt in this folder",
                "name a checkpoint file, or the folder of a finished run; pages to score are named by --data",
            )
        raise CheckpointError(f"{path}: there is no such checkpoint", NO_CHECKPOINT)

    def reading(self, keys: Mapping[str, Any]) -> TrainedModel:
        """The same model, with other values for keys of its data section that say how pages are read."""
        if not keys:
            return self
        checkpoints = [replace(info, data=info.data.model_copy(update=dict(keys))) for info in self.checkpoints]
        return replace(self, checkpoints=tuple(checkpoints))

    def predictor(
        self,
        config: RuntimeConfig | None = None,
        *,
        pages: int = 0,
        views: Sequence[NamedView] = (),
        merge: Merge = "mean",
        backend: str = "torch",
    ) -> Predictor:
        """Load its networks, ready for new pages; of a folds run the mean of its folds counts.

        Args:
            config: Device and numerics; `auto` is how the run scored its pages.
            pages: About how many pages there are; 0 where that is not known.
            views: How to look at each page; none is the page as it is.
            merge: How several views are merged.
            backend: `torch`, or `onnx` or `int8` for what `export` made of the checkpoints.

        Raises:
            CheckpointError: A checkpoint is damaged, or not exported.
            InputError: There is no such backend.
        """
        from docclf_cli.engine.inference.predictor import open_predictor

        return open_predictor(
            self.checkpoints,
            config or RuntimeConfig(),
            pages=pages,
            views=tuple(views) or (AS_IT_IS,),
            merge=merge,
            temperature=self.temperature,
            backend=backend,
        )

    @property
    def is_folds(self) -> bool:
        """Whether it is a folds run."""
        return self.path.is_dir()

    @property
    def info(self) -> CheckpointInfo:
        """The info of the checkpoint; of a folds run that of the first fold, from which the others differ in weights and temperature."""
        return self.checkpoints[0]

    @property
    def temperature(self) -> float:
        """Divides the logits that new pages get; of a folds run those of the mean of its folds, as training stored it.

        A folds run without one (of an earlier docclf) has the geometric mean of its folds' own.
        """
        return self._temperatures[0]

    def temperature_of(self, split: str) -> float:
        """The temperature for a split: a folds run has another one for its held-out pages, which single folds predict."""
        return self._temperatures[1 if split == VAL else 0]

    @cached_property
    def _temperatures(self) -> tuple[float, float]:
        """Of new pages, and of held-out pages."""
        if len(self.checkpoints) > 1 and (stored := _stored_temperatures(self)) is not None:
            return stored
        mean = float(np.exp(np.mean([np.log(info.temperature) for info in self.checkpoints])))
        return mean, mean

    @cached_property
    def key(self) -> str:
        """An identifier that depends on the content of the checkpoints alone, not on their names."""
        return fingerprint_of([info.sha256 for info in self.checkpoints])

    @property
    def folder(self) -> Path:
        """The folder for what commands derive from the model."""
        return self.path if self.is_folds else self.path.parent


def members_at(path: Path, use: Use, *, name: str | None = None, weight: float = 1.0) -> list[TrainedModel]:
    """The members that a run gives: one, or one for each snapshot; these share the weight.

    Raises:
        CheckpointError: The run has no such checkpoints.
    """
    if use == "snapshots":
        found = RunFolder(path).snapshots()
        if not found:
            raise CheckpointError(f"{path}: no snapshots in this run", "train with --set train.snapshots.keep=cycle")
        label = name or path.name
        return [TrainedModel(f"{label} {file.stem}", file, (info_of(file),), weight / len(found)) for file in found]
    if use == "folds" and not fold_checkpoints(path):
        raise CheckpointError(f"{path}: no folds in this run", "train with --folds 5, or say `use: best`")
    return [TrainedModel.load(path, name=name, weight=weight)]


def fold_checkpoints(run: Path) -> list[Path]:
    """The best checkpoint of each fold that was trained, by fold."""
    found = [path for path in run.glob("fold-*/best.ckpt") if FOLD.fullmatch(path.parent.name)]
    return sorted(found, key=lambda path: int(path.parent.name.removeprefix("fold-")))


def refit_or(model: TrainedModel) -> TrainedModel:
    """The refit on all pages of a folds run, which predicts new pages in one pass; the model itself where there is none.

    It counts only where the temperature of single folds was fitted to their out-of-fold pages, which is the refit's too.
    """
    path = RunFolder(model.path).refit
    if not model.is_folds or not path.is_file() or _stored_temperatures(model) is None:
        return model
    return TrainedModel(model.name, path, (info_of(path),), model.weight, sisters=model)


def store_temperatures(run: RunFolder, folds: Sequence[RunFolder], *, mean_of_folds: float, out_of_fold: float) -> None:
    """Write the temperatures of a folds run into its folder: that of the mean of the folds, and that of single folds."""
    member = TrainedModel(run.path.name, run.path, tuple(info_of(fold.best) for fold in folds))
    found = {"mean_of_folds": mean_of_folds, "out_of_fold": out_of_fold, "checkpoints": member.key}
    write_json(run.temperature, found)


def _stored_temperatures(member: TrainedModel) -> tuple[float, float] | None:
    """What `store_temperatures` kept for exactly these folds; None where it is missing or damaged."""
    try:
        content = json.loads(RunFolder(member.path).temperature.read_text(encoding="utf-8"))
        found = float(content["mean_of_folds"]), float(content["out_of_fold"])
        return found if content["checkpoints"] == member.key and min(found) > 0 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def folds_as_members(member: TrainedModel) -> list[TrainedModel]:
    """Each fold of a folds run as a member of its own."""
    return [TrainedModel(info.path.parent.name, info.path, (info,)) for info in member.checkpoints]


def _label(checkpoint: Path) -> str:
    stem = checkpoint.stem
    return checkpoint.parent.name if stem == "best" and checkpoint.parent.name else stem
