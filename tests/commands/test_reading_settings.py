"""`--set` where a trained model is used: how pages are read, and how many may be unreadable."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import Outcome
from member_runs import make_run
from tiny import draw_pages

Docclf = Callable[..., Outcome]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reading")
    make_run(folder / "a", draw_pages(folder / "data", 6), 0, val_fraction=0.5)
    return folder / "a"


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """Pages of the same classes that trained nothing; one is empty, and one is a link to elsewhere."""
    root = draw_pages(tmp_path / "others", 9)
    for name in root.glob("*/*-[0-5].png"):
        name.unlink()  # the pages of the run have these names and this content
    (root / "form" / "form-6.png").write_bytes(b"")
    page = root / "letter" / "letter-6.png"
    page.rename(tmp_path / "elsewhere.png")
    page.symlink_to(tmp_path / "elsewhere.png")
    return root


def test_too_many_unreadable_pages_end_an_evaluation_with_3_after_its_scores(
    docclf: Docclf, run: Path, others: Path, tmp_path: Path
) -> None:
    def evaluate(*sets: str) -> Outcome:
        given = [word for one in sets for word in ("--set", one)]
        return docclf("evaluate", run, "--data", others, "--output", tmp_path / "out", "--json", *given)

    refused = evaluate()
    assert refused.code == 3
    assert refused.json["scores"]["unreadable"] == 2
    assert "2 of 9 pages cannot be read, more than 1.00%" in refused.stderr
    followed = evaluate("data.allow_symlinks=true", "data.max_unreadable=0.2")
    assert followed.code == 0, followed.stderr
    assert followed.json["scores"]["unreadable"] == 1
    assert followed.json["max_unreadable"] == 0.2


@pytest.mark.parametrize("command", ["evaluate", "class-report", "export"])
def test_what_training_fixed_is_refused(docclf: Docclf, run: Path, command: str) -> None:
    outcome = docclf(command, run, "--set", "data.image_size=64")
    assert outcome.code == 2
    assert "training fixed this value" in outcome.stderr


def test_a_report_reads_linked_pages_where_that_is_set(docclf: Docclf, run: Path, others: Path, tmp_path: Path) -> None:
    options = ("--data", others, "--output", tmp_path / "out", "--json", "--set", "data.allow_symlinks=true")
    outcome = docclf("class-report", run, *options)
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["scores"]["unreadable"] == 1
