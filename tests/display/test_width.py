"""What every result looks like in 80 columns, with class names that are long or written in Hangul."""

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from result_examples import example, rendered
from rich.cells import cell_len
from rich.console import Console

from docclf_cli.display.messages import LANGUAGES, choose_language
from docclf_cli.display.progress import EPOCH_HEAD
from docclf_cli.display.tables import NameTable
from docclf_cli.results.metrics import Estimate
from docclf_cli.results.reference import RESULTS

NAMES = (
    "confirmation_of_payment_of_car_purchase_tax",
    "자동차계약과금상세내역서및영수증사본",
    "건강보험 임신출산 진료비 지급 신청서 사본 (원본 대조필)",
    "form",
)
NAMELESS = ("env-check", "s3-push", "s3-pull")  # their texts are paths and sentences of any length


@pytest.fixture
def language(request: pytest.FixtureRequest) -> Iterator[None]:
    choose_language(request.param)
    yield
    choose_language(None)


@pytest.mark.usefixtures("language")
@pytest.mark.parametrize("language", LANGUAGES, indirect=True)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", RESULTS)
def test_no_line_is_too_wide_and_no_name_is_cut_or_broken(command: str, name: str) -> None:
    result = example(RESULTS[command], name)
    text = rendered(result)
    commands = set(getattr(result, "next_commands", ()))  # whole, so that they can be copied
    lines = [line for line in text.splitlines() if line.strip() not in commands and not line.startswith("  docclf ")]
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


def test_a_value_at_the_edge_of_its_interval_is_explained_in_a_sentence() -> None:
    result = example(RESULTS["evaluate"], "form")
    sentence = "so far would get some"
    values = {"f1_macro": Estimate(0.456, 0.45, 0.618), "accuracy": Estimate(0.46, 0.459, 0.6)}
    shown = rendered(dataclasses.replace(result, scores=dataclasses.replace(result.scores, metrics=values)))
    assert "macro-F1: the value lies at the edge of its interval" in shown
    assert sentence in " ".join(shown.split())
    for fine in (Estimate(0.5, 0.45, 0.618), Estimate(1.0, 0.9, 1.0), Estimate(0.0, 0.0, 0.1)):
        scores = dataclasses.replace(result.scores, metrics={"f1_macro": fine})
        assert sentence not in " ".join(rendered(dataclasses.replace(result, scores=scores)).split())


def test_an_epoch_fits_a_line() -> None:
    assert len(EPOCH_HEAD + "  ← best so far") <= 80


def test_columns_stand_closer_where_that_makes_room_for_a_name() -> None:
    def lines(name: str) -> list[str]:
        out = io.StringIO()
        table = NameTable("title", "class", "first", "second")
        table.add_row(name, "x" * 10, "y" * 10)
        Console(file=out, width=40).print(table)
        return out.getvalue().splitlines()

    assert lines("n" * 16)[-1] == f"{'n' * 16}  {'x' * 10}  {'y' * 10}"
    assert lines("n" * 18)[-1] == f"{'n' * 18} {'x' * 10} {'y' * 10}"
    assert lines("n" * 19)[-2:] == ["n" * 19, f"{' ' * 8}  {'x' * 10}  {'y' * 10}"]


def test_parts_are_apart_and_a_title_may_be_wider_than_its_table() -> None:
    result = dataclasses.replace(example(RESULTS["train"], "form"), files=(Path("a.png"),))
    text = rendered(result)
    assert "\n\nRun\n" in text
    assert "\n\nFiles\n" in text
    assert "\n\n\n" not in text
    compared = example(RESULTS["evaluate"], "form")
    other = dataclasses.replace(compared.comparison, other=Path("runs/another/best.ckpt"), pages=265)
    text = rendered(dataclasses.replace(compared, comparison=other))
    assert "Compared with runs/another/best.ckpt on the same 265 pages\n" in text
