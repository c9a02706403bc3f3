"""What goes wrong while a run trains: numbers, memory, processes, disk. Everything earlier stays, and is named."""

import contextlib
import errno
import logging
import multiprocessing
import os
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_files import contents, differing
from tiny import draw_pages, no_plots, tiny_profile

from docclf_cli import files
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.predictor import Network
from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.engine.runtime.nan_guard import StepMetrics
from docclf_cli.engine.training import trainer as loop
from docclf_cli.errors import DivergedError, InputError, Interrupted, ResourceError, as_resource_error, is_out_of_memory
from docclf_cli.events import Event, StepDone
from docclf_cli.files import TEMP_PREFIX
from docclf_cli.profile.schema import Profile
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.train import train

Make = Callable[..., Profile]
__all__ = ["no_plots"]
pytestmark = pytest.mark.usefixtures("no_plots")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 10)


@pytest.fixture
def make(pages: Path, tmp_path: Path) -> Make:
    return lambda **options: tiny_profile(pages, tmp_path / "runs", **{"name": "a", **options})


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "a")


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[loop.Trainer], None]], None]:
    """Do something to the trainer after the backward pass of one step."""

    def arrange(step: int, harm: Callable[[loop.Trainer], None]) -> None:
        original = loop.Trainer._backward

        def backward(self: loop.Trainer, batch: object, micro: int, total: float) -> torch.Tensor:
            loss = original(self, batch, micro, total)  # type: ignore[arg-type]
            if self.global_step == step:
                harm(self)
            return loss

        monkeypatch.setattr(loop.Trainer, "_backward", backward)

    return arrange


