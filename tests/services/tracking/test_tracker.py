import json
import logging
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from wandb_stub import FAULTS, bad_server, history, only, read_records, wait_for

from docclf_cli.errors import InputError
from docclf_cli.profile.schema import Profile, TrackingConfig
from docclf_cli.services.tracking import wandb_tracker
from docclf_cli.services.tracking.backends import create_tracker
from docclf_cli.services.tracking.tracker import SHARED_KEYS, NoTracker, RunInfo, Tracker, shared_config
from docclf_cli.services.tracking.wandb_mode import has_key, resolve_mode, unreachable
from docclf_cli.services.tracking.wandb_process import is_whole

KEY = "k" * 40
EPOCHS = [{"train_loss": 1.0 / n, "f1_macro": 0.5 + n / 10, "lr": 1e-3 / n} for n in (1, 2, 3)]
WARNING = logging.WARNING
Environ = Callable[..., dict[str, str]]


@pytest.fixture
def environ(tmp_path: Path) -> Environ:
    """An environment without a key or a mode, whose home folder is empty."""

    def make(**more: str) -> dict[str, str]:
        cleared = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        return {**cleared, "HOME": str(tmp_path / "home"), **more}

    return make


@pytest.fixture
def tracked(environ: Environ, tmp_path: Path) -> Iterator[Callable[..., Tracker]]:
    """Start a tracked run in `tmp_path/run`; whatever is left of it is ended after the test."""
    started: list[Tracker] = []

    def start(config: TrackingConfig = TrackingConfig(), folder: str = "run", **more: str) -> Tracker:  # noqa: B008
        tracker = create_tracker(config, environ(**more))
        started.append(tracker)
        (tmp_path / folder).mkdir(exist_ok=True)
        tracker.start(RunInfo(tmp_path / folder, "a run", {"optimizer": {"lr": 0.1}}, group="folds of a run"))
        return tracker

    yield start
    for tracker in started:
        if (channel := getattr(tracker, "_channel", None)) is not None:
            channel._process.kill()


