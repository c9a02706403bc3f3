"""Stored predictions: kept beside their checkpoint under the fingerprint of what made them.

Nothing here imports torch, so a command that finds its predictions fresh never loads a model.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from docclf_cli.errors import InputError, ResourceError
from docclf_cli.files import fingerprint_of, sha256_of
from docclf_cli.results.predictions import Predictions

logger = logging.getLogger("docclf")
PLAIN = "plain"  # the view that changes nothing


def fingerprint(checkpoint: Path, data: str, view: str = PLAIN, precision: str = "fp32") -> dict[str, str]:
    """What makes predictions: checkpoint file (which holds the preprocessing), data, view and number format.

    Args:
        checkpoint: The file, as it is now.
        data: Fingerprint of the index and its files.
        view: Name of the TTA view.
        precision: Number format of the forward pass.
    """
    return {"checkpoint": sha256_of(checkpoint), "data": data, "view": view, "precision": precision}


def stored_at(checkpoint: Path, split: str, made_by: Mapping[str, str]) -> Path:
    """Where predictions of a checkpoint are kept."""
    return checkpoint.parent / "predictions" / f"{split}-{fingerprint_of(dict(made_by))}.npz"


def load_stored(checkpoint: Path, split: str, made_by: Mapping[str, str]) -> Predictions | None:
    """Predictions made by exactly this, or None where there are none (or a damaged file)."""
    path = stored_at(checkpoint, split, made_by)
    if not path.is_file():
        return None
    try:
        return Predictions.load(path)
    except InputError as error:
        logger.warning("%s", error.message)
        return None


def store(checkpoint: Path, split: str, predictions: Predictions) -> Path | None:
    """Keep predictions beside their checkpoint; where that folder cannot be written to, they are made again next time."""
    path = stored_at(checkpoint, split, predictions.fingerprint)
    try:
        predictions.save(path)
    except ResourceError as error:
        logger.warning("predictions are not kept: %s", error.message)
        return None
    return path
