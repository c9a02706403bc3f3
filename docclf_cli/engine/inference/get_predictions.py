"""Gets predictions: stored ones where they are fresh, else new ones. Imports torch only for the latter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from docclf_cli.data.loading.cache import identities
from docclf_cli.engine.inference.requests import PredictionRequest
from docclf_cli.engine.inference.store import fingerprint, load_stored, pages_fingerprint
from docclf_cli.engine.runtime import distributed
from docclf_cli.events import Emit, silent
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.stop import NEVER, StopFlag

if TYPE_CHECKING:
    from docclf_cli.engine.checkpoints.info import CheckpointInfo
    from docclf_cli.results.predictions import Predictions


def get_predictions(
    requests: Sequence[PredictionRequest],
    *,
    runtime_config: RuntimeConfig | None = None,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> list[Predictions]:
    """Return the predictions of each request, in their order.

    Args:
        requests: What to predict; every page is read once for all requests whose preprocessing gives the same pixels.
        runtime_config: Device and numerics; `auto` is the number format that each checkpoint is to predict with.
        emit: Consumer of progress events.
        stop: Polled between batches.

    Raises:
        Interrupted: `stop` was set; what is finished is stored.
    """
    runtime_config = runtime_config or RuntimeConfig()
    found = distributed.on_main(lambda: _find_stored(requests, runtime_config))
    missing = [number for number, predictions in enumerate(found) if predictions is None]
    if missing:
        from docclf_cli.engine.inference.run_inference import run_requests

        made = run_requests([requests[number] for number in missing], runtime_config, emit, stop)
        for number, predictions in zip(missing, made, strict=True):
            found[number] = predictions
    return [predictions for predictions in found if predictions is not None]


def _find_stored(requests: Sequence[PredictionRequest], runtime_config: RuntimeConfig) -> list[Predictions | None]:
    """The stored predictions of each request; None where there are none, or older ones."""
    asked = runtime_config.inference_precision
    files: dict[int, np.ndarray] = {}
    found: list[Predictions | None] = []
    for one in requests:
        if id(one.index) not in files:  # for many requests of a million pages each file is looked at once
            files[id(one.index)] = np.array(identities(one.index), dtype=object)
        pages = pages_fingerprint(one.index.take(one.rows), one.data, files[id(one.index)][one.rows].tolist())
        for precision in [asked] if asked != "auto" else _own_precisions(one.info, runtime_config):
            made_by = fingerprint(one.info.sha256, pages, one.view.name, precision)
            if (stored := load_stored(one.info.path, one.split, made_by, one.index.take(one.rows))) is not None:
                break
        found.append(stored)
    return found


def _own_precisions(info: CheckpointInfo, config: RuntimeConfig) -> Iterator[str]:
    """The number format that a checkpoint is to predict with; where this machine lacks it, also the one used instead."""
    yield info.precision
    if info.precision != "fp32":
        from docclf_cli.engine.runtime.device import resolve_runtime
        from docclf_cli.engine.runtime.numerics import precision_here

        here = precision_here(info.precision, resolve_runtime(config).device)
        if here != info.precision:
            yield here
