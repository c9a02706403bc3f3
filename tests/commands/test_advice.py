"""Commands that results propose are run as they are printed."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import Outcome
from tiny import draw_pages

Docclf = Callable[..., Outcome]
PLAIN = (
    "--model", "test_resnet", "--no-pretrained", "--image-size", "32", "--batch-size", "4", "--augmentation", "light",
    "--lr", "0.01", "--set", "tracking.backend=none", "--set", "data.degraded_validation=false",
)  # fmt: skip


def follow(docclf: Docclf, command: str, *more: str) -> Outcome:
    program, *words = shlex.split(command)
    assert program == "docclf"
    outcome = docclf(*words, *more)
    assert outcome.code == 0, f"{command}: {outcome.stderr}"
    return outcome


@pytest.mark.slow
@pytest.mark.parametrize("has_test", [True, False])
def test_what_a_run_proposes_next(docclf: Docclf, tmp_path: Path, has_test: bool) -> None:
    draw_pages(tmp_path / "my pages" / ("train" if has_test else ""), 12)
    if has_test:
        draw_pages(tmp_path / "my pages" / "test", 2)
    outcome = docclf("train", "my pages", *PLAIN, "--epochs", "6", "--output", "my runs", "--name", "a")
    assert outcome.code == 0, outcome.stderr
    _, _, proposed = outcome.stdout.partition("Next\n")
    commands = [line.strip() for line in proposed.splitlines() if line.startswith("  docclf ")]
    assert [shlex.split(command)[1] for command in commands] == ["class-report", "evaluate", "predict"]
    if not has_test:  # the folder of other pages is not known
        assert "write their folder in the place of FOLDER" in proposed
        commands[-1] = commands[-1].replace("FOLDER", "'my pages'")
    for command in commands:
        follow(docclf, command)


@pytest.mark.slow
def test_after_a_run_at_chance_level_the_pages_are_looked_at_and_nothing_is_predicted(
    docclf: Docclf, tmp_path: Path
) -> None:
    root = draw_pages(tmp_path / "pages", 15)
    for number, page in enumerate(sorted(root.glob("*/*.png"))):  # labels that no page shows
        page.rename(root / ("form", "letter", "receipt")[number % 3] / f"{number}.png")
    outcome = docclf("train", root, *PLAIN, "--epochs", "1", "--lr", "1e-9", "--name", "a", "--json")
    assert outcome.code == 0, outcome.stderr
    assert "chance" in [one["kind"] for one in outcome.json["verdict"]]
    commands = outcome.json["next_commands"]
    assert [shlex.split(command)[1] for command in commands] == ["class-report", "audit"]
    for command in commands:
        follow(docclf, command)


@pytest.mark.slow
def test_the_settings_that_an_audit_proposes_are_taken_by_train(docclf: Docclf, tmp_path: Path) -> None:
    root = draw_pages(tmp_path / "my pages", 8)
    (root / "form" / "again.png").write_bytes((root / "form" / "form-1.png").read_bytes())
    outcome = docclf("audit", root, "--name", "look")
    assert outcome.code == 0, outcome.stderr
    proposed = re.findall(r"--set data\.\w+=\S+", outcome.stdout)
    assert proposed == ["--set data.groups=runs/look/groups.csv"]
    trained = docclf("train", root, *PLAIN, "--epochs", "1", *shlex.split(proposed[0]), "--name", "b")
    assert trained.code == 0, trained.stderr
