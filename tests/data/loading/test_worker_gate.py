"""Workers of a gated loader work only while the model waits."""

import multiprocessing
import time

import pytest
from torch.utils.data import Dataset

from docclf_cli.data.loading import worker_gate
from docclf_cli.data.loading.data_loader import data_loader
from docclf_cli.data.loading.worker_gate import Loader
from docclf_cli.data.loading.worker_pool import start_method

WORKERS = 2
BATCHES = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]


class Counted(Dataset[int]):
    """Numbers, and how many of them were asked for by all processes together."""

    def __init__(self) -> None:
        self.asked = multiprocessing.get_context(start_method()).Value("i", 0)

    def __getitem__(self, key: int) -> int:
        with self.asked.get_lock():
            self.asked.value += 1
        return key


def _list(samples: list[int]) -> list[int]:
    return samples


def _loader(dataset: Counted) -> Loader:
    return data_loader(dataset, BATCHES, workers=WORKERS, collate=_list, persistent=True, gated=True)


def _asked_for(dataset: Counted, expected: int) -> int:
    """How many were asked for, a moment after the expected ones were."""
    deadline = time.monotonic() + 10
    while dataset.asked.value < expected and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    return dataset.asked.value


def test_each_process_makes_one_batch_and_rests_until_the_next_round() -> None:
    dataset = Counted()
    loader = _loader(dataset)
    for _ in range(2):  # epochs
        before, batches = dataset.asked.value, iter(loader)
        assert next(batches) == BATCHES[0]
        assert _asked_for(dataset, before + 4) == before + 4
        assert next(batches) == BATCHES[1]
        assert _asked_for(dataset, before + 4) == before + 4
        assert next(batches) == BATCHES[2]
        assert _asked_for(dataset, before + 8) == before + 8
        assert list(batches) == BATCHES[3:]
        assert dataset.asked.value - before == 10


def test_a_process_that_was_kept_waiting_too_long_goes_on_and_then_obeys_the_gate() -> None:
    dataset = Counted()
    batches = iter(_loader(dataset))
    next(batches)
    assert _asked_for(dataset, 4) == 4
    next(batches)
    assert _asked_for(dataset, 8) == 8  # past the gate
    next(batches)
    next(batches)
    assert _asked_for(dataset, 8) == 8


def test_nobody_waits_for_the_next_round_of_an_epoch_that_was_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_gate, "_PATIENCE", 60.0)
    dataset = Counted()
    batches = iter(_loader(dataset))
    next(batches)
    assert _asked_for(dataset, 4) == 4
    batches.close()  # type: ignore[attr-defined]  # the epoch is a generator
    assert _asked_for(dataset, 6) == 6  # what was asked for already
