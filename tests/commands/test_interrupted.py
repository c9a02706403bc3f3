"""Ctrl-C and SIGTERM in the commands and phases that take long: the step ends, what is done is kept, the code tells."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import HOOK, Outcome
from member_runs import make_run
from run_files import contents, differing
from tiny import PLAIN, draw_pages

from docclf_cli.engine.checkpoint import Checkpoint
from docclf_cli.files import TEMP_PREFIX

pytestmark = pytest.mark.slow
Docclf = Callable[..., Outcome]
TRAIN = (
    "train", "--model", "test_resnet", "--no-pretrained", "--image-size", "32", "--batch-size", "4", "--augmentation",
    "light", "--epochs", "2", "--set", "runtime.workers=2", "--set", "tracking.backend=none", "--set", "train.ema=0.9",
    *(text for key, value in PLAIN.items() for text in ("--set", f"{key}={value}")),
)  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 9)


MOMENTS = (
    "reading pages", "step 3", "validation", "degraded validation", "epoch 1", "validation pages", "training pages", "fitted",
)  # fmt: skip
PHASES = [
    *((moment, ()) for moment in MOMENTS),
    *((moment, ("--folds", "2")) for moment in ("validation", "fitted")),
    ("fitted", ("--set", "train.refit=true")),
]


@pytest.mark.parametrize("place", range(len(PHASES)), ids=[" ".join((moment, *more)) for moment, more in PHASES])
def test_train_in_each_phase(docclf: Docclf, drawn: Path, tmp_path: Path, place: int) -> None:
    (moment, more), number = PHASES[place], (signal.SIGINT, signal.SIGTERM)[place % 2]
    off = ("--set", "data.cache=off") if moment == "reading pages" else ()
    command = (*TRAIN, "--data", drawn, "--name", "a", *more, *off)
    outcome = docclf(*command, env={HOOK: f"signal {number:d} at {moment}"})
    assert outcome.code == 128 + number, outcome.stderr
    assert "everything is saved in runs/a" in outcome.stderr
    assert "docclf train --resume runs/a" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""
    assert '"stopped"' in (tmp_path / "runs" / "a" / "run.json").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_inside_a_checkpoint_leaves_whole_files(
    docclf: Docclf, drawn: Path, tmp_path: Path, number: int
) -> None:
    command = (*TRAIN, "--data", drawn, "--set", "train.checkpoint_every.steps=1")
    twice = docclf(*command, "--name", "a", env={HOOK: f"twice {number:d} in last.ckpt"})
    assert twice.code == 128 + number
    run = tmp_path / "runs" / "a"
    assert [path.name for path in run.glob(f"{TEMP_PREFIX}*")], "the signals came inside the write"
    assert Checkpoint.load(run / "last.ckpt").training["state"]["step"] == 1
    resumed = docclf("train", "--resume", "runs/a")
    assert resumed.code == 0, resumed.stderr
    assert not list(run.glob(f"{TEMP_PREFIX}*"))
    assert docclf(*command, "--name", "b").code == 0
    assert differing(contents(run), contents(tmp_path / "runs" / "b")) == []


OTHERS = {
    "evaluate": (("evaluate", "--checkpoint", "runs/m"), "predicting"),
    "predict": (("predict", "DATA/form", "--checkpoint", "runs/m", "--output", "out"), "predicting"),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", OTHERS)
def test_other_commands(docclf: Docclf, drawn: Path, tmp_path: Path, name: str, number: int) -> None:
    make_run(tmp_path / "runs" / "m", drawn, 0)
    args, moment = OTHERS[name]
    command = [str(drawn / "form") if arg == "DATA/form" else arg for arg in args]
    before = contents(tmp_path / "runs")
    outcome = docclf(*command, env={HOOK: f"signal {number:d} at {moment}"})
    assert outcome.code == 128 + number, (outcome.code, outcome.stderr)
    assert "stopped" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    changed = differing(contents(tmp_path / "runs"), before)
    assert not [name for name in changed if not name.startswith(("m/predictions/", "m/evaluate/"))]
    assert not list(tmp_path.rglob(f"{TEMP_PREFIX}*"))
    assert docclf(*command, *(("--overwrite",) if name == "predict" else ())).code == 0
