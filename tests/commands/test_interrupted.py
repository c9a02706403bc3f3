"""Ctrl-C and SIGTERM in the commands and phases that take long: the step ends, what is done is kept, the code tells."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import HOOK, CliProcess, Outcome
from member_runs import make_run
from run_files import contents, differing
from tiny import PLAIN, draw_pages

from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.files import TEMP_PREFIX

pytestmark = pytest.mark.slow
Docclf = Callable[..., Outcome]
TRAIN = (
    "train", "--profile", "config", "--model", "test_resnet", "--no-pretrained", "--image-size", "32", "--batch-size", "4", "--augmentation",
    "light", "--epochs", "2", "--set", "runtime.workers=2", "--set", "tracking.backend=none", "--set", "train.ema=0.9",
    *(text for key, value in PLAIN.items() for text in ("--set", f"{key}={value}")),
)  # fmt: skip

EACH_STEP = ("--set", "train.checkpoint_every.steps=1")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 9)


MOMENTS = ("reading pages", "step 3", "validation", "degraded validation", "epoch 1", "training pages", "fitted")
PHASES = [
    *((moment, ()) for moment in MOMENTS),
    *((moment, ("--folds", "2")) for moment in ("validation", "fitted")),
    ("fitted", ("--set", "train.refit=true")),
    # What the last validation said is not asked again, so the first epoch is kept.
    ("validation pages", ("--scheduler", "cosine", "--set", "train.monitor=lr")),
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


@pytest.fixture(scope="module")
def whole(drawn: Path, tmp_path_factory: pytest.TempPathFactory, cache_home: Path) -> dict[str, bytes]:
    """The undisturbed run that saves every step."""
    folder, command = tmp_path_factory.mktemp("whole"), (*TRAIN, *EACH_STEP, "--data", str(drawn), "--name", "b")
    outcome = CliProcess(command, folder, {"XDG_CACHE_HOME": str(cache_home)}).wait()
    assert outcome.code == 0, outcome.stderr
    return contents(folder / "runs" / "b")


@pytest.mark.parametrize(
    ("number", "place"),
    [
        (signal.SIGINT, "2 last.ckpt"),
        (signal.SIGTERM, "2 last.ckpt"),
        (signal.SIGKILL, "2 last.ckpt"),
        (signal.SIGTERM, "1 best.ckpt"),
        (signal.SIGKILL, "1 best.ckpt"),
    ],
)
def test_a_process_that_ends_inside_a_checkpoint_leaves_whole_files(
    docclf: Docclf, drawn: Path, tmp_path: Path, whole: dict[str, bytes], number: int, place: str
) -> None:
    """By a second signal, or by the one that cannot be handled."""
    ended = docclf(*TRAIN, *EACH_STEP, "--data", drawn, "--name", "a", env={HOOK: f"twice {number:d} in {place}"})
    assert ended.code == (-number if number == signal.SIGKILL else 128 + number)
    run, name = tmp_path / "runs" / "a", place.split()[1]
    (half,) = run.glob(f"{TEMP_PREFIX}*")
    assert half.name.startswith(f"{TEMP_PREFIX}{name}"), "it ended inside the write"
    step = Checkpoint.load(run / "last.ckpt").training["state"]["step"]
    assert step == 1 if name == "last.ckpt" else step > 1
    resumed = docclf("train", "--resume", "runs/a")
    assert resumed.code == 0, resumed.stderr
    assert not list(run.glob(f"{TEMP_PREFIX}*"))
    assert differing(contents(run), whole) == []


BOTH = ("--members", "runs/m", "--members", "runs/n")
OTHERS = {
    "evaluate": (("evaluate", "--checkpoint", "runs/m"), "predicting"),
    "predict": (("predict", "DATA/form", "--checkpoint", "runs/m", "--output", "out"), "predicting"),
    "ensemble": (("ensemble", *BOTH, "--split", "val", "--name", "e"), "predicting"),
    "tta": (("tta", "--checkpoint", "runs/m"), "predicting"),
    "class-report": (("class-report", "runs/m"), "predicting"),
    "audit": (("audit", "--data", "DATA", "--name", "look"), "reading file headers"),
}
DERIVED = ("m/predictions/", "n/predictions/", "m/evaluate/", "m/tta/", "m/class-report/", "e/", "look/")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", OTHERS)
def test_other_commands(docclf: Docclf, drawn: Path, tmp_path: Path, name: str, number: int) -> None:
    for seed, run in enumerate(("m", "n")):
        make_run(tmp_path / "runs" / run, drawn, seed)
    args, moment = OTHERS[name]
    command = [arg.replace("DATA", str(drawn)) for arg in args]
    before = contents(tmp_path / "runs")
    outcome = docclf(*command, env={HOOK: f"signal {number:d} at {moment}"})
    assert outcome.code == 128 + number, (outcome.code, outcome.stderr)
    assert "stopped" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    changed = differing(contents(tmp_path / "runs"), before)
    assert not [file for file in changed if not file.startswith(DERIVED)]
    assert not list(tmp_path.rglob(f"{TEMP_PREFIX}*"))
    over = ("--overwrite",) if name in ("predict", "ensemble", "audit") else ()
    again = docclf(*command, *over)
    assert again.code == 0, again.stderr
