"""Stored predictions: kept beside their checkpoint under the fingerprint of what made them.

Nothing here imports torch, so a command that finds its predictions fresh never loads a model.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from docclf_cli.data.images.decode import RULES
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.loading.cache import identities
from docclf_cli.data.loading.pages import PLAIN
from docclf_cli.errors import InputError, ResourceError
from docclf_cli.files import fingerprint_of, may_write
from docclf_cli.profile.schema import DataConfig
from docclf_cli.results.predictions import Predictions

logger = logging.getLogger("docclf")


def pages_fingerprint(index: DocumentIndex, data: DataConfig, files: Sequence[str] | None = None) -> str:
    """Hash pages in their order: their IDs and image files as these are now, without labels, and which files are refused.

    Args:
        index: The pages.
        data: How they are read.
        files: Their identities, where these are known already.
    """
    reading = data.max_pixels, data.allow_symlinks
    usual = DataConfig()
    others = [] if reading == (usual.max_pixels, usual.allow_symlinks) else [reading]
    return fingerprint_of(RULES, index.ids.tolist(), identities(index) if files is None else list(files), *others)


def fingerprint(checkpoint_sha256: str, pages: str, view: str = PLAIN, precision: str = "fp32") -> dict[str, str]:
    """Name what decides predictions: checkpoint bytes (which hold the preprocessing), pages, view and number format.

    Args:
        checkpoint_sha256: Of the file, as it is now.
        pages: `pages_fingerprint`.
        view: Name of the view.
        precision: Number format of the forward pass.
    """
    return {"checkpoint": checkpoint_sha256, "data": pages, "view": view, "precision": precision}


def stored_at(checkpoint: Path, split: str, made_by: Mapping[str, str]) -> Path:
    """The file of a checkpoint's stored predictions; predictions in a view have another name than those of plain pages."""
    name = f"{stored_prefix(split, made_by['view'])}-{fingerprint_of(dict(made_by))}.npz"
    return checkpoint.parent / "predictions" / name


def stored_prefix(split: str, view: str) -> str:
    """The start of the names of such files."""
    return split if view == PLAIN else f"viewed-{split}"


def load_stored(checkpoint: Path, split: str, made_by: Mapping[str, str], index: DocumentIndex) -> Predictions | None:
    """Load predictions with exactly this fingerprint; None if there are none, or the file is damaged.

    Args:
        checkpoint: The file.
        split: Which pages.
        made_by: `fingerprint`.
        index: The pages, whose labels and groups of today the predictions are given.
    """
    path = stored_at(checkpoint, split, made_by)
    if not path.is_file():
        return None
    try:
        return labelled(Predictions.load(path), index)
    except InputError as error:
        logger.warning("%s", error.message)
        return None


def labelled(predictions: Predictions, index: DocumentIndex) -> Predictions:
    """The predictions with the labels and groups of an index of the same pages and classes."""
    groups = None if index.groups is None else index.groups.astype(np.str_)
    return replace(predictions, targets=index.targets, groups=groups)


def store(checkpoint: Path, split: str, predictions: Predictions) -> Path | None:
    """Store predictions beside their checkpoint; nothing is stored where that folder cannot be written to."""
    path = stored_at(checkpoint, split, predictions.fingerprint)
    try:
        predictions.save(path)
    except ResourceError as error:
        expected = not may_write(path.parent)  # which commands say themselves, with where results go
        logger.log(logging.DEBUG if expected else logging.WARNING, "predictions cannot be stored: %s", error.message)
        return None
    return path