def log_epochs(tracker: Tracker) -> None:
    for epoch, metrics in enumerate(EPOCHS, start=1):
        tracker.log(metrics, epoch)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*/*.wandb"))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, of this test alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_an_offline_run_holds_what_was_logged(tracked: Callable[..., Tracker], tmp_path: Path, temporary: Path) -> None:
    config = TrackingConfig(project="pages", tags=("a", "b"), artifacts=True)
    tracker = tracked(config, WANDB_MODE="offline", WANDB_API_KEY=KEY, TMPDIR=str(temporary))
    log_epochs(tracker)
    Image.new("RGB", (4, 3), "red").save(tmp_path / "confusion_matrix.png")
    tracker.image("confusion_matrix", tmp_path / "confusion_matrix.png")
    tracker.table("classes", ["class", "f1"], [["form", np.float32(0.5)], ["영수증", 0.75]])
    (tmp_path / "best.ckpt").write_bytes(b"weights")
    tracker.artifact(tmp_path / "best.ckpt", "a run/best", {"epoch": 3})
    line = tracker.finish({"f1_macro": 0.8, "best_epoch": 3})

    (path,) = files(tmp_path / "run")
    found = read_records(path)
    rows = history(found)
    for step, (row, metrics) in enumerate(zip(rows, EPOCHS, strict=True), start=1):
        assert row["_step"] == step
        assert {key: row[key] for key in metrics} == metrics
    assert {"confusion_matrix", "classes"} <= {key.split(".")[0] for key in rows[-1]}
    run = only(found, "run")
    assert (run.project, run.display_name, run.run_group, list(run.tags)) == (
        "pages",
        "a run",
        "folds of a run",
        ["a", "b"],
    )
    given = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert given["optimizer"] == {"lr": 0.1}
    media = path.parent / "files/media"
    (table,) = media.glob("table/*.json")
    assert json.loads(table.read_text())["data"] == [["form", 0.5], ["영수증", 0.75]]
    (picture,) = media.glob("images/*.png")
    assert Image.open(picture).size == (4, 3)
    artifact = only(found, "artifact")
    assert (artifact.name, artifact.type, json.loads(artifact.metadata)) == ("a-run-best", "model", {"epoch": 3})
    summary = {update.key: update.value_json for record in found for update in record.summary.update}
    assert (summary["best_epoch"], summary["f1_macro"]) == ("3", "0.8")
    assert only(found, "exit").exit_code == 0
    assert line.endswith(f"wandb sync {path.parent}")
    assert (tmp_path / "run/wandb-id.txt").read_text().strip() == run.run_id
    for file in (tmp_path / "run").rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file
    assert not list(temporary.iterdir())


def test_a_resumed_run_is_the_same_run_of_wandb(tracked: Callable[..., Tracker], tmp_path: Path) -> None:
    for _ in range(2):
        line = tracked(WANDB_MODE="offline").finish({})
    first, second = files(tmp_path / "run")
    assert only(read_records(first), "run").run_id == only(read_records(second), "run").run_id
    assert str(first.parent) in line and str(second.parent) in line


def test_without_a_key_it_is_kept_for_later_and_nobody_is_asked(
    tracked: Callable[..., Tracker], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "docclf"):
        tracker = tracked()
        log_epochs(tracker)
        assert "kept offline; to send it: wandb sync " in tracker.finish({})
    assert [record.message for record in caplog.records] == ["wandb: offline, because no API key is set"]
    assert len(history(read_records(files(tmp_path / "run")[0]))) == len(EPOCHS)


@pytest.mark.parametrize(
    "fault",
    [pytest.param(name, marks=pytest.mark.slow) if name in ("html", "500", "silent") else name for name in FAULTS],
)
def test_a_bad_server_neither_stops_nor_delays(
    fault: str,
    tracked: Callable[..., Tracker],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wandb_tracker, "INIT_SECONDS", 2.0)
    begun = time.monotonic()
    with bad_server(fault) as server, caplog.at_level(WARNING, "docclf"):
        tracker = tracked(WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
        log_epochs(tracker)
        assert time.monotonic() - begun < 0.5
        line = tracker.finish({"f1_macro": 0.8})
    assert time.monotonic() - begun < 2 + 2 + 10
    assert len(caplog.records) == 1, caplog.text
    assert "wandb: offline, because" in caplog.text
    assert KEY not in caplog.text
    (path,) = files(tmp_path / "run")
    assert [row["f1_macro"] for row in history(read_records(path))] == [row["f1_macro"] for row in EPOCHS]
    assert str(path.parent) in line


def test_an_online_run_reaches_the_server(tracked: Callable[..., Tracker], caplog: pytest.LogCaptureFixture) -> None:
    with bad_server("none") as server, caplog.at_level(WARNING, "docclf"):
        tracker = tracked(WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
        log_epochs(tracker)
        line = tracker.finish({"f1_macro": 0.8})
    assert not caplog.records
    assert line == f"wandb: {server.url}/somebody/docclf/runs/{line.rsplit('/', 1)[1]}"
    rows = [
        json.loads(row)
        for message in server.streamed
        for row in message.get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
    ]
    assert [row["f1_macro"] for row in rows] == [metrics["f1_macro"] for metrics in EPOCHS]


def test_a_server_that_falls_silent_holds_nobody_up(
    tracked: Callable[..., Tracker], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_tracker, "UPLOAD_SECONDS", 1.0)
    with bad_server("none") as server, caplog.at_level(WARNING, "docclf"):
        tracker = tracked(WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
        wait_for(lambda: tracker._channel.started)
        server.fault = "silent"
        log_epochs(tracker)
        begun = time.monotonic()
        line = tracker.finish({})
        assert time.monotonic() - begun < 5
    assert len(caplog.records) == 1, caplog.text
    (path,) = (tmp_path / "run/wandb").glob("run-*/*.wandb")
    assert line == f"wandb: incomplete; to send it: wandb sync {path.parent}"
    assert len(history(read_records(path))) == len(EPOCHS)


