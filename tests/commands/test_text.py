"""Documents that look alike and say different things, through the command line."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import Outcome
from page_cases import page
from text_cases import shown, words_of, write_documents, write_text_pdf

import docclf_cli

Docclf = Callable[..., Outcome]
TINY = ("--profile", "config", "--model", "test_resnet", "--no-pretrained", "--image-size", "32", "--batch-size", "8",
        "--augmentation", "none", "--epochs", "1", "--device", "cpu", "--set", "data.degraded_validation=false")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_documents(tmp_path_factory.mktemp("documents"), each=14)


@pytest.fixture
def reads_only(docclf: Docclf, folder: Path) -> Outcome:
    outcome = docclf("train", folder, "--model", "text", "--name", "words", "--json")
    assert outcome.code == 0, outcome.stderr
    return outcome


def test_a_text_only_run_is_an_ordinary_run(docclf: Docclf, reads_only: Outcome, tmp_path: Path) -> None:
    result = reads_only.json
    assert result["text"]["alone"]
    assert result["sides"] == []
    assert result["documents"]["metrics"]["accuracy"]["value"] > 0.7
    for name in ("best.ckpt", "run.json", "metrics.csv", "val_class_metrics.csv"):
        assert (tmp_path / "runs/words" / name).exists()
    again = docclf("evaluate", "--checkpoint", "runs/words", "--json").json
    assert again["scores"]["metrics"]["f1_macro"] == result["val"]["metrics"]["f1_macro"]
    write_text_pdf(tmp_path / "new" / "a.pdf", [words_of("credit", 500), shown("", top=1)])
    page(1).save(tmp_path / "new" / "b.png")
    assert docclf("predict", "new", "--checkpoint", "runs/words", "--output", "out").code == 0
    with (tmp_path / "out/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["class"] == "credit"
    assert all(float(row["confidence"]) < 0.34 for row in rows[1:])  # pages without text: all classes alike
    explained = docclf(
        "predict", "new/a.pdf", "--checkpoint", "runs/words", "--output", "why", "--explain-text", "why.csv"
    )
    assert explained.code == 0, explained.stderr
    with (tmp_path / "why.csv").open() as file:
        words = [row["word"] for row in csv.DictReader(file) if row["class"] == "credit"]
    assert {"credit", "return", "account"} & set(" ".join(words).split())
    assert docclf("class-report", "runs/words", "--html", "--no-thumbnails").code == 0
    assert '"words"' in (tmp_path / "runs/words/class-report/val/report.html").read_text()


def test_what_a_model_that_only_reads_cannot_do_is_one_line(docclf: Docclf, folder: Path, reads_only: Outcome) -> None:
    for arguments in (
        ("export", "--checkpoint", "runs/words", "--format", "safetensors"),
        ("tta", "--checkpoint", "runs/words"),
        ("adapt", "runs/words", "--to", folder),
    ):
        outcome = docclf(*arguments)
        assert outcome.code == 2, outcome.stderr
        assert "only reads" in outcome.stderr
        assert "Traceback" not in outcome.stderr


def test_image_and_text_side_by_side_and_everywhere_the_same(docclf: Docclf, folder: Path, tmp_path: Path) -> None:
    outcome = docclf("train", folder, *TINY, "--name", "both", "--json")
    assert outcome.code == 0, outcome.stderr
    assert "text is used" in outcome.stderr
    result = outcome.json
    assert [side["side"] for side in result["sides"]] == ["image", "text", "both"]
    image, _, both = result["sides"]
    assert both["document_accuracy"]["value"] > image["document_accuracy"]["value"] + 0.3
    assert result["text"]["gain_low"] > 0
    evaluated = docclf("evaluate", "--checkpoint", "runs/both", "--json").json
    assert evaluated["sides"] == result["sides"]
    assert "both" in docclf("class-report", "runs/both").stdout
    # Pages that are read from files, by Python and by stored predictions are joined in the same way.
    name = next((folder / "order").iterdir())
    assert docclf("predict", name, "--checkpoint", "runs/both", "--output", "out").code == 0
    with (tmp_path / "out/predictions.csv").open() as file:
        first = next(csv.DictReader(file))
    (python, *_) = docclf_cli.load(tmp_path / "runs/both").predict(name)
    assert (python.label, round(python.confidence, 4)) == (first["class"], round(float(first["confidence"]), 4))
    assert first["class"] == "order"


@pytest.mark.slow
def test_adapted_statistics_of_an_image_keep_its_text(docclf: Docclf, folder: Path) -> None:
    assert docclf("train", folder, *TINY, "--name", "both").code == 0
    adapted = docclf("adapt", "runs/both", "--to", folder, "--prior", "0", "--max-loss", "1", "--json")
    assert adapted.code == 0, adapted.stderr
    result = adapted.json
    assert "the weights of image and text" in result["sentences"][0]
    assert result["pages"] > 42  # second pages too
    after = docclf("evaluate", "runs/both/adapted.ckpt", "--json").json
    assert [side["side"] for side in after["sides"]] == ["image", "text", "both"]
    assert after["scores"]["metrics"]["f1_macro"]["value"] == pytest.approx(result["held_out_after"])
    assert result["confidence_after"] > 0.6  # text is what tells these classes


def test_text_off_only_looks_and_no_pdf_costs_nothing(docclf: Docclf, folder: Path, pages: Path) -> None:
    outcome = docclf("train", folder, *TINY, "--text", "off", "--name", "off", "--json")
    assert outcome.json["text"] is None
    assert "text" not in outcome.stderr
    outcome = docclf("train", pages, *TINY, "--name", "images", "--json")
    assert outcome.json["text"] is None
    assert "reading text" not in outcome.stderr


def test_a_wrong_word_for_text_is_told(docclf: Docclf, folder: Path) -> None:
    outcome = docclf("train", folder, "--text", "always")
    assert outcome.code == 2
    assert "text" in outcome.stderr
