"""What several processes do together is what one does: every page once, in its place."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from docclf_cli.data.loading.datasets import EpochBatches
from docclf_cli.engine.runtime import distributed
from docclf_cli.errors import InputError, Interrupted
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.predict.shards import ShardPlan

WORLDS = range(1, 5)


@pytest.mark.parametrize("processes", WORLDS)
def test_each_row_is_looked_at_once_and_comes_back_to_its_place(processes: int) -> None:
    for count in range(1, 41):
        rows = np.random.default_rng(count).permutation(count)
        components = distributed.shares(rows, processes)
        assert sorted(np.concatenate(components)) == list(range(count))
        assert max(map(len, components)) - min(map(len, components)) <= 1
        assert (distributed.interleaved(components) == rows).all()
        pairs = [np.stack([part, part * 2], axis=1) for part in components]
        assert (distributed.interleaved(pairs) == np.stack([rows, rows * 2], axis=1)).all()


@pytest.mark.parametrize("processes", WORLDS)
def test_global_batches_and_steps_are_those_of_one_process(processes: int) -> None:
    for count in range(1, 41):
        for batch_size in range(1, 13):
            for accumulate in {1, min(2, batch_size)}:
                alone, *_ = _batches(count, batch_size, accumulate, 1)
                ranks = _batches(count, batch_size, accumulate, processes)
                assert all(one.steps == alone.steps and len(one) == len(alone) for one in ranks)
                smallest = min(count, batch_size)
                for whole, *shares in zip(alone, *ranks, strict=True):
                    smallest = min(smallest, *map(len, shares))
                    assert sorted(pair for share in shares for pair in share) == sorted(whole)
                assert smallest == ranks[0].smallest_share


def _batches(count: int, batch_size: int, accumulate: int, processes: int) -> list[EpochBatches]:
    return [EpochBatches(count, batch_size, accumulate, 7, rank, processes) for rank in range(processes)]


@pytest.mark.parametrize("processes", WORLDS)
def test_every_part_of_a_grid_is_made_once(processes: int) -> None:
    for pages in range(1, 41):
        for batch_size in range(1, 6):
            grid = ShardPlan(pages, batch_size)
            made = [part for share in distributed.shares(np.arange(grid.shards), processes) for part in share]
            assert sorted(page for part in made for page in grid.numbers(part)) == list(range(pages))


@given(st.lists(st.floats(-1e6, 1e6), max_size=3))
def test_one_process_needs_nobody(values: list[float]) -> None:
    assert distributed.totals(*values) == values
    assert distributed.together(lambda: values) == [values]
    assert distributed.share(values) is values
    assert (distributed.rank(), distributed.world_size(), distributed.is_leader()) == (0, 1, True)
    stop = StopFlag()
    distributed.raise_if_set(stop, "stopped")
    stop.signal_number = 15
    with pytest.raises(Interrupted):
        distributed.raise_if_set(stop, "stopped")


def test_a_signal_that_comes_while_the_others_are_asked_is_told_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = StopFlag()

    def all_reduce(flags: torch.Tensor, **_: object) -> None:
        stop.signal_number = 15  # the others, who have not heard of it, would wait for this process in vain

    monkeypatch.setattr(distributed.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed.dist, "all_reduce", all_reduce)
    distributed.raise_if_set(stop, "stopped")
    with pytest.raises(Interrupted):
        distributed.raise_if_set(stop, "stopped")


def test_an_error_of_ones_own_is_raised_as_it_is() -> None:
    def fail() -> None:
        raise InputError("no such page")

    with pytest.raises(InputError, match="no such page"):
        distributed.together(fail)
