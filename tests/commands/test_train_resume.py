"""`docclf train --resume` as people type it."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import CliProcess, Outcome
from tiny import PLAIN, draw_pages

Docclf = Callable[..., Outcome]
TINY = (
    "--profile", "config", "--model", "test_resnet", "--no-pretrained", "--image-size", "32", "--batch-size", "4", "--augmentation", "none",
    "--set", "data.degraded_validation=false", "--set", "tracking.backend=none",
    *(text for key, value in PLAIN.items() for text in ("--set", f"{key}={value}")),
)  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 6)


@pytest.mark.slow
def test_auto_starts_then_continues_then_is_done(
    start: Callable[..., CliProcess], docclf: Docclf, pages: Path, tmp_path: Path
) -> None:
    command = ("train", "--data", pages, *TINY, "--resume", "auto", "--epochs", "100")
    process = start(*command)
    process.wait_for("\n    1 ")
    process.send(signal.SIGINT)
    stopped = process.wait(60)
    assert stopped.code == 130
    assert "starting a new run" in stopped.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert f"docclf train --resume runs/{run.name}" in stopped.stderr
    (run / "profile.yaml").write_text((run / "profile.yaml").read_text().replace("epochs: 100", "epochs: 2"))
    gone_on = docclf(*command[:-1], "2", "--json")
    assert gone_on.code == 0, gone_on.stderr
    assert f"resuming runs/{run.name}" in gone_on.stderr
    assert gone_on.json["run"] == f"runs/{run.name}"
    done = docclf("train", "--resume", f"runs/{run.name}", "--json")
    assert (done.code, done.json["run"]) == (0, f"runs/{run.name}")
    assert done.json["f1_macro"] == gone_on.json["val"]["metrics"]["f1_macro"]["value"]
    said = docclf("train", "--resume", f"runs/{run.name}")
    assert "is finished" in said.stdout
    more = docclf("train", "--resume", f"runs/{run.name}", "--epochs", "3", "--allow-changes", "--json")
    assert (more.code, more.json["epochs"]) == (0, 3), more.stderr
    assert "train.epochs: was 2, is 3" in more.stderr


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--resume", "nowhere"), "nowhere is not a run folder"),
        (("--resume", "mine", "--overwrite"), "--overwrite"),
        (("--resume", "mine", "--name", "other"), "--name"),
    ],
)
def test_contradictions_are_refused(docclf: Docclf, tmp_path: Path, args: tuple[str, ...], text: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "profile.yaml").write_text("seed: 0\n")
    outcome = docclf("train", *args)
    assert outcome.code == 2
    assert text in outcome.stderr
    assert "Traceback" not in outcome.stderr