def test_what_the_first_run_found_holds_for_the_next(
    environ: Environ, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with bad_server("500") as server, caplog.at_level(WARNING, "docclf"):
        tracker = create_tracker(TrackingConfig(), environ(WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url))
        for fold in ("fold-0", "fold-1"):
            (tmp_path / fold).mkdir()
            tracker.start(RunInfo(tmp_path / fold, fold))
            assert "kept offline" in tracker.finish({})
        assert server.hits == 1
    assert len(caplog.records) == 1


def test_a_full_disk_is_said_once(
    tracked: Callable[..., Tracker], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = tracked(WANDB_MODE="offline")
    resource.prlimit(tracker._channel._process.pid, resource.RLIMIT_FSIZE, (16384, 16384))
    with caplog.at_level(WARNING, "docclf"):
        for epoch in range(200):
            tracker.log({f"metric {number}": number / 7 for number in range(5)}, epoch)
        line = tracker.finish({})
    assert [record.levelno for record in caplog.records] == [WARNING]
    assert "disk full" in caplog.text
    assert line.startswith("wandb: incomplete; to send it: wandb sync ")


def test_a_folder_that_cannot_be_written_is_said_once(
    tracked: Callable[..., Tracker], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/wandb").write_text("in the way")
    with caplog.at_level(WARNING, "docclf"):
        tracker = tracked(WANDB_MODE="offline")
        log_epochs(tracker)
        assert tracker.finish({}) == ""
        tracker.start(RunInfo(tmp_path / "run", "next"))
        assert tracker.finish({}) == ""
    assert len(caplog.records) == 1
    assert "no longer mirrors this run" in caplog.text


def test_a_process_that_dies_is_said_once(tracked: Callable[..., Tracker], caplog: pytest.LogCaptureFixture) -> None:
    tracker = tracked(WANDB_MODE="offline")
    process = tracker._channel._process
    process.kill()
    process.wait()
    with caplog.at_level(WARNING, "docclf"):
        log_epochs(tracker)
        assert tracker.finish({}) == ""
    assert [record.message.split(": ")[1] for record in caplog.records] == ["its process ended"]


def test_a_process_that_hangs_is_ended(
    tracked: Callable[..., Tracker], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_tracker, "UPLOAD_SECONDS", 0.3)
    monkeypatch.setattr(wandb_tracker, "GRACE_SECONDS", 0.2)
    tracker = tracked(WANDB_MODE="offline")
    process = tracker._channel._process
    process.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    # More than fits into a pipe.
    tracker.table("pages", ["text"], [["x" * 1000]] * 1000)
    assert time.monotonic() - begun < 0.2
    with caplog.at_level(WARNING, "docclf"):
        assert tracker.finish({}) == ""
    assert time.monotonic() - begun < 2
    assert process.poll() == -signal.SIGKILL
    assert "did not finish within 0.5 s" in caplog.text


def test_a_run_that_dies_is_marked_as_failed(tracked: Callable[..., Tracker], tmp_path: Path) -> None:
    tracker = tracked(WANDB_MODE="offline")
    log_epochs(tracker)
    tracker._channel._outbox.put(None)  # the pipe closes, as it does when the run's process is killed
    wait_for(lambda: files(tmp_path / "run") and is_whole(files(tmp_path / "run")[0]))
    found = read_records(files(tmp_path / "run")[0])
    assert only(found, "exit").exit_code == 1
    assert len(history(found)) == len(EPOCHS)


def test_artifacts_only_on_request(tracked: Callable[..., Tracker], tmp_path: Path) -> None:
    tracker = tracked(WANDB_MODE="offline")
    (tmp_path / "best.ckpt").write_bytes(b"weights")
    tracker.artifact(tmp_path / "best.ckpt", "best", {})
    tracker.finish({})
    kinds = {record.WhichOneof("record_type") for record in read_records(files(tmp_path / "run")[0])}
    assert "artifact" not in kinds


def test_a_file_that_was_cut_is_not_whole(tracked: Callable[..., Tracker], tmp_path: Path) -> None:
    tracker = tracked(WANDB_MODE="offline")
    for epoch in range(400):
        tracker.log({f"metric {number}": number / 7 for number in range(5)}, epoch)
    tracker.finish({})
    (path,) = files(tmp_path / "run")
    assert path.stat().st_size > 2 * 32768
    assert is_whole(path)
    cut = tmp_path / "cut.wandb"
    for size in (0, 7, 20, 32768, path.stat().st_size - 1):
        cut.write_bytes(path.read_bytes()[:size])
        assert not is_whole(cut)
    assert not is_whole(tmp_path / "missing.wandb")


def test_backends(environ: Environ, tmp_path: Path) -> None:
    assert isinstance(create_tracker(TrackingConfig(backend="none"), environ()), NoTracker)
    assert isinstance(create_tracker(TrackingConfig(), environ(WANDB_MODE="disabled")), NoTracker)
    with pytest.raises(InputError, match="did you mean 'wandb'"):
        create_tracker(TrackingConfig(backend="wandbb"), environ())
    tracker = create_tracker(TrackingConfig(backend="none"), environ())
    tracker.start(RunInfo(tmp_path, "x"))
    log_epochs(tracker)
    assert tracker.finish({}) == ""


def test_the_shared_settings_name_no_path_and_no_secret() -> None:
    profile = Profile.model_validate(
        {"output": "/secret/out", "data": {"root": "/secret/pages"}, "s3": {"bucket": "secret-bucket"},
         "model": {"checkpoint_path": "/secret/weights"}, "tracking": {"project": "secret"}}
    )  # fmt: skip
    shared = shared_config(profile)
    assert tuple(shared) == SHARED_KEYS
    assert shared["optimizer"]["lr"] == profile.optimizer.lr
    assert "secret" not in json.dumps(shared)


@pytest.mark.parametrize(
    ("variables", "mode", "why"),
    [
        ({"WANDB_MODE": "offline", "WANDB_API_KEY": KEY}, "offline", "WANDB_MODE is offline"),
        ({"WANDB_MODE": "dryrun"}, "offline", "WANDB_MODE is dryrun"),
        ({"WANDB_MODE": "disabled"}, "disabled", "WANDB_MODE is disabled"),
        ({}, "offline", "no API key is set"),
        ({"WANDB_MODE": "online"}, "offline", "no API key is set"),
        ({"WANDB_MODE": "online", "WANDB_API_KEY": KEY}, "online", "WANDB_MODE is online"),
        ({"WANDB_API_KEY": KEY}, "offline", "127.0.0.1 cannot be reached"),
    ],
)
def test_modes(variables: dict[str, str], mode: str, why: str, tmp_path: Path) -> None:
    with bad_server("refused") as server:
        found = resolve_mode({"NETRC": str(tmp_path / "none"), **variables}, server.url)
    assert (found.name, found.why, found.unwanted) == (mode, why, "reached" in why)


def test_a_key_and_a_server_that_answers_mean_online(tmp_path: Path) -> None:
    with bad_server("none") as server:
        assert resolve_mode({"WANDB_API_KEY": KEY}, server.url).name == "online"


def test_a_key_of_wandb_login_counts(tmp_path: Path) -> None:
    keys = tmp_path / "netrc"
    keys.write_text(f"machine wandb.example.org\n  login user\n  password {KEY}\n")
    keys.chmod(0o600)
    assert has_key({"NETRC": str(keys)}, "https://wandb.example.org")
    assert not has_key({"NETRC": str(keys)}, "https://elsewhere.example.org")
    keys.write_text("machine\n")
    assert not has_key({"NETRC": str(keys)}, "https://wandb.example.org")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("refused", "cannot be reached"),
        ("401", ""),
        ("500", "answers with an error (500)"),
        ("garbage", "does not speak HTTP"),
        ("html", ""),
        ("silent", "does not answer within 0.3 s"),
    ],
)
def test_probe(fault: str, reason: str) -> None:
    with bad_server(fault) as server:
        begun = time.monotonic()
        assert unreachable(server.url, 0.3) == reason
        assert time.monotonic() - begun < 1


def test_the_probe_goes_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with bad_server("none") as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        assert unreachable("http://wandb.invalid") == ""
        assert proxy.hits == 1
