"""What checkpoints once said about pages of a split, as it is stored beside them, without looking at the pages."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from docclf_cli.engine.checkpoints.info import CheckpointInfo
from docclf_cli.engine.inference.members import merge_checkpoints
from docclf_cli.engine.inference.store import PLAIN, stored_prefix
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import InputError
from docclf_cli.results.predictions import Predictions

logger = logging.getLogger("docclf")


def kept(member: TrainedModel, split: str, view: str = PLAIN) -> Predictions | None:
    """The newest predictions that a member's checkpoints made for pages of a split in a view; None unless all did.

    Those in the number format that a checkpoint is to predict with come first; others are named.
    """
    found = [next(_stored(info, split, view), None) for info in member.checkpoints]
    complete = [one for one in found if one is not None]
    return merge_checkpoints(member, split, complete) if len(complete) == len(found) else None


def _stored(info: CheckpointInfo, split: str, view: str) -> Iterator[Predictions]:
    files = (info.path.parent / "predictions").glob(f"{stored_prefix(split, view)}-*.npz")
    others = []
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            found = Predictions.load(path)
        except InputError as error:
            logger.warning("%s", error.message)
            continue
        if (found.fingerprint.get("checkpoint"), found.fingerprint.get("view")) != (info.sha256, view):
            continue
        if found.fingerprint.get("precision") == info.precision:
            yield found
        else:
            others.append((path, found))
    for path, found in others:
        logger.warning(
            "%s was computed in %s, and this checkpoint predicts in %s",
            path,
            found.fingerprint.get("precision"),
            info.precision,
        )
        yield found
