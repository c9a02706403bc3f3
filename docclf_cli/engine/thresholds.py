"""The confidence from which on a model's predictions are trusted, from the pages that it held out."""

from __future__ import annotations

from pathlib import Path

from docclf_cli.engine.store import PLAIN
from docclf_cli.errors import InputError
from docclf_cli.files import sha256_of
from docclf_cli.metrics.thresholds import find_threshold
from docclf_cli.results.predictions import Predictions


def held_out(checkpoint: Path) -> Predictions:
    """Predictions of a checkpoint for the pages that its training held out, as they are stored beside it.

    Raises:
        InputError: There are none.
    """
    own = sha256_of(checkpoint)
    for path in sorted((checkpoint.parent / "predictions").glob("val-*.npz")):
        found = Predictions.load(path)
        if found.fingerprint.get("checkpoint") == own and found.fingerprint.get("view") == PLAIN:
            return found
    raise InputError(
        f"{checkpoint}: no predictions of held-out pages beside it, so no threshold is known",
        f"make them: docclf evaluate --checkpoint {checkpoint.parent}; or name one with --min-confidence",
    )


def threshold_value(pages: Predictions, target_precision: float, temperature: float) -> float:
    """The least confidence at which held-out pages show this precision.

    Raises:
        InputError: No confidence does.
    """
    found = find_threshold(pages, target_precision, temperature=temperature)
    if found.value is None:
        more = f"about {found.more_pages} more would do" if found.more_pages else "no number of such pages would do"
        raise InputError(
            f"the {found.pages} held-out pages show no confidence that is right in {target_precision:g} of the cases",
            f"{more}; ask for less, or name a confidence with --min-confidence",
        )
    return found.value
