"""What several processes do together is what one does: every page once, in its place."""

import multiprocessing
import os
import socket
from typing import Any

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
        components = distributed.shards(rows, processes)
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
            grid = ShardPlan.of(np.array([pages]), batch_size)
            made = [part for share in distributed.shards(np.arange(grid.shards), processes) for part in share]
            assert sorted(page for part in made for page in grid.numbers(part)) == list(range(pages))


@given(st.lists(st.floats(-1e6, 1e6), max_size=3))
def test_one_process_needs_nobody(values: list[float]) -> None:
    assert distributed.all_reduce_sum(*values) == values
    assert distributed.all_gather(values) == [values]
    assert distributed.broadcast(values) is values
    assert distributed.on_main(lambda: values) is values
    assert (distributed.rank(), distributed.world_size(), distributed.is_main_process()) == (0, 1, True)
    stop = StopFlag()
    distributed.raise_if_set(stop, "stopped")
    stop.signal_number = 15
    with pytest.raises(Interrupted):
        distributed.raise_if_set(stop, "stopped")


def test_a_signal_that_comes_while_the_others_are_asked_is_told_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = StopFlag()

    def all_reduce(flags: torch.Tensor, **_: object) -> None:
        stop.signal_number = 15  # the others, who have not heard of it, would wait for this process in vain

    monkeypatch.setattr(distributed._group, "objects", object())
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    distributed.raise_if_set(stop, "stopped")
    with pytest.raises(Interrupted):
        distributed.raise_if_set(stop, "stopped")


def _refuse() -> None:
    raise InputError(f"rank {distributed.rank()} refuses")


def _as_rank(rank: int, port: int, raises: dict[int, BaseException], results: Any) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}

    def command() -> None:
        numbers = distributed.all_gather(rank)
        if rank in raises:
            raise raises[rank]
        try:
            distributed.on_main(_refuse)
        except InputError as error:  # raised on all ranks, so all of them may go on
            results.put((rank, numbers, distributed.on_main(distributed.rank), error.message))
        distributed.barrier()

    with distributed.process_group():
        try:
            distributed.run_command(command)
        except BaseException as error:
            results.put((rank, type(error), str(error)))


def _as_three(raises: dict[int, BaseException]) -> dict[int, list[tuple[Any, ...]]]:
    """What three processes say that run a command in which some of them fail, by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_as_rank, args=(rank, port, raises, results)) for rank in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    said: dict[int, list[tuple[Any, ...]]] = {rank: [] for rank in range(3)}
    while not results.empty():
        rank, *rest = results.get()
        said[rank].append(tuple(rest))
    return said


def test_every_rank_has_the_values_of_all_and_the_result_of_rank_0() -> None:
    assert _as_three({}) == {rank: [([0, 1, 2], 0, "rank 0 refuses")] for rank in range(3)}


@pytest.mark.parametrize("failing", range(3))
def test_what_one_rank_raises_all_raise(failing: int) -> None:
    expected = {rank: [(InputError, "no such page")] for rank in range(3)}
    assert _as_three({failing: InputError("no such page", "name another")}) == expected


def test_an_unexpected_error_of_one_rank_is_named_on_the_others() -> None:
    said = _as_three({2: ZeroDivisionError("by zero")})
    assert said[2] == [(ZeroDivisionError, "by zero")]
    assert said[0] == said[1] == [(RuntimeError, "ZeroDivisionError: by zero")]
