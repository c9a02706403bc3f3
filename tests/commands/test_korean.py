"""What commands print with `--lang ko` is Korean: no English word is left but names, options and paths."""

import csv
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cli_process import CliProcess, Outcome
from packet_cases import with_boundaries, write_packet
from page_cases import write_images

from docclf_cli.data.samples.pages import KINDS

# Names that no language changes: of metrics and tests, of numbers, of classes, models and files.
NAMES = {
    "F1", "Macro", "Weighted", "ECE", "AUROC", "CPU", "GPU", "cpu", "fp", "bf", "docclf", "sd", "ms", "GB", "MB", "kB", "unknown", "refit", "runs",
    "voting", "averaging", "weighted", "greedy", "stacking", "identity", "rotation", "last", "laptop", "student", "data", "incoming",
    "onnx", "torch", "quickstart", "config", "json", "csv", "val", "loss", "p", "x", "T", "s", "a", "b", "tf", "efficientnet", *KINDS,
}  # fmt: skip


def english_words(text: str) -> list[str]:
    """Words that are neither Korean nor a name, in lines that are not commands or files."""
    lines = [line for line in text.splitlines() if not line.strip().startswith(("docclf ", "/", "runs/"))]
    kept = re.sub(r"`[^`]*`|\S*[/_=.]\S*|\S*-\d\S*|--?[a-z][-a-z]*( [a-z]+)?", " ", "\n".join(lines))
    return [word for word in re.findall(r"[A-Za-z][A-Za-z-]+", kept) if word.lower() not in NAMES and word not in NAMES]


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, cache_home: Path, pages: Path, tiny: tuple[str, ...]
) -> tuple[Path, Outcome]:
    """A working folder with a run, and what its training printed."""
    place = tmp_path_factory.mktemp("korean")
    args = ("train", str(pages), *tiny, "--epochs", "1", "--name", "a", "--lang", "ko")
    shown = CliProcess(args, place, {"XDG_CACHE_HOME": str(cache_home), "COLUMNS": "80"}).wait()
    write_images(place / "incoming", 2)
    names = sorted(KINDS)
    with (place / "costs.csv").open("w", newline="") as file:
        rows = [[one, *(0 if other == one else 5 for other in names), 1] for one in names]
        csv.writer(file).writerows([["true", *names, "review"], *rows])
    with_boundaries(place / "runs" / "a" / "best.ckpt", place / "packets.ckpt")
    write_packet(place / "packet.pdf", [("contract", 0), ("invoice", 2)])
    return place, shown


COMMANDS: Mapping[str, tuple[str, ...]] = {
    "train": ("PAGES", "--dry-run"),
    "evaluate": ("runs/a", "--target-precision", "0.95", "--degrade", "--limit", "4", "--compare", "runs/a/last.ckpt", "--costs", "costs.csv", "--unknown", "incoming", "--max-lost", "0.4"),
    "class-report": ("runs/a",),
    "predict": ("runs/a", "incoming", "--min-confidence", "0.5", "--max-unreadable", "1"),
    "ensemble": ("runs/a", "runs/a/last.ckpt", "--method", "all"),
    "tta": ("runs/a",),
    "audit": ("PAGES", "--name", "look"),
    "split-packets": ("packets.ckpt", "packet.pdf", "--text", "layer"),
    "distill": (
        "PAGES", "--teacher", "runs/a", "--profile", "config", "--model", "test_resnet", "--set", "model.pretrained=false",
        "--image-size", "32", "--batch-size", "8", "--augmentation", "light", "--epochs", "1", "--name", "student",
    ),
    "runs": (),
    "drift": ("runs/a", "runs/a/predict/test", "--alpha", "1e-12"),
    "adapt": ("runs/a", "--to", "PAGES", "--max-loss", "1", "--output", "elsewhere/adapted.ckpt"),
    "watch": ("incoming", "--out", "out/sorted", "--settle", "0", "--once", "--checkpoint", "runs/a"),
    "review": ("PAGES", "--export", "--output", "reviewed"),
}  # fmt: skip


def test_train(folder: tuple[Path, Outcome]) -> None:
    outcome = folder[1]
    assert outcome.code == 0, outcome.stderr
    assert "다음 단계" in outcome.stdout
    assert english_words(outcome.stdout) == []


@pytest.mark.parametrize(
    "command", [pytest.param(one, marks=pytest.mark.slow if one == "distill" else ()) for one in COMMANDS]
)
def test_other_commands(
    start: Callable[..., CliProcess], folder: tuple[Path, Outcome], pages: Path, command: str
) -> None:
    if command == "drift":
        start("predict", "runs/a", "--split", "test", cwd=folder[0]).wait()
    words = [str(pages) if word == "PAGES" else word for word in COMMANDS[command]]
    outcome = start(*command.split(), *words, "--lang", "ko", cwd=folder[0], env={"COLUMNS": "80"}).wait()
    assert outcome.code == 0, outcome.stderr
    assert english_words(outcome.stdout) == []


def test_an_english_sentence_would_be_found(folder: tuple[Path, Outcome], start: Callable[..., CliProcess]) -> None:
    shown = start("runs", cwd=folder[0]).wait().stdout
    assert {"below", "state"} <= set(english_words(shown))


def test_json_and_files_stay_english(folder: tuple[Path, Outcome], start: Callable[..., CliProcess]) -> None:
    args = ("evaluate", "runs/a", "--target-precision", "0.95", "--max-lost", "0.4", "--json", "--lang", "ko")
    outcome = start(*args, cwd=folder[0]).wait()
    assert "The precision of 95 % holds" in outcome.stdout
    written = list((folder[0] / "runs" / "a").rglob("*.csv"))
    assert written
    for text in (outcome.stdout, *(path.read_text(encoding="utf-8") for path in written)):
        assert re.findall(r"[가-힣]+", text) == []
