"""What every result looks like in 80 columns, with class names that are long or written in Hangul."""

import dataclasses
import io
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from docclf_cli import app
from docclf_cli.display.progress import EPOCH_HEAD
from docclf_cli.display.show import print_tables
from docclf_cli.results.reference import RESULTS

assert app  # the commands of services register theirs
NAMES = (
    "confirmation_of_payment_of_car_purchase_tax",
    "자동차계약과금상세내역서및영수증사본",
    "건강보험 임신출산 진료비 지급 신청서 사본 (원본 대조필)",
    "form",
)
NAMELESS = ("env-check", "s3-push", "s3-pull")  # their texts are paths and sentences of any length
FIGURES = ("accuracy", "f1_macro", "log_loss", "val_loss", "ece")
FIXED: Mapping[str, Any] = {
    "status": "ok", "time": "2026-01-02T03:04:05+00:00", "state": "finished", "imbalance": 3.5, "tta": None,
    "monitor": "f1_macro", "metric": "f1_macro", "precision": "fp32", "merge": "mean", "split": "val", "kind": "noise",
    "model": "resnet18", "folds_only": None, "scheduler": "warmup_cosine", "unit": "step",
}  # fmt: skip


def example(kind: Any, name: str, key: str = "") -> Any:
    """A value of a type in which every free text is the name."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: example(hints[field.name], name, field.name) for field in dataclasses.fields(kind)})
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return example(args[0], name, key)
    if origin is tuple:
        return tuple(example(args[0], name, key) for _ in range(2))
    if origin is not None:  # a mapping; figures go by their names
        keys = FIGURES if key == "metrics" else (name,)
        return {one: example(args[1], name, key) for one in keys}
    plain = {int: 1234, float: 0.4567, bool: True, Path: Path("/somewhere/deep/below") / ("long" * 20) / "page.png"}
    if kind in plain:
        return plain[kind]
    return FIXED.get(key, name) if kind is str else None


def rendered(result: Any, color: bool = False) -> str:
    out = io.StringIO()
    console = Console(
        file=out, width=80, highlight=False, force_terminal=color, color_system="standard" if color else None
    )
    print_tables(result, console)
    return out.getvalue()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", RESULTS)
def test_no_line_is_too_wide_and_no_name_is_cut_or_broken(command: str, name: str) -> None:
    result = example(RESULTS[command], name)
    text = rendered(result)
    commands = set(getattr(result, "next_commands", ()))  # whole, so that they can be copied
    lines = [line for line in text.splitlines() if line.strip() not in commands]
    assert [line for line in lines if cell_len(line) > 80] == []
    if command in NAMELESS:
        return
    words = name.split()
    broken = [line for line in lines for word in words if word[:8] in line and word not in line]
    assert broken == []
    assert "…\n" not in text


def test_commands_are_printed_whole() -> None:
    command = f"docclf predict {'long/' * 30}"
    result = dataclasses.replace(example(RESULTS["train"], "form"), next_commands=(command,))
    assert command in rendered(result)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", ["train", "evaluate", "class-report", "predict", "ensemble"])
def test_a_class_and_its_numbers_are_read_together(command: str, name: str) -> None:
    """The name stands whole on one line, its numbers on this line or the next."""
    lines = rendered(example(RESULTS[command], name)).splitlines()
    place = next(number for number, line in enumerate(lines) if name in line)
    row = f"{lines[place]} {lines[place + 1]}"
    assert any(number in row for number in (".46", "1,234", "1234", "45.7"))


def test_weak_classes_stand_out_in_colour_and_without() -> None:
    result = example(RESULTS["evaluate"], "form")
    plain = rendered(result)
    assert "! form" in plain
    assert "! weak: F1 below .50" in plain
    assert "\x1b[33m! form" in rendered(result, color=True)
    good = dataclasses.replace(result.scores.classes[0].f1, value=0.9, low=0.8, high=0.95)
    classes = tuple(dataclasses.replace(row, f1=good) for row in result.scores.classes)
    result = dataclasses.replace(result, scores=dataclasses.replace(result.scores, classes=classes))
    assert "! " not in rendered(result)
    assert ".90 .80–.95" in rendered(result)


def test_an_epoch_fits_a_line() -> None:
    assert len(EPOCH_HEAD + "  ← best so far") <= 80
