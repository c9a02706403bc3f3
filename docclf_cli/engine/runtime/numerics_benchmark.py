"""Times a few steps of a copy of the network under several numerics."""

from __future__ import annotations

import contextlib
import logging
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from docclf_cli.engine.runtime.device import Numerics, Runtime
from docclf_cli.engine.runtime.folded_norms import Pairs, folded, folds, pairs_to_fold
from docclf_cli.models.freezing import Freezing, set_mode

# The benchmark may take this share of the work to come, and at most so many seconds.
SHARE = 0.05
MOST_SECONDS = 20.0
# After each step of a candidate: how many times the fastest it may take, by the best of its steps, to be timed further.
# The first prepares kernels, and another program may have disturbed the second.
STILL_HOPEFUL = (math.inf, 2.0, 1.3, 1.3, 1.3)
STEPS = len(STILL_HOPEFUL)
MOST_TIMED = 20  # steps of `seconds_per_page`
FEWEST_PAGES = 4  # the speed of smaller steps says little about larger ones
NO_MATTER = 1.05  # times the fastest: within it the first candidate is picked, fp32 before bf16
TOLERANCE = 0.05  # largest relative error of the logits against fp32
COMPILE_SECONDS = 60.0  # what compiling took on two cores, 27 to 75 s: the guess before it is tried
FP32 = Numerics("fp32", channels_last=False)
logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class Workload:
    """The work to be done, for which the fastest numerics are picked.

    Attributes:
        build: Builds the network; random number generators are restored afterwards.
        runtime: Device and threads.
        num_classes: Length of the class axis.
        size: Side of the input in pixels.
        batch: Pages of a step.
        pages: Pages of all steps.
        training: Whether a step has a backward pass.
        frozen: What of the network stays as it is in it.
    """

    build: Callable[[], torch.nn.Module]
    runtime: Runtime
    num_classes: int
    size: int
    batch: int
    pages: int
    training: bool
    frozen: Freezing = field(default_factory=Freezing)

    @property
    def largest_batch(self) -> int:
        """Pages of the largest step."""
        return min(self.batch, self.pages)


@dataclass(frozen=True)
class Measured:
    """Result of a benchmark.

    Attributes:
        precision: Number format of the fastest numerics.
        channels_last: Memory layout of the fastest numerics.
        gain: Their speed relative to plain fp32.
        seconds_per_page: Their seconds per page.
        compiled_gain: Speed compiled relative to uncompiled; 0 if it was not measured.
        compile_seconds: Seconds that compilation took.
    """

    precision: str
    channels_last: bool
    gain: float
    seconds_per_page: float
    compiled_gain: float = 0.0
    compile_seconds: float = COMPILE_SECONDS

    @property
    def numerics(self) -> Numerics:
        """The fastest numerics, uncompiled."""
        return Numerics(self.precision, self.channels_last)

    def repays_a_try(self, pages: int) -> bool:
        """Return whether a number of pages is enough work to measure compilation, if it was not measured."""
        return not self.compiled_gain and pages * self.seconds_per_page * SHARE > COMPILE_SECONDS

    def repays_compiling(self, pages: int) -> bool:
        """Return whether a number of pages takes less time compiled, compilation included."""
        saved = pages * self.seconds_per_page * (1 - 1 / self.compiled_gain) if self.compiled_gain else 0.0
        return saved > self.compile_seconds


def worth_probing(work: Workload, candidates: int) -> bool:
    """Return whether a benchmark fits into its share of the work, at any speed of the machine."""
    return work.pages > 0 and work.pages * SHARE >= candidates * STEPS * min(FEWEST_PAGES, work.largest_batch)


def fastest(work: Workload, candidates: Sequence[Numerics]) -> Measured | None:
    """Find the candidate with the shortest step among those whose logits are finite and close to fp32.

    Steps of the candidates alternate, so that another program slows all of them alike; the fastest step of a candidate
    counts. Weights and random number generators of the caller are not changed.

    Returns:
        None if not even a few pages fit into the time limit, or no candidate is sound.
    """
    with _preserved_generators(work.runtime.device):
        bench = _Bench(work)
        seconds_per_page = bench.warm_up()
        allowed = min(MOST_SECONDS, SHARE * work.pages * seconds_per_page)
        pages = min(int(allowed / (seconds_per_page * STEPS * len(candidates))), work.largest_batch)
        if pages < min(FEWEST_PAGES, work.largest_batch):
            return None
        sound = [numerics for numerics in candidates if bench.sound(numerics)]
        if not sound:
            return None
        seconds = _alternating(bench, sound, pages, allowed)
    best = min(seconds[numerics] for numerics in sound)
    pick = next(numerics for numerics in sound if seconds[numerics] <= best * NO_MATTER)
    return Measured(pick.precision, pick.channels_last, seconds[FP32] / seconds[pick], seconds[pick] / pages)


def seconds_per_page(work: Workload, limit: float = 1.5) -> float:
    """Time steps with the numerics of the workload's runtime for about `limit` seconds, after one that is not timed.

    Returns:
        The median seconds of a step, by its pages.
    """
    runtime = work.runtime
    numerics = Numerics(runtime.precision, runtime.channels_last, runtime.compile)
    with _preserved_generators(runtime.device):
        bench = _Bench(work)
        bench.seconds(numerics, work.largest_batch)
        times: list[float] = []
        while not times or (sum(times) < limit and len(times) < MOST_TIMED):
            times.append(bench.seconds(numerics, work.largest_batch))
    return statistics.median(times) / work.largest_batch


