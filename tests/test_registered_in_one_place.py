"""A metric and an output format that are registered in one place each are found everywhere else."""

import csv
import importlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from page_cases import write_checkpoint, write_images
from prediction_cases import at_random
from rich.console import Console
from sklearn.metrics import matthews_corrcoef
from tiny import draw_pages, no_plots, tiny_profile

from docclf_cli.commands import predict as predict_command
from docclf_cli.display.ensemble import _score_table
from docclf_cli.display.html.charts import training_charts
from docclf_cli.display.show import jsonable, scores_table
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
from docclf_cli.engine.training.schedulers import Plateau, ScheduleTotals
from docclf_cli.errors import InputError
from docclf_cli.metrics.class_metrics import compute_metrics, score
from docclf_cli.metrics.confusion import Counts
from docclf_cli.metrics.metrics import METRICS, ConfusionMetric, PageMetric, is_higher_better
from docclf_cli.plots import plots
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.ensembling import ScoreRow
from docclf_cli.tasks.ensemble.selection import advice, measure, metric_of, score_by
from docclf_cli.tasks.evaluate.evaluate import compare
from docclf_cli.tasks.predict.output_formats import OUTPUT_FORMATS
from docclf_cli.tasks.predict.page_predictions import PagePrediction
from docclf_cli.tasks.predict.predict import PredictOptions, predict
from docclf_cli.tasks.train import train

__all__ = ["no_plots"]
HERE = RuntimeConfig(workers=0, precision="fp32")


def matthews(counts: Counts) -> np.ndarray:
    """The Matthews correlation of several classes (Gorodkin 2004); 0 where truth or prediction is a single class."""
    pages = counts.support.sum(axis=-1)
    product = counts.hits.sum(axis=-1) * pages - (counts.predicted * counts.support).sum(axis=-1)
    sides = [pages**2 - (column**2).sum(axis=-1) for column in (counts.predicted, counts.support)]
    size = np.sqrt(np.maximum(sides[0] * sides[1], 0.0))
    return np.divide(product, size, out=np.zeros_like(size), where=size > 1e-9)


@pytest.fixture
def _mcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))
    METRICS.register("mcc")(
        ConfusionMetric(matthews, label="Matthews correlation", lowest=-1.0, in_points=False, headline=True)
    )


@pytest.fixture
def _brier(monkeypatch: pytest.MonkeyPatch) -> None:
    """A metric of which less is better."""
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))
    METRICS.register("brier")(
        PageMetric(
            lambda log_probs, targets: ((np.exp(log_probs) - np.eye(log_probs.shape[1])[targets]) ** 2).sum(axis=1),
            label="Brier score", higher_is_better=False, highest=2.0, in_points=False,
        )
    )  # fmt: skip


@pytest.mark.usefixtures("_mcc")
@pytest.mark.parametrize(("pages", "skill"), [(1, 1.0), (60, 1.0), (60, -2.0), (400, 4.0)])
def test_the_value_is_that_of_scikit_learn_and_its_interval_holds_it(pages: int, skill: float) -> None:
    predictions = at_random(1, pages, 4, skill=skill)
    expected = matthews_corrcoef(predictions.labels, predictions.predicted())
    found = score(predictions).metrics["mcc"]
    assert compute_metrics(predictions)["mcc"] == pytest.approx(expected, abs=1e-9)
    assert found.value == pytest.approx(expected, abs=1e-9)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert (found.low < found.high) == (pages > 1)  # of a single page the correlation is 0, whatever it shows


@pytest.mark.usefixtures("_mcc")
def test_it_is_in_the_table_and_in_the_json() -> None:
    scores = score(at_random(1, 60, 4))
    console = Console(width=120, record=True)
    console.print(scores_table(scores, "val"))
    assert "Matthews correlation" in console.export_text()
    assert set(jsonable(scores)["metrics"]["mcc"]) == {"value", "low", "high"}


@pytest.mark.usefixtures("_mcc")
def test_it_is_drawn_over_the_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"epoch": 1, "lr": 0.1, "train_loss": 2.0, "accuracy": 0.5, "mcc": -0.1}
    drawn = []
    monkeypatch.setattr(plots, "save", lambda axes, path: drawn.append(axes.get_figure()) or path)
    plots.training_curves([row], tmp_path / "curves.png", "one epoch", 1)
    assert [line.get_label() for line in drawn[0].axes[1].lines[:-1]] == ["accuracy", "Matthews correlation"]
    _, chart, _ = training_charts([row])
    assert [line.name for line in chart.lines] == ["accuracy", "Matthews correlation"]
    assert all(float(point) >= 0 for line in chart.lines for point in line.points.replace(",", " ").split())


