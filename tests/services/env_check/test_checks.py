"""The checks of `env-check`: bounded, contained, and true."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from s3_server import READER, S3Server

from docclf_cli.errors import InputError
from docclf_cli.profile.schema import Profile
from docclf_cli.registry import Registry
from docclf_cli.results.environment import CheckRow
from docclf_cli.services.env_check import checks
from docclf_cli.services.env_check import machine as checks_machine
from docclf_cli.services.env_check import project as checks_project
from docclf_cli.services.env_check import remote as checks_remote
from docclf_cli.services.env_check.checks import Situation, ok, run_checks, worst
from docclf_cli.services.storage.s3 import Target

pytestmark = pytest.mark.usefixtures("clean_environment")
KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def situation(tmp_path: Path) -> Situation:
    return Situation(Profile(output=str(tmp_path / "runs")), "config is valid", tmp_path)


def _rows(check: checks.Check, situation: Situation) -> dict[str, CheckRow]:
    return {row.name: row for row in check(situation)}


def test_a_check_that_fails_hangs_or_exits_is_one_row(situation: Situation) -> None:
    table: Registry[checks.Check] = Registry("check")

    @table.register("crashes", seconds=5)
    def _(_: Situation) -> Iterator[CheckRow]:
        raise ImportError("libcudart.so.13 is missing")

    @table.register("hangs", seconds=0.3)
    def _(_: Situation) -> Iterator[CheckRow]:
        yield ok("hangs", "first")
        time.sleep(60)

    @table.register("exits", seconds=5)
    def _(_: Situation) -> Iterator[CheckRow]:
        sys.exit(3)

    @table.register("tells", seconds=5)
    def _(_: Situation) -> Iterator[CheckRow]:
        raise InputError("a.csv: bad", "fix it")

    @table.register("works", seconds=5)
    def _(_: Situation) -> Iterator[CheckRow]:
        yield ok("works", "yes")

    began = time.monotonic()
    report = run_checks(situation, table)
    assert time.monotonic() - began < 3
    assert [(row.name, row.status) for row in report.rows] == [
        ("crashes", "failure"), ("hangs", "failure"), ("exits", "failure"), ("tells", "failure"), ("works", "ok"),
    ]  # fmt: skip
    assert "libcudart" in report.rows[0].detail
    assert "0.3 s" in report.rows[1].detail
    assert (report.rows[3].detail, report.rows[3].fix) == ("a.csv: bad", "fix it")
    assert report.status == "failure"


def test_the_status_is_that_of_the_worst_row() -> None:
    rows = [CheckRow("a", status, "") for status in ("skipped", "ok", "warning", "failure")]
    assert [worst(rows[:count]) for count in range(5)] == ["ok", "ok", "ok", "warning", "failure"]


def test_a_torch_that_cannot_be_imported_is_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libtorch_cpu.so: undefined symbol')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    answer = checks_machine.probe("torch", seconds=20)
    assert "undefined symbol" in answer["error"]


def test_a_torch_that_kills_the_process_is_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("import os; os.kill(os.getpid(), 4)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "-4" in checks_machine.probe("torch", seconds=20)["error"]


def test_a_torch_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert checks_machine.probe("torch", seconds=1)["error"] == "no answer within 1 s"


def test_a_module_in_the_working_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "paths" / "torch").mkdir(parents=True)
    (tmp_path / "paths" / "torch" / "__init__.py").write_text("raise OSError('the right torch')")
    (tmp_path / "torch.py").write_text("raise OSError('the wrong torch')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "paths"))
    monkeypatch.chdir(tmp_path)
    assert "the right torch" in checks_machine.probe("torch", seconds=20)["error"]


@pytest.mark.parametrize(
    ("torch", "torchvision", "status"),
    [("2.11.0", "0.26.0", "ok"), ("2.14.1+cu130", "0.29.1+cu130", "ok"), ("2.14.1", "0.26.0", "failure")],
)
def test_torch_and_torchvision_come_in_pairs(torch: str, torchvision: str, status: str) -> None:
    assert [row.status for row in checks_machine._pair(torch, torchvision)] == [status]


def test_packages_below_the_floor_are_named(situation: Situation, monkeypatch: pytest.MonkeyPatch) -> None:
    real = checks_machine._version
    monkeypatch.setattr(checks_machine, "_version", lambda name: "9.0" if name == "pillow" else real(name))
    row = _rows(checks_machine.packages, situation)["packages"]
    assert (row.status, row.fix) == ("failure", "pip install 'pillow>=12.3'")


def test_the_output_folder_is_really_written_to(situation: Situation, tmp_path: Path) -> None:
    assert _rows(checks_machine.output_folder, situation)["output folder"].status in ("ok", "warning")
    assert list(tmp_path.iterdir()) == []
    assert situation.profile is not None
    nowhere = replace(situation, profile=situation.profile.model_copy(update={"output": "/proc/1/runs"}))
    assert run_checks(nowhere, [checks.CHECKS.get("output folder")]).status == "failure"


def test_env_rows_say_what_is_wrong_without_a_value(situation: Situation, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert _rows(checks_project.env_file, situation)[".env"].status == "ok"
    path.write_text(f"WANDB_API_KEY={KEY}\nWANDB_PROJCT=x\n")
    path.chmod(0o644)
    rows = _rows(checks_project.env_file, situation)
    assert "did you mean 'WANDB_PROJECT'" in rows[".env"].detail
    assert rows[".env is private"].status == "warning"
    assert rows[".env is not in git"].status == "skipped"
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert _rows(checks_project.env_file, situation)[".env is not in git"].status == "warning"
    (tmp_path / ".gitignore").write_text(".env\n")
    path.chmod(0o600)
    rows = _rows(checks_project.env_file, situation)
    assert (rows[".env is private"].status, rows[".env is not in git"].status) == ("ok", "ok")
    subprocess.run(["git", "add", "-f", ".env"], cwd=tmp_path, check=True)
    assert _rows(checks_project.env_file, situation)[".env is not in git"].status == "failure"


def test_variables_are_told_by_length_and_origin(
    situation: Situation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(f"WANDB_API_KEY={KEY}\n")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    rows = list(checks_project.variables(situation))
    told = {row.name: row.detail for row in rows if row.status == "ok"}
    assert told["WANDB_API_KEY"] == f"set, 40 characters, from {tmp_path / '.env'}"
    assert told["AWS_ACCESS_KEY_ID"] == "set, 20 characters, from the environment"
    assert told["S3_BUCKET_NAME"] == "not set"
    assert [row.name for row in rows if row.status == "failure"] == ["AWS_SECRET_ACCESS_KEY"]
    assert KEY not in str(rows)


def test_data_is_read_and_a_page_decoded(situation: Situation, tmp_path: Path) -> None:
    from PIL import Image

    profile = Profile.model_validate({"data": {"root": str(tmp_path / "pages")}})
    there = replace(situation, profile=profile)
    assert _rows(checks_project.data, there)["data"].status == "warning"
    for name in ("a", "b"):
        (tmp_path / "pages" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (20, 30), (number, 0, 0)).save(tmp_path / "pages" / name / f"{number}.png")
    row = _rows(checks_project.data, there)["data"]
    assert row.status == "ok"
    assert "6 training pages of 2 classes" in row.detail
    (tmp_path / "pages" / "a" / "0.png").write_bytes(b"no image")
    assert _rows(checks_project.data, there)["data"].status == "failure"


@pytest.mark.slow
def test_a_model_is_built_and_its_weights_looked_for(situation: Situation) -> None:
    model = {"model": {"model_name": "resnet18", "pretrained": True}, "data": {"image_size": 64}}
    row = _rows(checks_project.model, replace(situation, profile=Profile.model_validate(model)))["model"]
    assert "resnet18, 11.2 M parameters" in row.detail
    assert row.status == "warning"


@pytest.mark.parametrize(
    ("variables", "status", "text"),
    [
        ({}, "ok", "offline: there is no API key"),
        ({"WANDB_API_KEY": KEY}, "ok", "online: there is an API key"),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "ok", "offline: set by WANDB_MODE"),
        ({"WANDB_MODE": "sometimes"}, "failure", "unknown value"),
    ],
)
def test_the_mode_of_wandb_is_explained(
    situation: Situation, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], status: str, text: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    row = _rows(checks_remote.wandb, situation)["wandb"]
    assert row.status == status
    assert text in row.detail


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A loopback server that knows one key; the list holds what was asked with which."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            asked.append(self.headers["Authorization"])
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != "/graphql":
                self.send_error(404)
                return
            known = asked[-1] == "Basic " + __import__("base64").b64encode(f"api:{KEY}".encode()).decode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"data": {"viewer": {"username": "me"}}}' if known else b'{"data": {"viewer": null}}')

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        yield asked
        server.shutdown()


@pytest.mark.parametrize(("key", "status"), [(KEY, "ok"), ("wrong-key", "failure")])
def test_the_tracker_is_asked_about_the_key(
    situation: Situation, tracker: list[str], monkeypatch: pytest.MonkeyPatch, key: str, status: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    assert _rows(checks_remote.wandb_server, situation)["wandb server"].status == status
    assert len(tracker) == 1


def test_without_a_key_the_tracker_is_not_asked(situation: Situation, tracker: list[str]) -> None:
    assert _rows(checks_remote.wandb_server, situation)["wandb server"].status == "skipped"
    assert tracker == []


def test_a_tracker_that_is_not_there_is_a_warning(situation: Situation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert _rows(checks_remote.wandb_server, situation)["wandb server"].status == "warning"


def test_the_source_of_credentials_is_named(situation: Situation, target: Target) -> None:
    assert "credentials from env" in _rows(checks_remote.s3, situation)["s3"].detail


def test_a_bucket_without_credentials_is_a_warning(
    situation: Situation, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert _rows(checks_remote.s3, situation)["s3"].status == "warning"


def test_without_a_bucket_s3_is_skipped(situation: Situation) -> None:
    assert [row.status for row in checks_remote.s3(situation)] == ["skipped"]
    assert [row.status for row in checks_remote.s3_bucket(situation)] == ["skipped"]


def test_the_bucket_is_written_to_and_left_clean(situation: Situation, server: S3Server, target: Target) -> None:
    rows = _rows(checks_remote.s3_bucket, situation)
    assert {name: row.status for name, row in rows.items()} == {"clock": "ok", "s3 bucket": "ok"}
    listed = server.client().list_objects_v2(Bucket=target.bucket, Prefix="docclf/probe").get("Contents", [])
    assert listed == []


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "does not know these keys"),
        ({"AWS_ACCESS_KEY_ID": READER[0], "AWS_SECRET_ACCESS_KEY": READER[1]}, "no permission"),
        ({"S3_BUCKET_NAME": "no-such-bucket"}, "there is no such bucket"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot be reached"),
        ({"AWS_ENDPOINT_URL": "http://example.com"}, "unencrypted"),
    ],
)
def test_a_bucket_that_does_not_work_says_why(
    situation: Situation, target: Target, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], text: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    report = run_checks(replace(situation, online=True), [checks.CHECKS.get("s3 bucket")])
    assert report.status == "failure"
    assert text in report.rows[0].detail
    assert report.rows[0].fix


@pytest.mark.parametrize(("minutes", "status"), [(0, "ok"), (-10, "warning"), (10, "warning")])
def test_clocks_are_compared(minutes: int, status: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
    assert checks_remote._skew(date).status == status
