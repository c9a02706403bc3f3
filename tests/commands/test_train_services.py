"""What `docclf train` tells W&B and S3, and that neither can spoil a run."""

import csv
import json
import re
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import s3_server
from cli_process import CliProcess, Outcome
from s3_server import BUCKET, S3Server
from wandb_stub import FAULTS, bad_server, history, only, read_records

from docclf_cli.commands._push import push_finished
from docclf_cli.errors import Interrupted
from docclf_cli.files import sha256_of
from docclf_cli.profile.schema import S3Config
from docclf_cli.results.metrics import Scores
from docclf_cli.results.training import TrainResult
from docclf_cli.services.storage import push as s3_push
from docclf_cli.services.tracking.tracker import SHARED_KEYS

KEY = "wandbcanary" + "7" * 29
CANARIES = {"AWS_ACCESS_KEY_ID": "AKIACANARY0000000001", "AWS_SECRET_ACCESS_KEY": "s3canary/" + "x" * 31}
PICTURES = ("confusion_matrix", "val_class_performance", "train_val_comparison", "training_curves")


@dataclass(frozen=True)
class Trained:
    """A finished command and its run folder."""

    outcome: Outcome
    run: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server.running(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """The environment of somebody who has logged in nowhere."""
    folder = str(tmp_path_factory.mktemp("home"))
    return {"HOME": folder, "WANDB_MODE": None, "AWS_EC2_METADATA_DISABLED": "true", "COLUMNS": "120"}


@pytest.fixture(scope="module")
def mirrored(
    tmp_path_factory: pytest.TempPathFactory,
    cache_home: Path,
    pages: Path,
    tiny: tuple[str, ...],
    home: Mapping[str, str | None],
    server: S3Server,
) -> Trained:
    """A run that W&B kept offline, and that was pushed to the bucket."""
    folder = tmp_path_factory.mktemp("mirrored")
    env = {**home, **server.environment(), "WANDB_MODE": "offline", "XDG_CACHE_HOME": str(cache_home)}
    sets = (
        "--set",
        "tracking.tags=[tried, tiny]",
        "--set",
        "tracking.artifacts=true",
        "--set",
        "tracking.project=pages",
    )
    args = ("train", "--data", str(pages), *tiny, "--epochs", "3", "--name", "mirrored", *sets, "--json")
    outcome = CliProcess(args, folder, env).wait()
    assert outcome.code == 0, outcome.stderr
    return Trained(outcome, folder / "runs" / "mirrored")


def offline_file(folder: Path) -> Path:
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    return path


def scalars(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was logged for each epoch, without timings, pictures and tables."""
    kept = [{key: value for key, value in row.items() if "." not in key and "timing/" not in key} for row in rows]
    return [{key: value for key, value in row.items() if isinstance(value, int | float)} for row in kept]


def metrics(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_every_epoch_is_mirrored_with_the_metrics_of_the_metrics_file(mirrored: Trained) -> None:
    logged = scalars(history(read_records(offline_file(mirrored.run))))
    written = metrics(mirrored.run)
    assert len(logged) == len(written) == 3
    for row, expected in zip(logged, written, strict=True):
        assert row.pop("_step") == expected["epoch"]
        assert row == expected
    assert len({row["lr"] for row in logged}) > 1


def test_settings_summary_and_tags_are_those_of_the_run(mirrored: Trained) -> None:
    found = read_records(offline_file(mirrored.run))
    run = only(found, "run")
    assert (run.project, run.display_name, run.run_group, list(run.tags)) == (
        "pages",
        "mirrored",
        "",
        ["tried", "tiny"],
    )
    given = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert {key for key in given if not key.startswith("_")} == set(SHARED_KEYS)
    assert given["train"]["epochs"] == 3
    summary = {update.key: json.loads(update.value_json) for record in found for update in record.summary.update}
    result = mirrored.outcome.json
    kept = metrics(mirrored.run)[result["best_epoch"] - 1]
    assert (summary["best_epoch"], summary["f1_macro"]) == (result["best_epoch"], kept["f1_macro"])
    assert summary["val/f1_macro_low"] == result["val"]["metrics"]["f1_macro"]["low"]
    assert only(found, "exit").exit_code == 0
    (model,) = [record.artifact for record in found if record.artifact.type == "model"]
    assert model.name == "mirrored"
    assert {entry.path for entry in model.manifest.contents} == {"best.ckpt"}


def test_plots_and_tables_are_mirrored_and_no_page_is(mirrored: Trained) -> None:
    media = offline_file(mirrored.run).parent / "files" / "media"
    pictures = {path.name.rsplit("_", 2)[0]: path for path in media.glob("images/*.png")}
    assert set(pictures) == set(PICTURES)
    for name, path in pictures.items():
        (written,) = mirrored.run.glob(f"{name}.png")
        assert sha256_of(path) == sha256_of(written)
    tables = {path.name.rsplit("_", 2)[0]: json.loads(path.read_text()) for path in media.glob("table/*.json")}
    classes = {row[0]: row for row in tables["val_class_metrics"]["data"]}
    for row in mirrored.outcome.json["val"]["classes"]:
        assert classes[row["name"]][tables["val_class_metrics"]["columns"].index("f1")] == row["f1"]["value"]
    assert tables["confusion_matrix"]["columns"] == ["target", "prediction", "pages"]
    assert sum(row[2] for row in tables["confusion_matrix"]["data"]) == mirrored.outcome.json["val"]["support"]


def test_the_line_at_the_end_sends_it(mirrored: Trained) -> None:
    (line,) = [line for line in mirrored.outcome.stderr.splitlines() if "wandb sync" in line]
    assert line.startswith("wandb: kept offline")
    assert shlex.split(line.split("wandb sync ")[1]) == [str(offline_file(mirrored.run).parent)]


def test_a_finished_run_is_pushed_and_says_where(mirrored: Trained, server: S3Server) -> None:
    assert mirrored.outcome.json["pushed"] == f"s3://{BUCKET}/docclf/mirrored/manifest.json"
    manifest = json.load(server.client().get_object(Bucket=BUCKET, Key="docclf/mirrored/manifest.json")["Body"])
    sums = {file["path"]: file["sha256"] for file in manifest["files"]}
    assert sums["best.ckpt"] == sha256_of(mirrored.run / "best.ckpt")
    assert not any("wandb" in path for path in sums)


@pytest.mark.slow
def test_a_checkpoint_in_s3_is_evaluated_like_the_local_one(
    docclf: Callable[..., Outcome], mirrored: Trained, server: S3Server, tmp_path: Path
) -> None:
    here = docclf("evaluate", "--checkpoint", mirrored.run, "--json")
    env = {**server.environment(), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    there = docclf("evaluate", "--checkpoint", f"s3://{BUCKET}/docclf/mirrored", "--json", env=env)
    assert there.code == 0, there.stderr
    assert there.json["scores"] == here.json["scores"]
    absent = docclf("evaluate", "--checkpoint", f"s3://{BUCKET}/docclf/absent", env=env)
    assert (absent.code, "there is no such object" in absent.stderr) == (4, True)
    malformed = docclf("evaluate", "--checkpoint", f"s3://{BUCKET}", env=env)
    assert (malformed.code, "s3://bucket/key" in malformed.stderr) == (2, True)


@pytest.mark.slow
def test_each_fold_is_a_run_in_one_group(
    docclf: Callable[..., Outcome], pages: Path, tiny: tuple[str, ...], home: Mapping[str, str], tmp_path: Path
) -> None:
    args = ("--epochs", "2", "--folds", "2", "--name", "f", "--json")
    outcome = docclf("train", "--data", pages, *tiny, *args, env={**home, "WANDB_MODE": "offline"})
    assert outcome.code == 0, outcome.stderr
    run = tmp_path / "runs" / "f"
    files = [offline_file(folder) for folder in (run / "fold-0", run / "fold-1", run)]
    runs = [only(read_records(path), "run") for path in files]
    assert [(run.display_name, run.run_group) for run in runs] == [("f-fold-0", "f"), ("f-fold-1", "f"), ("f", "f")]
    for fold, path in zip((run / "fold-0", run / "fold-1"), files[:2], strict=True):
        logged = [{k: v for k, v in row.items() if k != "_step"} for row in scalars(history(read_records(path)))]
        assert logged == metrics(fold)
    summary = {item.key: json.loads(item.value_json) for r in read_records(files[2]) for item in r.summary.update}
    assert summary["val/accuracy"] == outcome.json["val"]["metrics"]["accuracy"]["value"]
    (line,) = [line for line in outcome.stderr.splitlines() if "wandb sync" in line]
    assert shlex.split(line.split("wandb sync ")[1]) == [str(path.parent) for path in files]
    assert outcome.stderr.count("wandb: ") == 1  # that line


@pytest.mark.slow
def test_a_run_that_is_stopped_is_marked_so_and_goes_on_as_the_same_run(
    start: Callable[..., CliProcess], pages: Path, tiny: tuple[str, ...], home: Mapping[str, str], tmp_path: Path
) -> None:
    env = {**home, "WANDB_MODE": "offline"}
    process = start("train", "--data", pages, *tiny, "--epochs", "8", "--name", "a", env=env)
    process.wait_for("\n    2 ")
    process.send(signal.SIGTERM)
    outcome = process.wait(60)
    assert outcome.code == 143, outcome.stderr
    assert "wandb sync" in outcome.stderr
    run = tmp_path / "runs" / "a"
    first = offline_file(run)
    assert only(read_records(first), "exit").exit_code == 143

    outcome = start("train", "--resume", "runs/a", env=env).wait()
    assert outcome.code == 0, outcome.stderr
    files = sorted(run.glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 2 and first in files
    records = [read_records(path) for path in files]
    assert len({only(found, "run").run_id for found in records}) == 1
    assert only(records[1], "exit").exit_code == 0
    logged = [row for found in records for row in scalars(history(found))]
    assert [{key: row[key] for key in row if key != "_step"} for row in logged] == metrics(run)
    sync = outcome.stderr.split("wandb sync ")[1].split("\n")[0]
    assert shlex.split(sync) == [str(path.parent) for path in files]


@pytest.mark.slow
def test_wrong_keys_spoil_nothing_and_no_secret_is_left_anywhere(
    docclf: Callable[..., Outcome],
    pages: Path,
    tiny: tuple[str, ...],
    home: Mapping[str, str],
    server: S3Server,
    tmp_path: Path,
) -> None:
    with bad_server("401") as wandb:
        (tmp_path / ".env").write_text(f"WANDB_API_KEY={KEY}\nWANDB_BASE_URL={wandb.url}\n")
        (tmp_path / ".env").chmod(0o600)
        args = ("--epochs", "2", "--name", "a", "--json", "--debug")
        outcome = docclf("train", "--data", pages, *tiny, *args, env={**home, **server.environment(), **CANARIES})
    assert outcome.code == 0, outcome.stderr
    assert outcome.json["pushed"] is None
    assert re.findall("warning: (.*?)[:;,]", outcome.stderr) == ["wandb", "the run is finished"]
    assert "does not know these keys" in outcome.stderr
    assert f"to push it: docclf s3-push runs/a --profile {Path('runs/a/profile.yaml')}" in outcome.stderr
    assert len(metrics(tmp_path / "runs" / "a")) == 2
    assert_nowhere((KEY, *CANARIES.values()), tmp_path, outcome)


def assert_nowhere(secrets: tuple[str, ...], folder: Path, outcome: Outcome) -> None:
    """No secret is in a file below `folder` but `.env`, nor in what was printed."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".env"]
    assert any(path.suffix == ".wandb" for path in files)
    for secret in secrets:
        assert secret not in outcome.stdout + outcome.stderr
        for path in files:
            assert secret.encode() not in path.read_bytes(), path


@pytest.fixture
def result(mirrored: Trained, tmp_path: Path) -> TrainResult:
    """The mirrored run with another checkpoint."""
    run = tmp_path / "runs" / "mirrored"
    shutil.copytree(mirrored.run, run)
    (run / "best.ckpt").write_bytes(b"other weights")
    empty = Scores({}, (), 0)
    return TrainResult(run, "test_resnet", 1, 1, "f1_macro", empty)


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("bucket")
def test_the_warning_says_how_to_push_and_that_works(
    docclf: Callable[..., Outcome], result: TrainResult, server: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    assert push_finished(result, S3Config(), quiet=True).pushed is None
    (warning,) = caplog.messages
    assert "a model of this name with other checkpoints is stored" in warning
    command = shlex.split(warning.split("to push it: docclf ")[1])
    again = docclf(*command, "--name", "second", "--json", env=server.environment())
    assert again.code == 0, again.stderr
    assert again.json["manifest"] == f"s3://{BUCKET}/docclf/second/manifest.json"


@pytest.mark.usefixtures("bucket")
def test_nothing_is_pushed_unasked(
    result: TrainResult, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_push, "push", lambda *_, **__: pytest.fail("pushed"))
    assert push_finished(result, S3Config(auto_push=False), quiet=True) == result
    monkeypatch.setenv("S3_BUCKET_NAME", "your-s3-bucket-name")
    assert push_finished(result, S3Config(), quiet=True) == result
    assert not caplog.records


@pytest.mark.usefixtures("bucket")
def test_a_bug_in_the_push_is_a_warning(
    result: TrainResult, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_push, "push", lambda *_, **__: [][0])
    assert push_finished(result, S3Config(), quiet=True) == result
    assert "not pushed: IndexError" in caplog.text


@pytest.mark.usefixtures("bucket")
def test_a_push_that_is_stopped_stops_the_command(result: TrainResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_push, "push", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted, match="is finished, but its push was stopped") as stopped:
        push_finished(result, S3Config(), quiet=True)
    assert stopped.value.exit_code == 143
    assert f"docclf s3-push {result.run}" in stopped.value.hint


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_wandb_neither_stops_nor_delays_a_run(
    docclf: Callable[..., Outcome],
    pages: Path,
    tiny: tuple[str, ...],
    home: Mapping[str, str],
    tmp_path: Path,
    fault: str,
) -> None:
    def train(name: str, **env: str) -> tuple[float, Outcome]:
        begun = time.monotonic()
        outcome = docclf("train", "--data", pages, *tiny, "--epochs", "2", "--name", name, env={**home, **env})
        return time.monotonic() - begun, outcome

    plain, _ = train("plain", WANDB_MODE="disabled")
    with bad_server(fault) as server:
        seconds, outcome = train("broken", WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
    assert outcome.code == 0, outcome.stderr
    assert outcome.stderr.count("warning: ") == 1, outcome.stderr
    assert "wandb sync" in outcome.stderr
    assert seconds - plain < 30
    assert (tmp_path / "runs/plain/metrics.csv").read_text() == (tmp_path / "runs/broken/metrics.csv").read_text()
