"""`docclf drift` as people run it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_process import Outcome
from page_cases import page as drawn_page
from page_cases import write_checkpoint, write_images, write_pdf

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.metrics.intervals import wilson
from docclf_cli.metrics.novelty import Observed, fit_novelty
from docclf_cli.results.summary import CONFIDENCE_EDGES, PredictionSummary
from docclf_cli.tasks.drift import _period

Docclf = Callable[..., Outcome]
NAMES = ("form", "letter", "bill")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint that knows pages 0 to 239, of which the second half is held out."""
    from dataclasses import replace

    from docclf_cli.data.images.preprocess import Preprocess
    from docclf_cli.engine.inference.predictor import Network
    from docclf_cli.engine.runtime.device import resolve_runtime
    from docclf_cli.models.features import FeatureRecorder
    from docclf_cli.profile.schema import RuntimeConfig

    folder = tmp_path_factory.mktemp("drift")
    path = write_checkpoint(folder / "run" / "best.ckpt", NAMES)
    checkpoint = Checkpoint.load(path)
    model = checkpoint.build()
    network = Network(model, Preprocess(32), resolve_runtime(RuntimeConfig(device="cpu")), FeatureRecorder(model))
    images = np.stack([np.array(drawn_page(number).resize((32, 32))) for number in range(240)])
    logits, features, _ = network.outputs(torch.from_numpy(images).permute(0, 3, 1, 2))
    widths, pages = network.recorder.widths, np.arange(len(logits))
    seen = Observed(features.numpy(), logits.numpy(), logits.numpy().argmax(axis=1), pages, widths)
    parts = [
        Observed(seen.features[rows], seen.logits[rows], seen.targets[rows], pages[rows], widths)
        for rows in (slice(120), slice(120, None))
    ]
    novelty = fit_novelty(*parts, np.arange(120), np.zeros(120, dtype=bool), checkpoint.temperature)
    assert novelty is not None
    replace(checkpoint, novelty=novelty.to_arrays()).save(path)
    return folder


def predicted(docclf: Docclf, run: Path, name: str, first: int, count: int) -> Path:
    write_images(run / f"{name}-pages", count, first)
    outcome = docclf("predict", "run/best.ckpt", f"{name}-pages", "-o", name, "--overwrite", cwd=run)
    assert outcome.code == 0, outcome.stderr
    return Path(name)


def test_pages_of_the_same_kind_raise_no_alarm_and_others_do(docclf: Docclf, run: Path) -> None:
    usual, later = predicted(docclf, run, "usual", 1000, 60), predicted(docclf, run, "later", 2000, 60)
    quiet = docclf("drift", "run/best.ckpt", usual, later, "--json", "--alpha", "0.01", cwd=run)
    assert quiet.code == 0, quiet.stdout + quiet.stderr
    assert {test["against"] for test in quiet.json["tests"]} == {"held-out pages", "earlier pages"}
    subjects = ["predicted classes", "confidence", "unknown score", "features"]
    assert [test["subject"] for test in quiet.json["tests"]] == subjects * 2
    assert [period["name"] for period in quiet.json["periods"]] == ["usual", "later"]
    folder = run / "dark-pages"
    folder.mkdir(exist_ok=True)
    for number in range(60):
        drawn_page(number + 3000).point(lambda value: value // 6).save(folder / f"{number}.png")
    outcome = docclf("predict", "run/best.ckpt", "dark-pages", "-o", "dark.csv", "--overwrite", cwd=run)
    assert outcome.code == 0, outcome.stderr
    found = docclf("drift", "run/best.ckpt", usual, "dark.csv", cwd=run)
    assert found.code == 9, found.stdout + found.stderr
    assert "dark.csv: the pages have changed: " in found.stderr
    assert "False-alarm rate of all tests together: 0.05" in found.stdout
    assert (run / "run" / "drift" / "drift.png").stat().st_size > 5000


def test_the_summary_holds_numbers_and_one_page_of_each_file(docclf: Docclf, run: Path) -> None:
    write_images(run / "mixed", 3, 5000)
    write_pdf(run / "mixed" / "long.pdf", [1, 2, 3, 4, 5])
    outcome = docclf("predict", "run/best.ckpt", "mixed", "-o", "mixed-out", "--json", cwd=run)
    path = run / "mixed-out" / "summary.json"
    assert outcome.json["files"][-1] == "mixed-out/summary.json"
    summary = PredictionSummary.load(path)
    assert (summary.files, summary.pages, summary.counted) == (4, 8, 4)
    assert sum(summary.predicted) == sum(summary.confidence) == sum(summary.log_odds) == 4
    assert len(summary.covariance) == len(summary.mean)
    assert "long" not in path.read_text(encoding="utf-8")


def test_what_cannot_be_compared_is_named(docclf: Docclf, run: Path, tmp_path: Path) -> None:
    usual = predicted(docclf, run, "usual", 1000, 60)
    other = write_checkpoint(tmp_path / "other.ckpt", NAMES, seed=1)
    cases = [
        ((other, run / usual), "another model than"),
        ((run / "run" / "best.ckpt", tmp_path / "none"), "there is no such summary"),
        ((run / "run" / "best.ckpt", run / usual, "--alpha", "2"), "--alpha: 2 is not between 0 and 1"),
    ]
    for args, text in cases:
        outcome = docclf("drift", *args)
        assert (outcome.code, text in outcome.stderr) == (2, True), outcome.stderr
    docclf("predict", other, run / "usual-pages", "-o", tmp_path / "out")
    outcome = docclf("drift", other, tmp_path / "out")
    assert (outcome.code, "keeps no held-out pages" in outcome.stderr) == (2, True), outcome.stderr
    damaged = tmp_path / "out" / "summary.json"
    damaged.write_text(json.dumps({"model": "x"}), encoding="utf-8")
    assert "damaged, or not a summary" in docclf("drift", other, damaged).stderr


def test_the_pages_of_a_file_are_one_witness() -> None:
    confidence = (0,) * len(CONFIDENCE_EDGES)
    summary = PredictionSummary("m", True, NAMES, 10, 200, 0, 50, None, 10, (10, 0, 0), confidence, (), (), ())
    found = _period("now", summary).needs_review
    assert found is not None
    assert (found.value, found.low) == (0.25, wilson(2.5, 10).low)