@pytest.fixture
def nan_at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the model see not-a-number in one step, which reaches its batch norms as well."""

    def arrange(step: int) -> None:
        original, calls = loop.normalise, [0]

        def normalise(images: torch.Tensor, preprocess: Preprocess, runtime: Runtime) -> torch.Tensor:
            found = original(images, preprocess, runtime)
            calls[0] += 1
            return found * torch.nan if calls[0] == step + 1 else found

        monkeypatch.setattr(loop, "normalise", normalise)

    return arrange


def all_finite(run: RunFolder) -> None:
    """Loading a checkpoint looks at its weights; the average is part of the training state."""
    for path in [run.best, run.last, *run.snapshots()]:
        checkpoint = Checkpoint.load(path)
        for name, tensor in (checkpoint.training.get("ema") or {}).items():
            assert not tensor.is_floating_point() or torch.isfinite(tensor).all(), name


class TestNumbers:
    def test_a_step_that_is_not_a_number_leaves_no_trace(
        self, make: Make, run: RunFolder, nan_at_step: Callable[[int], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING, "docclf")
        nan_at_step(3)
        train(make(train__nan_tolerance=1, train__checkpoint_every__steps=1))
        assert "the loss became nan in epoch 1, step 4" in caplog.text
        assert Checkpoint.load(run.last).training["state"]["skipped"] == 1
        all_finite(run)

    def test_one_too_many_ends_the_run_and_names_the_pages(
        self, make: Make, run: RunFolder, nan_at_step: Callable[[int], None]
    ) -> None:
        nan_at_step(3)
        steps: list[int] = []
        with pytest.raises(DivergedError) as diverged:
            train(
                make(train__checkpoint_every__steps=1),
                emit=lambda event: steps.append(event.step) if isinstance(event, StepDone) else None,
            )
        assert diverged.value.exit_code == 7
        named = diverged.value.message.partition("pages of that batch: ")[2].split(", ")
        assert len(named) == 4
        assert all(name.endswith(".png") for name in named)
        assert steps[-1] == 3
        assert Checkpoint.load(run.last).training["state"]["step"] == 3
        assert run.read_state()["status"] == "failed"

    def test_an_infinite_gradient_of_a_finite_loss_is_skipped(
        self, make: Make, run: RunFolder, at_step: Callable[[int, Callable[[loop.Trainer], None]], None]
    ) -> None:
        at_step(2, lambda trainer: next(trainer.components.model.parameters()).grad.fill_(torch.inf))  # type: ignore[union-attr]
        with pytest.raises(DivergedError, match="norm of the gradient became inf in epoch 1, step 3"):
            train(make(train__clip_grad=None))
        train(make(train__clip_grad=None, train__nan_tolerance=1, name="b"))
        all_finite(RunFolder(run.path.with_name("b")))

    def test_a_scaled_loss_goes_on_after_a_step_that_is_left_out(
        self, make: Make, run: RunFolder, nan_at_step: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = torch.amp.GradScaler
        monkeypatch.setattr(torch.amp, "GradScaler", lambda device, enabled: plain(device, init_scale=1024.0))
        nan_at_step(3)
        train(make(train__nan_tolerance=1, train__checkpoint_every__steps=1))
        training = Checkpoint.load(run.last).training
        assert training["state"]["skipped"] == 1
        assert training["scaler"]["scale"] == 512.0
        all_finite(run)

    def test_weights_that_overflow_are_never_saved(
        self, make: Make, run: RunFolder, at_step: Callable[[int, Callable[[loop.Trainer], None]], None]
    ) -> None:
        def overflow(trainer: loop.Trainer) -> None:
            with torch.no_grad():
                next(iter(trainer.components.model.parameters()))[0] = torch.inf

        at_step(2, overflow)
        with pytest.raises(DivergedError, match=r"last\.ckpt is not written"):
            train(make(train__checkpoint_every__steps=1, train__ema=None))
        assert Checkpoint.load(run.last).training["state"]["step"] == 2

    def test_weights_are_looked_at_before_they_are_validated(
        self, make: Make, at_step: Callable[[int, Callable[[loop.Trainer], None]], None]
    ) -> None:
        def overflow(trainer: loop.Trainer) -> None:
            with torch.no_grad():
                trainer.components.model.get_classifier().weight.fill_(torch.nan)  # type: ignore[operator]

        at_step(3, overflow)
        with pytest.raises(DivergedError, match="became NaN or infinite in epoch 1"):
            train(make(train__ema=None))


class TestAhead:
    """A GPU is given the next step before the metrics of the last one have been read; here a CPU is treated so."""

    @pytest.fixture
    def ahead(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
        """What happens in which order: a step is put to work, or its metrics are read."""
        order: list[tuple[str, int]] = []

        class Late(StepMetrics):
            def __init__(self, values: torch.Tensor, step: int, weight: float, rows: Sequence[np.ndarray]) -> None:
                super().__init__(values, step, weight, rows)
                order.append(("queued", step))

            def read(self) -> list[float]:
                order.append(("read", self.step))
                return super().read()

        original = loop.Trainer.__init__

        def start(self: loop.Trainer, *args: Any) -> None:
            original(self, *args)
            self.runs_ahead = True

        monkeypatch.setattr(loop, "StepMetrics", Late)
        monkeypatch.setattr(loop.Trainer, "__init__", start)
        return order

    def test_metrics_are_read_a_step_late_and_all_before_an_epoch_ends(
        self, make: Make, ahead: list[tuple[str, int]]
    ) -> None:
        train(make())
        assert ahead[:10] == [
            ("queued", 1), ("read", 1),  # there was no loss yet to show
            ("queued", 2), ("queued", 3), ("read", 2), ("queued", 4), ("read", 3), ("read", 4),
            ("queued", 5), ("queued", 6),
        ]  # fmt: skip
        assert ahead[-1] == ("read", 12)

    def test_nothing_else_is_different(self, make: Make, run: RunFolder, request: pytest.FixtureRequest) -> None:
        every = {"train__checkpoint_every__steps": 3}
        train(make(name="plain", **every))
        request.getfixturevalue("ahead")
        train(make(**every))
        assert differing(contents(run.path), contents(run.path.with_name("plain"))) == []

    def test_a_run_that_is_stopped_half_way_goes_on_to_the_same_end(
        self, make: Make, run: RunFolder, request: pytest.FixtureRequest
    ) -> None:
        train(make(name="plain"))
        request.getfixturevalue("ahead")
        stop = StopFlag()

        def stop_after(event: Event) -> None:
            if isinstance(event, StepDone) and event.step == 6:
                stop.signal_number = 15

        with pytest.raises(Interrupted):
            train(make(), emit=stop_after, stop=stop)
        train(make(), resume=run.path)
        assert differing(contents(run.path), contents(run.path.with_name("plain"))) == []

    @pytest.mark.usefixtures("ahead")
    @pytest.mark.parametrize("saves", [True, False])
    def test_a_fault_is_told_of_the_step_it_was_in_and_never_saved(
        self, make: Make, run: RunFolder, nan_at_step: Callable[[int], None], saves: bool
    ) -> None:
        nan_at_step(2)
        with pytest.raises(DivergedError, match="the loss became nan in epoch 1, step 3; pages of that batch: "):
            train(make(train__checkpoint_every__steps=1 if saves else None))
        assert run.last.is_file() == saves
        if saves:
            assert Checkpoint.load(run.last).training["state"]["step"] == 2

    @pytest.mark.usefixtures("ahead")
    def test_a_fault_in_the_last_step_of_an_epoch_comes_before_its_validation(
        self, make: Make, run: RunFolder, nan_at_step: Callable[[int], None]
    ) -> None:
        nan_at_step(3)
        with pytest.raises(DivergedError, match="the loss became nan in epoch 1, step 4"):
            train(make())
        assert not run.best.exists()


class TestMemory:
    def test_a_batch_size_to_try_is_named(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        def exhausted(*_: object) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

        monkeypatch.setattr(loop, "normalise", exhausted)
        with pytest.raises(ResourceError, match="memory has run out in a step of 4 pages, 2 at a time") as error:
            train(make(train__accumulate=2))
        assert error.value.exit_code == 6
        assert "--batch-size 2" in error.value.hint
        assert "train.accumulate=4" in error.value.hint

    @pytest.mark.parametrize("allocate", [lambda: torch.empty(2**62, dtype=torch.uint8), lambda: bytearray(2**62)])
    def test_allocators_are_understood(self, allocate: Callable[[], object]) -> None:
        with pytest.raises((RuntimeError, MemoryError)) as error:
            allocate()
        assert is_out_of_memory(error.value)
        found = as_resource_error(error.value)
        assert found is not None
        assert found.exit_code == 6

    def test_other_errors_are_not_about_memory(self) -> None:
        assert as_resource_error(RuntimeError("size mismatch")) is None
        assert as_resource_error(OSError(errno.ENOENT, "No such file")) is None

    def test_no_place_for_temporary_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
        with pytest.raises(FileNotFoundError) as error:
            tempfile.mkdtemp()
        found = as_resource_error(error.value)
        assert found is not None
        assert "TMPDIR" in found.hint

    @pytest.mark.parametrize(
        ("torch_says", "message"),
        [
            ("(pid 12) is killed by signal: Bus error. It is possible", "(12) was killed by signal: Bus error"),
            ("(pid(s) 12, 13) exited unexpectedly", "(12, 13) exited unexpectedly"),
        ],
    )
    def test_a_dead_worker_is_told_of_with_what_torch_knows(self, torch_says: str, message: str) -> None:
        known = as_resource_error(RuntimeError(f"DataLoader worker {torch_says}"))
        assert known is not None
        assert known.message == f"a loader process {message}"

    def test_predicting_halves_its_batches(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, "docclf")

        class Narrow(torch.nn.Module):
            def __init__(self, most: int) -> None:
                super().__init__()
                self.most = most

            def forward(self, images: torch.Tensor) -> torch.Tensor:
                if len(images) > self.most:
                    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
                return images.mean((2, 3))[:, :2]

        preprocess = Preprocess(8, "squash", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), "bilinear")
        images = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (7, 3, 8, 8), dtype=np.uint8))
        networks = [Network(Narrow(most), preprocess, Runtime(torch.device("cpu"))) for most in (7, 2, 0)]
        assert torch.equal(networks[0].log_probs(images), networks[1].log_probs(images))
        assert "memory is short: 3 pages at a time instead of 7" in caplog.text
        with pytest.raises(ResourceError, match="one page of 8 pixels"):
            networks[2].log_probs(images)


@pytest.mark.timeout(120)
def test_a_loader_process_that_dies_is_named(make: Make, run: RunFolder) -> None:
    killed: list[int] = []
    others = set(multiprocessing.active_children())  # of tests before, on their way out

    def kill(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 2 and not killed:
            victim = next(child for child in multiprocessing.active_children() if child not in others).pid
            assert victim
            killed.append(victim)
            os.kill(victim, signal.SIGKILL)

    with pytest.raises(ResourceError) as error:
        train(make(runtime__workers=2, train__checkpoint_every__steps=1, train__epochs=50), emit=kill)
    # torch knows the signal where its handler hears of the death before the reading of the queue fails, as a race has it
    endings = ("was killed by signal: Killed", "exited unexpectedly")
    assert error.value.message in [f"a loader process ({killed[0]}) {ending}" for ending in endings]
    assert "runtime.workers" in error.value.hint
    Checkpoint.load(run.last)


WRITES = (
    "profile.yaml", "run.json", "provenance.json", "split.csv", "augmentation_preview.png", "best.ckpt", "last.ckpt",
    "epoch-0002.ckpt", "metrics.csv", "timings.csv",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(pages: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("whole")
    train(tiny_profile(pages, output, name="whole", train__epochs=2))
    return contents(output / "whole")


@contextlib.contextmanager
def full_at(pattern: str, monkeypatch: pytest.MonkeyPatch, nth: int = 1) -> Iterator[None]:
    """The n-th write of a file whose name fits the pattern meets a limit of ten bytes, as a full disk would be."""
    original, count = files.atomic_write, [0]

    @contextlib.contextmanager
    def atomic_write(path: Path, mode: str = "wb") -> Iterator[object]:
        count[0] += fnmatch(path.name, pattern)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if fnmatch(path.name, pattern) and count[0] == nth:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        try:
            with original(path, mode) as file:
                yield file
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with monkeypatch.context() as patch:
        patch.setattr(files, "atomic_write", atomic_write)
        yield
    assert count[0] >= nth


@pytest.mark.parametrize("name", WRITES)
def test_a_full_disk_leaves_everything_earlier_whole(
    make: Make, run: RunFolder, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    nth = 2 if name in ("last.ckpt", "metrics.csv", "timings.csv") else 1
    with full_at(name, monkeypatch, nth), pytest.raises(ResourceError) as error:
        train(make(train__epochs=2))
    assert error.value.exit_code == 6
    assert f"{name} cannot be written: File too large" in error.value.message
    assert "everything written earlier is intact" in error.value.hint
    assert not list(run.path.rglob(f"{TEMP_PREFIX}*"))
    for path in run.path.rglob("*.ckpt"):
        Checkpoint.load(path)
    if run.profile.is_file() and run.last.is_file():
        train(make(train__epochs=2, name=None), resume=run.path)
    else:  # it failed before there was anything to go on from, and its name is free
        train(make(train__epochs=2))
    assert differing(contents(run.path), whole) == []


def test_predictions_that_do_not_fit_are_made_again_later(
    make: Make, run: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "docclf")
    with full_at("val-*.npz", monkeypatch):
        train(make(train__epochs=1))
    assert run.finished
    assert "predictions cannot be stored" in caplog.text


class TestOneWriter:
    def test_a_second_process_is_refused_and_told_of_the_first(self, make: Make, run: RunFolder) -> None:
        ready, go = multiprocessing.Pipe()
        holder = multiprocessing.get_context("fork").Process(target=_hold, args=(run.path, go), daemon=True)
        holder.start()
        assert ready.recv() == "held"
        for overwrite in (False, True):
            with pytest.raises(InputError, match=f"is being written by process {holder.pid} on "):
                train(make(), overwrite=overwrite)
        holder.kill()
        holder.join()
        train(make(train__epochs=1))  # the lock of a dead process is none
        assert run.finished

    def test_what_a_killed_writer_left_is_swept_in_all_folders(self, run: RunFolder) -> None:
        for folder in (run.path, run.path / "snapshots", run.path / "fold-0" / "predictions"):
            folder.mkdir(parents=True)
            (folder / f"{TEMP_PREFIX}x").write_text("half")
            (folder / "x").write_text("whole")
        with run.writing():
            assert not list(run.path.rglob(f"{TEMP_PREFIX}*"))
        assert len(list(run.path.rglob("x"))) == 3

    def test_a_finished_run_is_not_touched(self, make: Make, run: RunFolder) -> None:
        train(make(train__epochs=1))
        before = contents(run.path)
        with pytest.raises(InputError, match="exists"):
            train(make(train__epochs=1))
        assert contents(run.path) == before
        assert run.finished

    def test_a_stopped_run_is_offered_to_go_on(self, make: Make, run: RunFolder) -> None:
        train(make(train__epochs=1))
        run.write_state("stopped")
        with pytest.raises(InputError) as refused:
            train(make(train__epochs=1))
        assert f"docclf train --resume {run.path}" in refused.value.hint


def _hold(path: Path, ready: "multiprocessing.connection.Connection") -> None:
    with RunFolder(path).writing():
        ready.send("held")
        signal.pause()
