"""`class-report`: how a model does class by class, from predictions alone."""

from __future__ import annotations

from docclf_cli.engine.inference.members import precisions_of
from docclf_cli.errors import InputError
from docclf_cli.metrics.class_metrics import score
from docclf_cli.metrics.mistakes import most_confused
from docclf_cli.metrics.overfitting import train_val_gap
from docclf_cli.registry import did_you_mean
from docclf_cli.results.class_report import ClassReport, OneClass
from docclf_cli.results.metrics import Scores
from docclf_cli.results.predictions import Predictions
from docclf_cli.tasks.caveats import as_judged
from docclf_cli.tasks.class_report.inputs import ReportInputs
from docclf_cli.tasks.result_files import write_class_report, write_comparison
from docclf_cli.text import composed


def class_report(inputs: ReportInputs) -> ClassReport:
    """Score a split class by class, and write its table and plots.

    Raises:
        InputError: No page is both readable and labelled.
    """
    scores = score(as_judged(inputs.predictions, inputs.split, inputs.temperature))
    files = write_class_report(inputs.folder, inputs.split, inputs.predictions, scores)
    sides = _sides(inputs, scores)
    if sides is not None:
        files.append(write_comparison(inputs.folder, *sides))
    return ClassReport(
        source=inputs.source,
        split=inputs.split,
        scores=scores,
        confused=most_confused(inputs.predictions),
        gaps=() if sides is None else train_val_gap(sides[0].classes, sides[1].classes),
        temperature=inputs.temperature,
        files=tuple(files),
        notes=inputs.notes,
        precision=precisions_of([inputs.predictions]),
    )


def one_class(inputs: ReportInputs, wanted: str) -> OneClass:
    """One class alone; nothing is written.

    Args:
        inputs: Predictions.
        wanted: Name of the class, or its index where no class has that name.

    Raises:
        InputError: There is no such class, or no page is both readable and labelled.
    """
    index = class_index(inputs.predictions.class_names, wanted)
    name = inputs.predictions.class_names[index]
    scores = score(as_judged(inputs.predictions, inputs.split, inputs.temperature))
    sides = _sides(inputs, scores)
    gaps = None if sides is None else train_val_gap(sides[0].classes, sides[1].classes)
    pairs = most_confused(inputs.predictions, most=inputs.predictions.num_classes**2)
    return OneClass(
        source=inputs.source,
        split=inputs.split,
        index=index,
        row=scores.classes[index],
        gap=None if gaps is None else gaps[index],
        false_negatives=tuple(pair for pair in pairs if pair.target == name),
        false_positives=tuple(pair for pair in pairs if pair.predicted == name),
    )


def class_index(class_names: tuple[str, ...], wanted: str) -> int:
    """The class of that name, or else of that index.

    Raises:
        InputError: There is neither.
    """
    if composed(wanted) in class_names:
        return class_names.index(composed(wanted))
    if wanted.isdecimal() and int(wanted) < len(class_names):
        return int(wanted)
    shown = ", ".join(class_names[:30])
    raise InputError(
        f"--class: '{wanted}' is no class{did_you_mean(wanted, class_names)}",
        f"by name, or by index from 0 to {len(class_names) - 1}: {shown}",
    )


def _sides(inputs: ReportInputs, scores: Scores) -> tuple[Scores, Scores] | None:
    """Training and validation pages scored, where both are stored for the same classes."""
    train, val = inputs.train, inputs.val
    if train is None or val is None or not _comparable(inputs.predictions, train, val):
        return None
    return score(train), scores if val is inputs.predictions else score(val)


def _comparable(*members: Predictions) -> bool:
    return all(one.class_names == members[0].class_names and one.targets is not None for one in members)
