"""What a model says about pages: the only thing that metrics, plots and ensembling accept."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docclf_cli.errors import InputError
from docclf_cli.files import save_with

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

READABLE = ""  # the status of a page that was read


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says about pages; the only thing metrics, plots and ensembling accept.

    Attributes:
        ids: Page IDs, text of shape [n], in the order of the input, each once.
        log_probs: float32 [n, num_classes]: natural logarithms of uncalibrated probabilities; a row of NaN
            belongs to a page that could not be read.
        class_names: Names along the class axis.
        targets: int64 [n] class indices, -1 where a label is unknown; None for unlabelled pages.
        groups: Text [n]: pages that belong together (bootstrap draws them together), or None.
        status: Text [n]: empty for a page that was read, otherwise the reason why not.
        fingerprint: What made them: checkpoint, data, preprocess, view, precision.
        image: Of a model that also reads: what the image alone says, float32 [n, num_classes]; None otherwise.
        text: What the text alone says, NaN for pages without text.
    """

    ids: np.ndarray
    log_probs: np.ndarray
    class_names: tuple[str, ...]
    targets: np.ndarray | None = None
    groups: np.ndarray | None = None
    status: np.ndarray | None = None
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    image: np.ndarray | None = None
    text: np.ndarray | None = None

    def __post_init__(self) -> None:
        rows = len(self.ids)
        if self.log_probs.shape != (rows, len(self.class_names)):
            raise ValueError(f"log_probs has shape {self.log_probs.shape}, not {(rows, len(self.class_names))}")
        for name in ("targets", "groups", "status"):
            column = getattr(self, name)
            if column is not None and column.shape != (rows,):
                raise ValueError(f"{name} has shape {column.shape}, not {(rows,)}")
        for name in ("image", "text"):
            side = getattr(self, name)
            if side is not None and side.shape != self.log_probs.shape:
                raise ValueError(f"{name} has shape {side.shape}, not {self.log_probs.shape}")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> np.ndarray:
        """The targets of labelled pages.

        Raises:
            InputError: The pages have none.
        """
        if self.targets is None:
            raise InputError("these pages have no labels", "`docclf predict` needs none")
        return self.targets

    @property
    def num_classes(self) -> int:
        """Length of the class axis."""
        return len(self.class_names)

    def probs(self, temperature: float = 1.0) -> np.ndarray:
        """Probabilities, float64 [n, num_classes], after dividing the logits by `temperature`."""
        from scipy.special import softmax

        return softmax(self.log_probs.astype("float64") / temperature, axis=1)

    def at_temperature(self, temperature: float) -> Predictions:
        """The same after dividing the logits by `temperature`: log-probabilities that need none any more."""
        from scipy.special import log_softmax

        scaled = log_softmax(self.log_probs.astype("float64") / temperature, axis=1)
        return replace(self, log_probs=scaled.astype("float32"))

    def predicted(self) -> np.ndarray:
        """The most probable class of each page, int64 [n] (-1 where a page could not be read)."""
        import numpy as np

        readable = ~np.isnan(self.log_probs).any(axis=1)
        return np.where(readable, np.where(readable[:, None], self.log_probs, 0.0).argmax(axis=1), -1)

    def take(self, rows: np.ndarray | Sequence[int]) -> Predictions:
        """The given rows (indices or a boolean mask), in that order."""
        import numpy as np

        index = np.asarray(rows)
        pick: dict[str, Any] = {
            name: None if (column := getattr(self, name)) is None else column[index]
            for name in ("ids", "log_probs", "targets", "groups", "status", "image", "text")
        }
        return replace(self, **pick)

    def label_name(self, row: int) -> str:
        """The class that a page is labelled with; empty where that is not known."""
        known = self.targets is not None and self.targets[row] >= 0
        return self.class_names[self.labels[row]] if known else ""

    def scored(self) -> Predictions:
        """The rows that can be scored: read, and with a known label.

        Raises:
            InputError: There is none.
        """
        import numpy as np

        rows = (self.labels >= 0) & ~np.isnan(self.log_probs).any(axis=1)
        if not rows.any():
            raise InputError("no page is both readable and labelled")
        return self.take(rows)

    def save(self, path: Path) -> None:
        """Write an `.npz` that holds no pickled object, whole or not at all."""
        import numpy as np

        arrays: dict[str, np.ndarray] = {
            "ids": self.ids.astype(np.str_),
            "log_probs": self.log_probs.astype(np.float32),
            "class_names": np.asarray(self.class_names, dtype=np.str_),
            "fingerprint": np.asarray(json.dumps(dict(self.fingerprint), sort_keys=True)),
        }
        for name in ("targets", "groups", "status", "image", "text"):
            if (column := getattr(self, name)) is not None:
                arrays[name] = column
        save_with(path, lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """Read what `save` wrote.

        Raises:
            InputError: The file is missing, damaged or not of this kind.
        """
        import zipfile
        import zlib

        import numpy as np

        try:
            with np.load(path, allow_pickle=False) as archive:
                columns: dict[str, Any] = {name: archive[name] for name in archive.files}
            columns["class_names"] = tuple(str(name) for name in columns["class_names"])
            columns["fingerprint"] = json.loads(str(columns["fingerprint"]))
            return cls(**columns)
        except FileNotFoundError as error:
            raise InputError(f"{path}: there is no such file of predictions") from error
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{path}: damaged, or not predictions of docclf", "delete it; it is made again") from error
