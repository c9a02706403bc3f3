"""The start banner of `train`: what the run is going to do, and how long that takes, corrected as it is measured."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from rich.console import Group, RenderableType
from rich.markup import escape

from docclf_cli.display import show
from docclf_cli.display.console import stderr
from docclf_cli.display.messages import said
from docclf_cli.events import Emit, EpochDone, Event, FitStarted, StepDone
from docclf_cli.results.training import TrainingPlan
from docclf_cli.text import Message

MEASURED_SECONDS = 10.0  # of steps, before a speed is believed
MEASURED_STEPS = 5  # after the first two, which are slow
SAID_AGAIN = 0.25  # a relative change of the expected minutes that is worth another line
logger = logging.getLogger("docclf")


@show.render.register
def plan_table(plan: TrainingPlan) -> Iterator[RenderableType]:
    """Recipe, model, weights, pages, length and folder of a run."""
    size = plan.image_size
    model = said("{model} at {size} x {size} pixels, on {device}", model=plan.model, size=size, device=plan.device)
    weights = said("none: it learns from scratch")
    if plan.weights:
        weights = said("from {origin}", origin=said(plan.weights))
    pages = said("{pages} of {classes} classes in {data}", pages=plan.pages, classes=plan.classes, data=plan.data)
    split = said(
        "{train} to train on, {val} to validate ({how})",
        train=plan.train_pages,
        val=plan.val_pages,
        how=said(plan.split),
    )
    table = show.plain_table(said("Plan"))
    table.add_row(said("recipe"), escape(f"{plan.profile}: {said(plan.reason)}" if plan.reason else plan.profile))
    table.add_row(said("model"), escape(model))
    table.add_row(said("weights"), escape(weights))
    table.add_row(said("pages"), escape(pages))
    table.add_row(said("split"), escape(split))
    table.add_row(
        said("length"),
        escape(
            said("{count} models, each {length}", count=plan.fits, length=_length(plan))
            if plan.fits > 1
            else _length(plan)
        ),
    )
    table.add_row(said("run"), escape(str(plan.run)))
    yield table


def _length(plan: TrainingPlan) -> str:
    """How long a fit is, and how long the run takes."""
    if plan.fitted:
        return said(plan.fitted)
    epochs = Message.counted(plan.epochs, "one epoch", "{count} epochs")
    return said("{epochs}, about {minutes} (a guess)", epochs=epochs, minutes=minutes(plan.minutes))


def minutes(value: float) -> Message:
    """`less than a minute`, `8 minutes`, `2 h 20 min`."""
    whole = round(value)
    if whole < 1:
        return Message.of("less than a minute")
    if whole < 90:
        return Message.counted(whole, "{count} minute", "{count} minutes")
    return Message.of("{hours} h {minutes} min", hours=whole // 60, minutes=whole % 60)


class PlanDisplay:
    """Prints the plan on stderr, passes events on, and corrects the expected minutes after the first steps and epoch.

    Args:
        emit: Consumer that sees every event first.
        quiet: Print nothing.
        clock: Seconds of a steady clock.
    """

    def __init__(self, emit: Emit, *, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._emit, self._quiet, self._clock = emit, quiet, clock
        self._plan: TrainingPlan | None = None
        self._expected = 0.0  # minutes that were said last
        self._fit: FitStarted | None = None
        self._fit_began = 0.0
        self._steps: list[tuple[float, int]] = []
        self._measured = self._corrected = False

    def announce(self, plan: TrainingPlan) -> None:
        """Print a plan."""
        self._plan, self._expected = plan, plan.minutes
        if not self._quiet:
            stderr.print(Group(*show.render(plan)))

    def __call__(self, event: Event) -> None:
        """Pass an event on, and measure."""
        self._emit(event)
        if self._plan is None or self._corrected or self._plan.fitted:
            return
        if isinstance(event, FitStarted):
            self._fit, self._fit_began, self._steps = event, self._clock(), []
        elif isinstance(event, StepDone) and not self._measured:
            self._step(event, self._plan)
        elif isinstance(event, EpochDone) and self._fit is not None:
            self._epoch(event, self._fit, self._plan)

    def _step(self, event: StepDone, plan: TrainingPlan) -> None:
        self._steps.append((self._clock(), event.step))
        steps = self._steps[2:]
        if self._fit is None or len(steps) <= MEASURED_STEPS or steps[-1][0] - steps[0][0] < MEASURED_SECONDS:
            return
        self._measured = True
        seconds = (steps[-1][0] - steps[0][0]) / (steps[-1][1] - steps[0][1])
        # A held-out page is scored twice, clean and degraded, at a third of a training page's cost.
        scoring = 1 + 2 * plan.val_pages / (3 * max(plan.train_pages, 1))
        self._say(seconds * (self._fit.total_steps - self._fit.step) * scoring * plan.fits / 60, "first steps")

    def _epoch(self, event: EpochDone, fit: FitStarted, plan: TrainingPlan) -> None:
        self._corrected = True
        left = plan.epochs - event.epoch
        seconds = self._clock() - self._fit_began
        if fit.step == 0 and left > 0:  # a fit that is resumed may begin within an epoch
            self._say(seconds * plan.epochs * plan.fits / 60, "first epoch")

    def _say(self, value: float, measured: str) -> None:
        if abs(value - self._expected) > SAID_AGAIN * max(self._expected, 1.0):
            logger.info("expected to take %s in all, measured on the %s", minutes(value), measured)
            self._expected = value