@pytest.mark.usefixtures("_mcc")
def test_models_are_compared_by_it() -> None:
    good, bad = at_random(1, 300, 4, skill=5.0), at_random(2, 300, 4, skill=0.5)
    found = compare(good, bad, Path("runs/other"), "test", "mcc")
    assert found.monitor == found.differences[0].metric == "mcc"
    expected = [matthews_corrcoef(one.labels, one.predicted()) for one in (good, bad)]
    assert found.differences[0].value == pytest.approx(expected[0] - expected[1])
    assert found.sentences[0].startswith("better by 0.") and "of Matthews correlation, 95 %" in found.sentences[0]


@pytest.mark.usefixtures("_mcc")
def test_ensembles_choose_by_it_and_show_it() -> None:
    good, bad = at_random(1, 300, 4, skill=5.0), at_random(2, 300, 4, skill=0.5)
    chosen = score_by(metric_of("mcc"))
    assert chosen(good.log_probs, good.labels) > chosen(bad.log_probs, bad.labels)
    line = ScoreRow("averaging", measure(good, bad, "mcc"), None)
    assert advice("averaging", line, "the best member").endswith("It is worth its cost.")
    console = Console(width=140, record=True)
    console.print(_score_table("", [line], [line.held_out], set(), ""))
    assert "Matthews correlation" in console.export_text()


@pytest.mark.usefixtures("_brier")
def test_the_direction_of_a_metric_is_followed_wherever_it_matters() -> None:
    good, bad = at_random(1, 300, 4, skill=5.0), at_random(2, 300, 4, skill=0.5)
    assert not is_higher_better("brier")
    assert Plateau(ScheduleTotals(0.1, 2, 3), monitor="brier").falling
    assert score_by("brier")(good.log_probs, good.labels) > score_by("brier")(bad.log_probs, bad.labels)
    assert compare(good, bad, Path("other"), "test", "brier").sentences[0].startswith("better by ")
    assert advice("it", ScoreRow("it", measure(bad, good, "brier"), None), "plain").endswith("Leave it out.")


@pytest.mark.usefixtures("_mcc", "no_plots")
def test_a_training_writes_it_every_epoch_and_chooses_by_it(tmp_path: Path) -> None:
    pages = draw_pages(tmp_path / "data", 10)
    result = train(tiny_profile(pages, tmp_path / "runs", name="r", train__monitor="mcc"))
    with RunFolder(result.run).metrics.open(encoding="utf-8") as file:
        column = [float(row["mcc"]) for row in csv.DictReader(file)]
    assert len(column) == 3
    assert (result.monitor, result.best_epoch) == ("mcc", 1 + int(np.argmax(column)))
    assert result.val.metrics["mcc"].value == pytest.approx(max(column), abs=1e-6)


def test_an_output_format_is_registered_in_one_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(OUTPUT_FORMATS, "_entries", dict(OUTPUT_FORMATS._entries))

    @OUTPUT_FORMATS.register("tab", suffix=".tsv")
    def write_tab(
        file: IO[str], predictions: Iterable[PagePrediction], names: Sequence[str], top_k: int, columns: tuple[str, str]
    ) -> None:
        """Tab-separated values."""
        for prediction in predictions:
            file.write(f"{prediction.shown}\t{names[prediction.top[0][0]]}\n")

    checkpoint = write_checkpoint(tmp_path / "run" / "best.ckpt", ("form", "letter"))
    write_images(tmp_path / "in", 2)
    for options, written in (
        ({"file_format": "tab"}, "predictions/predictions.tsv"),
        ({"output": Path("mine.tsv")}, "mine.tsv"),
    ):
        asked = PredictOptions(inputs=("in",), **options)
        asked.check()
        predict(EnsembleSpec.of_checkpoint(checkpoint, False), asked, stdin=io.BytesIO(), runtime_config=HERE)
        lines = [line.split("\t") for line in Path(written).read_text().splitlines()]
        assert [line[0] for line in lines] == ["in/p0000.png", "in/p0001.png"]
        assert {line[1] for line in lines} <= {"form", "letter"}
    with pytest.raises(InputError, match="contradict each other"):
        PredictOptions(inputs=("in",), file_format="csv", output=Path("mine.tsv")).check()
    with pytest.raises(InputError, match="'xml' is not one of csv, jsonl, parquet, tab"):
        PredictOptions(inputs=("in",), file_format="xml").check()
    help_text = importlib.reload(predict_command).Format.__metadata__[0].help
    assert help_text.startswith("csv or jsonl or parquet or tab ")