def try_compiled(work: Workload, measured: Measured) -> Measured:
    """Measure what compilation costs and gains; a compiler that fails gains nothing."""
    logger.info("trying torch.compile, which takes about a minute")
    plain, tried = measured.numerics, replace(measured.numerics, channels_last=True, compile=True)
    with _preserved_generators(work.runtime.device):
        bench = _Bench(work)
        started = time.perf_counter()
        try:
            bench.seconds(tried, work.largest_batch)
            compiling = time.perf_counter() - started
            times = [[bench.seconds(numerics, work.largest_batch) for numerics in (plain, tried)] for _ in range(STEPS)]
        except Exception as error:  # whatever a compiler fails with, the run continues without it
            logger.debug("torch.compile failed: %s", error)
            return replace(measured, compiled_gain=1.0)
    slow, fast = (min(column) for column in zip(*times, strict=True))
    return replace(measured, compiled_gain=slow / fast, compile_seconds=compiling)


def compiles(device: torch.device) -> bool:
    """Return whether torch.compile finds the compiler it needs for a device."""
    try:
        if device.type == "cuda":
            from torch.utils._triton import has_triton

            return bool(has_triton())
        from torch._inductor.cpp_builder import get_cpp_compiler

        return bool(get_cpp_compiler())
    except Exception:
        return False


def _alternating(bench: _Bench, candidates: Sequence[Numerics], pages: int, allowed: float) -> dict[Numerics, float]:
    """Time plain fp32 and each candidate by the fastest of their steps, for `allowed` seconds and at most a round more."""
    started = time.perf_counter()
    running = list(dict.fromkeys([FP32, *candidates]))
    best = dict.fromkeys(running, math.inf)
    for hopeful in STILL_HOPEFUL:
        for numerics in running:
            best[numerics] = min(best[numerics], bench.seconds(numerics, pages))
        limit = hopeful * min(best[numerics] for numerics in candidates)
        running = [numerics for numerics in running if best[numerics] <= limit]
        if len(running) == 1 or time.perf_counter() - started > allowed:
            break
    return best


class _Bench:
    """Runs steps on noise with one copy of the network, under any numerics."""

    def __init__(self, work: Workload) -> None:
        self.work = work
        self.device = work.runtime.device
        self.model = work.build().to(self.device)
        self._images = torch.empty(0)
        self._reference: torch.Tensor | None = None
        self._pairs: Pairs | None = None

    def warm_up(self) -> float:
        """Return seconds per page of a small step of plain fp32, after a first one that is not timed."""
        pages = min(2, self.work.largest_batch)
        self.seconds(FP32, pages)
        return self.seconds(FP32, pages) / pages

    def seconds(self, numerics: Numerics, pages: int) -> float:
        """Time one step, in seconds."""
        runtime, model = self._placed(numerics)
        images = self._noise(pages).contiguous(memory_format=runtime.memory_format)
        targets = (torch.arange(pages) % self.work.num_classes).to(self.device)
        pairs = self._set_mode(runtime)
        self._wait()
        started = time.perf_counter()
        if self.work.training:
            with folded(pairs):
                with runtime.autocast():
                    logits = model(images)
                torch.nn.functional.cross_entropy(logits.float(), targets).backward()
            self.model.zero_grad(set_to_none=True)
        else:
            with torch.inference_mode(), runtime.autocast():
                model(images)
        self._wait()
        return time.perf_counter() - started

    def _set_mode(self, runtime: Runtime) -> Pairs:
        """Prepare the network for a step; returns the batch norms to fold in it."""
        pairs: Pairs = ()
        if not self.work.training:
            self.model.eval()
            return pairs
        if self.work.frozen.keeps_norms and folds(runtime):
            if self._pairs is None:
                self._pairs = pairs_to_fold(self.model, self.work.size, runtime)
            pairs = self._pairs
        set_mode(self.model, self.work.frozen)
        return pairs

    def sound(self, numerics: Numerics) -> bool:
        """Return whether the logits of two pages are finite and close to those of plain fp32."""
        logits = self._logits(numerics)
        if self._reference is None:
            self._reference = self._logits(FP32)
        error = (logits - self._reference).norm() / self._reference.norm().clamp_min(1e-12)
        return bool(torch.isfinite(logits).all()) and float(error) <= TOLERANCE

    def _logits(self, numerics: Numerics) -> torch.Tensor:
        runtime, model = self._placed(replace(numerics, compile=False))
        images = self._noise(min(2, self.work.largest_batch)).contiguous(memory_format=runtime.memory_format)
        self.model.eval()
        with torch.inference_mode(), runtime.autocast():
            logits: torch.Tensor = model(images)
        return logits.float()

    def _noise(self, pages: int) -> torch.Tensor:
        """Return pages of noise, float32 [pages, 3, size, size]."""
        if pages > len(self._images):
            self._images = torch.rand(pages, 3, self.work.size, self.work.size).to(self.device) * 2 - 1
        return self._images[:pages]

    def _placed(self, numerics: Numerics) -> tuple[Runtime, torch.nn.Module]:
        runtime = self.work.runtime.with_numerics(numerics)
        return runtime, runtime.compiled(runtime.place(self.model))

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


@contextlib.contextmanager
def _preserved_generators(device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        yield
