"""Every command that reads a folder says what it left out there."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import Outcome
from member_runs import make_run
from tiny import draw_pages

Docclf = Callable[..., Outcome]
LEFT_OUT = {".heic": 2, ".docx": 1, "file without a suffix": 1, "linked folder": 1}
SENTENCE = "left out: 2 .heic, 1 .docx, 1 file without a suffix, 1 linked folder"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("left-out")
    root = draw_pages(folder / "data", 6)
    for name in ("form/photo.heic", "letter/photo.HEIC", "letter/scan", "receipt/r.docx"):
        (root / name).write_bytes(b"x")
    (folder / "elsewhere").mkdir()
    (root / "form" / "linked").symlink_to(folder / "elsewhere")
    return root


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate("ab"):
        make_run(folder / name, data, seed, val_fraction=0.5)
    return folder


@pytest.mark.parametrize("command", ["train", "evaluate", "audit", "tta", "ensemble"])
def test_it_is_said_and_counted(docclf: Docclf, data: Path, runs: Path, command: str) -> None:
    plain = (
        "--profile",
        "config",
        "--model",
        "test_resnet",
        "--no-pretrained",
        "--image-size",
        "32",
        "--epochs",
        "1",
        "--batch-size",
        "8",
    )
    args = {
        "train": ("--data", data, *plain, "--set", "tracking.backend=none", "--name", "t"),
        "evaluate": ("--checkpoint", runs / "a"),
        "audit": ("--data", data, "--name", "look"),
        "tta": ("--checkpoint", runs / "a"),
        "ensemble": ("--members", runs / "a", "--members", runs / "b", "--method", "averaging", "--name", "e"),
    }[command]
    outcome = docclf(command, *args, "--json")
    assert outcome.code == 0, outcome.stderr
    assert f"data: {SENTENCE}" in " ".join(outcome.stderr.split())
    assert outcome.stderr.count("left out: 2") == 1
    assert outcome.json["left_out"] == LEFT_OUT


def test_predict_says_it_of_its_inputs(docclf: Docclf, data: Path, runs: Path) -> None:
    outcome = docclf("predict", data / "form", data / "letter", "--checkpoint", runs / "a", "--json")
    assert outcome.code == 0, outcome.stderr
    assert "left out: 2 .heic, 1 file without a suffix, 1 linked folder" in outcome.stderr
    assert outcome.json["left_out"] == {name: count for name, count in LEFT_OUT.items() if name != ".docx"}
    assert outcome.json["inputs"] == 12
