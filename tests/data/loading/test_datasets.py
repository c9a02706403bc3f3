"""Order, batches and pages are functions of (seed, epoch, row)."""

import itertools
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from docclf_cli.data.images.augmentation import Policy
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.index import load_index
from docclf_cli.data.loading.batch import Sample
from docclf_cli.data.loading.cache import open_or_build
from docclf_cli.data.loading.data_loader import data_loader
from docclf_cli.data.loading.datasets import (
    EpochBatches,
    InferenceDataset,
    Mixing,
    ModelInput,
    TrainingDataset,
    cut,
    epoch_order,
)
from docclf_cli.data.loading.pages import Pages
from docclf_cli.data.samples.samples import render_samples
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import DataConfig


@given(st.integers(1, 40), st.integers(1, 4), st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2]))
def test_ranks_and_micro_batches_share_each_global_batch_exactly(
    count: int, world_size: int, batch_size: int, accumulate: int
) -> None:
    if batch_size % accumulate:
        return
    ranks = [EpochBatches(count, batch_size, accumulate, 0, rank, world_size) for rank in range(world_size)]
    for batches in ranks:
        batches.start(3)
    shown = sorted(position for batches in ranks for micro in batches for _, position in micro)
    assert len(shown) == len(set(shown)) == min(count, ranks[0].steps * batch_size)


def test_going_on_inside_an_epoch_shows_the_batches_that_were_left() -> None:
    batches = EpochBatches(50, 8, 2, seed=1)
    batches.start(2)
    whole = list(batches)
    batches.start(2, first_step=4)
    assert list(batches) == whole[8:]
    assert len(batches) == len(whole) - 8


def test_order_depends_on_seed_and_epoch_alone() -> None:
    assert (epoch_order(0, 1, 30) == epoch_order(0, 1, 30)).all()
    assert (epoch_order(0, 1, 30) != epoch_order(0, 2, 30)).any()
    assert (epoch_order(0, 1, 30) != epoch_order(1, 1, 30)).any()
    assert sorted(epoch_order(0, 1, 30)) == list(range(30))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    root = render_samples(tmp_path_factory.mktemp("samples") / "data", pages_per_class=3, test_pages_per_class=1)
    config = DataConfig(root=str(root))
    return Pages(load_index(config, "train"), Preprocess(64), config)


@pytest.fixture
def cached(pages: Pages, tmp_path: Path) -> Pages:
    config = pages.config.model_copy(update={"cache": str(tmp_path / "cache")})
    cache = open_or_build(pages.index, pages.preprocess, config, workers=2)
    assert cache is not None
    return Pages(pages.index, pages.preprocess, config, cache)


def test_a_thread_reads_cached_pages_as_processes_read_files(pages: Pages, cached: Pages) -> None:
    rows = [5, 2, 9, 0, 7]
    by_processes, by_thread = (
        data_loader(InferenceDataset((ModelInput(source),), pages.index.labels), cut(rows, 2), workers=2)
        for source in (pages, cached)
    )
    assert [loader.num_workers for loader in (by_processes, by_thread)] == [2, 0]
    for _ in range(2):
        for one, other in zip(by_processes, by_thread, strict=True):
            (images,), (others,) = one.images, other.images
            assert (images == others).all()
            assert images.stride() == others.stride()
            assert one.targets.tolist() == other.targets.tolist()
            assert one.rows.tolist() == other.rows.tolist()


def test_the_thread_reads_a_little_ahead_and_ends_with_its_reader(cached: Pages) -> None:
    class Counted(InferenceDataset):
        read = 0

        def __getitem__(self, row: int) -> Sample:
            self.read += 1
            return super().__getitem__(row)

    dataset = Counted((ModelInput(cached),))
    batches = iter(data_loader(dataset, cut(range(20), 1)))
    next(batches)
    time.sleep(0.2)
    assert 1 < dataset.read <= 3
    batches.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("docclf-reader")]


def test_what_fails_in_the_thread_fails_in_its_reader(cached: Pages) -> None:
    batches = iter(data_loader(InferenceDataset((ModelInput(cached),)), [[0], [10**6]]))
    next(batches)
    with pytest.raises(IndexError):
        next(batches)


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_neither_cache_nor_workers_change_a_batch(pages: Pages, cached: Pages, mixup: float) -> None:
    augmentation = load_profile("config", options={"augmentation": "rough"}).profile.augmentation
    index = pages.index
    mixing = Mixing(mixup, 0.0, 1.0, len(index.class_names))

    def batches(pages: Pages, workers: int, gated: bool) -> list[tuple[np.ndarray, np.ndarray]]:
        dataset = TrainingDataset(
            pages, np.arange(len(index)), index.labels, Policy.from_config(augmentation), mixing, seed=5
        )
        plan = EpochBatches(len(index), 8, 1, seed=5)
        plan.start(1)
        loader = data_loader(dataset, plan, workers=workers, persistent=True, gated=gated)
        return [(batch.images[0].numpy(), batch.targets.numpy()) for batch in loader]

    plain = batches(pages, 0, False)
    assert len(plain) == 3
    for source, workers, gated in itertools.product((pages, cached), (0, 1, 4), (False, True)):
        for (images, targets), (others, answers) in zip(plain, batches(source, workers, gated), strict=True):
            assert (images == others).all()
            assert (targets == answers).all()
