"""The grid of parts, and what is kept of interrupted work."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docclf_cli.errors import ResourceError
from docclf_cli.tasks.predict.shards import Shard, ShardPlan, ShardStore


def shard(pages: int) -> Shard:
    unknown, leading = np.zeros(pages, np.float32), np.zeros((pages, 3), np.float32)
    orientations = np.full(pages, -1, np.int8)
    return Shard(np.zeros((pages, 2), np.float32), unknown, leading, orientations, np.array([""] * pages))


@given(pages=st.integers(0, 5000), batch_size=st.integers(1, 70), ranks=st.integers(1, 4))
def test_every_page_is_in_one_batch_of_one_part_of_one_rank(pages: int, batch_size: int, ranks: int) -> None:
    plan = ShardPlan.of(np.array([pages]), batch_size)
    shards = range(plan.shards)
    assert sorted(itertools.chain.from_iterable(shards[rank::ranks] for rank in range(ranks))) == list(shards)
    batches = [batch for part in shards for batch in plan.batches(part)]
    assert [number for batch in batches for number in batch] == list(range(pages))
    assert all(batch.start % batch_size == 0 and 0 < len(batch) <= batch_size for batch in batches)
    assert all(len(batch) == batch_size for batch in batches[:-1])


def test_parts_are_kept_for_the_same_settings_and_for_no_others(tmp_path: Path) -> None:
    shards, plan = ShardStore(tmp_path / "parts"), ShardPlan.of(np.array([100]), 8)
    shards.open({"inputs": "a", "views": ["x"]})
    assert shards.missing(plan) == [0, 1]
    shards.write(1, shard(36))
    assert shards.missing(plan) == [0]
    read = shards.read(1)
    assert (read.log_probs.shape, read.unknown.shape, read.leading.shape) == ((36, 2), (36,), (36, 3))
    assert read.reasons.tolist() == [""] * 36
    again = ShardStore(tmp_path / "parts")
    again.open({"inputs": "a", "views": ["x"]})
    assert again.missing(plan) == [0]
    again.open({"inputs": "b", "views": ["x"]})
    assert again.missing(plan) == [0, 1]


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    shards = ShardStore(tmp_path / "parts")
    shards.open({"inputs": "a"})
    shards.write(0, shard(1))
    (path,) = (tmp_path / "parts").glob("part-*")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ResourceError, match=r"part-0000000\.npz: damaged"):
        shards.read(0)
