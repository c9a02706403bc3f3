"""How pages lie, as people meet it: `train` learns it, `predict` says it and turns sorted copies upright."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_process import Outcome
from PIL import Image
from tiny import TONES, no_plots, tiny_profile

from docclf_cli.data.images.orientation import Orientation
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.info import info_of
from docclf_cli.tasks import train as train_module

Docclf = Callable[..., Outcome]
__all__ = ["no_plots"]  # a fixture
LYING = Orientation(90, False)


def page_of(tone: int, rng: np.random.Generator) -> np.ndarray:
    """A noisy page of a tone with a dark head and a bright bar at its left."""
    page = tone + rng.normal(0, 10, (40, 30, 3))
    page[: 8 + rng.integers(4)] -= 60
    page[12:, : 4 + rng.integers(4)] += 50
    return np.clip(page, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, no_plots: None) -> Path:
    """A folder with a run that learned how such pages lie, and pages that were turned clockwise."""
    folder, rng = tmp_path_factory.mktemp("upright"), np.random.default_rng(0)
    for name, tone in TONES.items():
        (folder / "data" / name).mkdir(parents=True)
        for number in range(24):
            Image.fromarray(page_of(tone, rng)).save(folder / "data" / name / f"{name}-{number}.png")
    (folder / "turned").mkdir()
    for number in range(6):
        page = LYING.of(page_of(list(TONES.values())[number % 3], rng))
        Image.fromarray(page).save(folder / "turned" / f"{number}.{'png' if number < 4 else 'webp'}")
    train_module.train(
        tiny_profile(folder / "data", folder / "runs", name="a", train__epochs=1, train__snapshots__keep="none")
    )
    return folder


def test_the_checkpoint_holds_plain_arrays_and_its_info_what_held_out_pages_showed(trained: Path) -> None:
    path = trained / "runs" / "a" / "best.ckpt"
    content = torch.load(path, weights_only=True)["orientation"]
    assert all(isinstance(value, torch.Tensor) for value in content.values())
    held_out = info_of(path).orientation
    assert held_out is not None
    assert held_out.told > 0.5
    assert held_out.right > 0.9
    (path.parent / "predictions" / "best.ckpt.info.json").unlink()
    assert info_of(path).orientation == held_out


def test_a_checkpoint_of_an_earlier_version_says_how_pages_lie_without_their_layout(
    docclf: Docclf, trained: Path, tmp_path: Path
) -> None:
    stored = Checkpoint.load(trained / "runs" / "a" / "best.ckpt")
    earlier = {name: value for name, value in stored.orientation.items() if not name.startswith("layout_")}
    assert len(earlier) < len(stored.orientation)
    replace(stored, orientation=earlier).save(tmp_path / "earlier.ckpt")
    outcome = docclf("predict", str(tmp_path / "earlier.ckpt"), str(trained / "turned"), "-o", str(tmp_path / "out"))
    assert outcome.code == 0, outcome.stderr
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8") as file:
        turns = [row["turn"] for row in csv.DictReader(file)]
    assert set(turns) <= {"", "90"}
    assert turns.count("90") >= 3


def test_predict_says_how_pages_lie_and_turns_copies_upright(docclf: Docclf, trained: Path, tmp_path: Path) -> None:
    outcome = docclf(
        "predict", "runs/a", "turned", "--upright", "--copy-to", tmp_path / "sorted", "-o", tmp_path / "out", "--json", cwd=trained,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    result = json.loads(outcome.stdout)
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["turn"] for row in rows].count("90") >= 4
    assert [row["mirrored"] for row in rows].count("false") >= 4
    assert [str(row["turn"] or "") for row in result["predictions"]] == [row["turn"] for row in rows]
    turned = [row for row in rows if row["turn"] not in ("", "0") or row["mirrored"] == "true"]
    told = [row for row in rows if row["turn"] == "90" and row["mirrored"] == "false"]
    lossless = [row for row in told if row["path"].endswith(".png")]
    assert result["turned"] == sum(row["path"].endswith(".png") for row in turned)
    assert result["not_turned"] == len(turned) - result["turned"]
    assert lossless
    for row in lossless:
        (copy,) = (tmp_path / "sorted").rglob(Path(row["path"]).name)
        original = np.asarray(Image.open(trained / row["path"]))
        assert np.array_equal(np.asarray(Image.open(copy)), LYING.undone(original))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--upright"], "--upright turns the pages of sorted copies"),
        (["--copy-to", "there", "--reencode"], "--reencode belongs to --upright"),
        (["--copy-to", "there", "--upright", "--backend", "onnx"], "the onnx backend does not say how pages lie"),
    ],
)
def test_options_that_do_not_go_together(docclf: Docclf, trained: Path, options: list[str], message: str) -> None:
    outcome = docclf("predict", "runs/a", "turned", *options, cwd=trained)
    assert outcome.code == 2
    assert message in outcome.stderr


def test_a_model_that_never_learned_it_says_so(docclf: Docclf, trained: Path, tmp_path: Path, no_plots: None) -> None:
    train_module.train(tiny_profile(trained / "data", tmp_path / "runs", name="b", train__epochs=1, train__upright=0))
    outcome = docclf(
        "predict", tmp_path / "runs" / "b", trained / "turned", "--copy-to", "there", "--upright", "-o", "out"
    )
    assert outcome.code == 2
    assert "does not say how pages lie" in outcome.stderr
    outcome = docclf("predict", tmp_path / "runs" / "b", trained / "turned", "-o", "out", "--format", "jsonl")
    assert outcome.code == 0, outcome.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert {(row["turn"], row["mirrored"]) for row in rows} == {(None, None)}
