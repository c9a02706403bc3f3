"""The confidence from which on a member's predictions are trusted, from the pages that it held out."""

from __future__ import annotations

from docclf_cli.engine.events import Emit
from docclf_cli.engine.facts import CheckpointFacts
from docclf_cli.engine.members import Member, as_one, predictions_of
from docclf_cli.engine.stop import StopFlag
from docclf_cli.engine.store import PLAIN
from docclf_cli.errors import InputError
from docclf_cli.metrics.thresholds import find_threshold
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.predictions import Predictions


def trusted_from(
    member: Member, target_precision: float, runtime_config: RuntimeConfig, emit: Emit, stop: StopFlag
) -> float:
    """The least confidence at which the pages that a member held out show this precision.

    Raises:
        InputError: No confidence does, or no predictions of these pages are there nor can be made.
    """
    pages = held_out(member, runtime_config, emit, stop)
    found = find_threshold(pages, target_precision, temperature=member.temperature)
    if found.value is None:
        more = f"about {found.more_pages} more would do" if found.more_pages else "no number of such pages would do"
        raise InputError(
            f"the {found.pages} held-out pages show no confidence that is right in {target_precision:g} of the cases",
            f"{more}; ask for less, or name a confidence with --min-confidence",
        )
    return found.value


def held_out(member: Member, runtime_config: RuntimeConfig, emit: Emit, stop: StopFlag) -> Predictions:
    """What a member says about the pages it held out: as stored beside it, which needs no data; else made now.

    Raises:
        InputError: Neither is possible.
    """
    stored = [one for facts in member.checkpoints if (one := _stored(facts)) is not None]
    if len(stored) == len(member.checkpoints):
        return as_one(member, "val", stored)
    try:
        return predictions_of(member, "val", runtime_config=runtime_config, emit=emit, stop=stop)
    except InputError as error:
        raise InputError(
            f"no threshold is known: {error.message}", "name one with --min-confidence, or take the run with its split"
        ) from error


def _stored(facts: CheckpointFacts) -> Predictions | None:
    for path in sorted((facts.path.parent / "predictions").glob("val-*.npz")):
        found = Predictions.load(path)
        if found.fingerprint.get("checkpoint") == facts.sha256 and found.fingerprint.get("view") == PLAIN:
            return found
    return None
