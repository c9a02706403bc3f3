"""Loader processes neither fill shared memory nor leave the main process waiting."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from tiny import PLAIN, draw_pages
from torch.utils.data import Dataset

from docclf_cli.data.loading import batch as batch_module
from docclf_cli.data.loading import data_loader as module
from docclf_cli.data.loading.data_loader import ProcessLoader, data_loader
from docclf_cli.data.loading.worker_pool import start_method
from docclf_cli.errors import Interrupted, as_resource_error, is_dead_worker
from docclf_cli.stop import StopFlag

KEYS = [[0, 1], [2, 3], [4]]
forked = pytest.mark.skipif(start_method() != "fork", reason="what is patched must reach the processes")


class Noise(Dataset[Any]):
    """Pages of noise by number, each as two inputs, the second of two views."""

    def __getitem__(self, key: int) -> tuple[tuple[np.ndarray, ...], int, int]:
        page = np.random.default_rng(key).integers(0, 256, (40, 30, 3), dtype=np.uint8)
        return (page[None], np.stack([page, page + 1])), key % 2, key


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    monkeypatch.setattr("logging.Logger.propagate", True, raising=False)
    batch_module._say_once.cache_clear()
    return lambda: [record.getMessage() for record in caplog.records if "too small" in record.getMessage()]


@forked
@pytest.mark.parametrize("free", [0.0, float("inf")])
def test_batches_are_the_same_whichever_way_they_come(
    free: float, monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    monkeypatch.setattr(batch_module, "free_shared_memory", lambda: free)
    for one, other in zip(data_loader(Noise(), KEYS, workers=2), data_loader(Noise(), KEYS), strict=True):
        assert [len(images) for images in one.images] == [len(one.rows), 2 * len(one.rows)]
        for images, others in zip(one.images, other.images, strict=True):
            assert images.is_shared() == bool(free)
            assert (images == others).all()
            assert images.stride() == others.stride()
        assert one.rows.tolist() == other.rows.tolist()
        assert one.targets.tolist() == other.targets.tolist()
    assert len(warnings()) == (0 if free else 1)


@forked
def test_memory_that_another_took_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only one attempt fails in each process: every failure would leave a file and a handle behind."""

    failed = tmp_path / "failed"

    def full(images: torch.Tensor) -> torch.Tensor:
        if failed.exists():
            os._exit(1)
        failed.touch()
        raise RuntimeError("unable to allocate shared memory(shm) for file")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    assert [batch.rows.tolist() for batch in data_loader(Noise(), KEYS, workers=1)] == KEYS
    assert failed.exists()


def _unsendable(samples: list[Any]) -> Any:
    return lambda: samples


def test_a_batch_that_cannot_be_sent_ends_the_loader_instead_of_being_waited_for(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(RuntimeError) as error:
        next(iter(data_loader(Noise(), KEYS, workers=2, collate=_unsendable)))
    assert is_dead_worker(error.value)
    assert as_resource_error(error.value) is not None
    assert "Traceback" not in capfd.readouterr().err


class Stuck(Dataset[Any]):
    """A page that never comes, as from a network folder whose server has gone."""

    def __getitem__(self, key: int) -> Any:
        time.sleep(1000)


def test_one_signal_ends_the_wait_for_a_page_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAIT_SECONDS", 0.2)
    stop = StopFlag()
    batches = iter(data_loader(Stuck(), KEYS, workers=1, on_wait=stop.check_while_waiting))
    stop.signal_number = signal.SIGINT
    try:
        with pytest.raises(Interrupted) as interrupted:
            next(batches)
    finally:
        for process in module.multiprocessing.active_children():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            process.kill()
    assert interrupted.value.exit_code == 130


class Deadly(Noise):
    """Of which one page ends its process."""

    def __getitem__(self, key: int) -> tuple[tuple[np.ndarray, ...], int, int]:
        if key == 2:
            os._exit(1)
        return super().__getitem__(key)


def test_pages_are_read_one_by_one_past_one_that_ends_its_process() -> None:
    read = list(module.read_one_by_one(Deadly(), range(5)))
    assert [key for key, _ in read] == list(range(5))
    assert [sample is None for _, sample in read] == [False, False, True, False, False]
    assert [sample[2] for _, sample in read if sample is not None] == [0, 1, 3, 4]


def test_a_slow_page_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Noise):
        def __getitem__(self, key: int) -> tuple[tuple[np.ndarray, ...], int, int]:
            time.sleep(0.3)
            return super().__getitem__(key)

    monkeypatch.setattr(module, "_WAIT_SECONDS", 0.05)
    assert [batch.rows.tolist() for batch in data_loader(Slow(), KEYS, workers=1)] == KEYS


SMALL = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="needs a /dev/shm of its own",
)


def test_no_processes_without_room_for_their_semaphores(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, expected in ((0.0, False), (float("inf"), True)):
        monkeypatch.setattr(module, "free_shared_memory", lambda free=free: free)
        assert module.processes_can_talk.__wrapped__() is expected


@SMALL
@pytest.mark.slow
@pytest.mark.parametrize(("options", "told"), [("size=4m", "is too small"), ("size=64m,ro", "no loader processes")])
def test_train_with_little_shared_memory_or_none(tmp_path: Path, cache_home: Path, options: str, told: str) -> None:
    draw_pages(tmp_path / "data", 9)
    mount = f'mount -t tmpfs -o {options} tmpfs /dev/shm; exec "$@"'
    done = subprocess.run(
        [
            "unshare", "-m", "bash", "-c", mount, "x", sys.executable, "-m", "docclf_cli", "train", "--data", "data",
            "--profile", "config", "--model", "test_resnet", "--no-pretrained", "--image-size", "64", "--batch-size", "4", "--epochs", "1",
            "--set", "data.cache=off", "--set", "tracking.backend=none", "--set", "runtime.workers=2",
            "--set", "data.degraded_validation=false",
            *(text for key, value in PLAIN.items() for text in ("--set", f"{key}={value}")),
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=280,
        env={**os.environ, "XDG_CACHE_HOME": str(cache_home), "PYTHONPATH": str(Path(module.__file__).parents[3])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if told in line]) == 1, done.stderr


def test_a_process_that_dies_while_it_hands_over_a_batch_is_named() -> None:
    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()

    class Batches:
        _workers = (process,)

        def __next__(self) -> None:
            raise ConnectionResetError(104, "Connection reset by peer")

    with pytest.raises(RuntimeError, match=f"{process.pid}") as error:
        list(ProcessLoader(cast(Any, None))._watched(cast(Any, Batches())))
    assert is_dead_worker(error.value)
