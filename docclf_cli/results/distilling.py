"""What `distill` returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from docclf_cli.results.metrics import Difference
from docclf_cli.results.training import TrainResult


@dataclass(frozen=True)
class DistilledOn:
    """The student against its teachers on the same held-out pages.

    Attributes:
        pages: `clean` or `degraded`.
        count: How many pages.
        student_f1: Macro-F1 of the student.
        teacher_f1: Macro-F1 of the mean of the teachers.
        student_loss: Log loss of the student, at a temperature that other pages fitted.
        teacher_loss: Log loss of the teachers, likewise.
        f1_macro: Student minus teachers.
        log_loss: Student minus teachers.
    """

    pages: str
    count: int
    student_f1: float
    teacher_f1: float
    student_loss: float
    teacher_loss: float
    f1_macro: Difference
    log_loss: Difference


@dataclass(frozen=True)
class ModelCost:
    """What a model costs.

    Attributes:
        networks: How many networks predict a page.
        parameters: Their parameters, together.
        pages_per_second: Pages per second of the networks alone, without reading; measured in turns with the other side.
    """

    networks: int
    parameters: int
    pages_per_second: float


@dataclass(frozen=True)
class DistillResult:
    """The result of a distillation.

    Attributes:
        run: The student's run folder.
        model: Its architecture.
        teachers: The teachers.
        held_out: The student against the teachers; empty where no page is held out from all of them.
        student: What the student costs.
        teacher: What the teachers cost.
        training: The result of the student's training; None where it was finished before.
        sentences: What was lost and gained, in words.
    """

    run: Path
    model: str
    teachers: tuple[Path, ...]
    held_out: tuple[DistilledOn, ...]
    student: ModelCost
    teacher: ModelCost
    training: TrainResult | None
    sentences: tuple[str, ...] = ()
