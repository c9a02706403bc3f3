"""`docclf env-check` as people and scripts run it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cli_process import Outcome

ROWS = {"python", "packages", "torch", "devices", "cpu", "memory", "output folder", ".env", "profile", "wandb", "s3"}
KEY = "0123456789abcdef0123456789abcdef01234567"


def test_the_table_is_there_and_a_warning_is_no_failure(docclf: Callable[..., Outcome]) -> None:
    outcome = docclf("env-check", "--data", "nowhere")
    assert outcome.code == 0, outcome.stderr
    assert all(name in outcome.stdout for name in ROWS)
    assert "nowhere is not there" in outcome.stdout


def test_strict_makes_a_warning_a_failure_and_json_is_all_there_is(docclf: Callable[..., Outcome]) -> None:
    outcome = docclf("env-check", "--data", "nowhere", "--strict", "--json")
    assert outcome.code == 8
    assert "data" in outcome.stderr
    report = outcome.json
    assert set(report) == {"status", "rows", "docclf", "seconds"}
    assert report["status"] == "warning"
    assert {row["name"] for row in report["rows"]} >= ROWS
    for row in report["rows"]:
        assert set(row) == {"name", "status", "detail", "fix"}
        assert row["status"] in ("ok", "warning", "failure", "skipped")
        assert bool(row["fix"]) == (row["status"] in ("warning", "failure"))


def test_a_failure_exits_with_8_and_shows_the_whole_table(docclf: Callable[..., Outcome]) -> None:
    outcome = docclf("env-check", "--json", "--set", "train.epochs=none", "--set", "nonsense.key=1")
    assert outcome.code == 8
    rows = {row["name"]: row for row in outcome.json["rows"]}
    assert rows["profile"]["status"] == "failure"
    assert "2 faults" in rows["profile"]["detail"]
    assert rows["torch"]["status"] == "ok"


def test_a_broken_env_file_is_a_row(docclf: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"WANDB_API_KEY: {KEY}\n")
    outcome = docclf("env-check", "--json")
    assert outcome.code == 8
    rows = {row["name"]: row for row in outcome.json["rows"]}
    assert f"{tmp_path / '.env'}:1" in rows[".env"]["detail"]
    assert KEY not in outcome.stdout + outcome.stderr


def test_no_value_of_a_variable_is_shown(docclf: Callable[..., Outcome], tmp_path: Path) -> None:
    values = {
        "WANDB_API_KEY": KEY,
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "WANDB_BASE_URL": "https://someone:secretword@127.0.0.1:9",
    }
    (tmp_path / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in values.items()))
    outcome = docclf("env-check", env={"WANDB_MODE": None})
    for value in (*values.values(), "secretword"):
        assert value not in outcome.stdout + outcome.stderr


def test_it_answers_where_torch_does_not_import(tmp_path: Path) -> None:
    (tmp_path / "paths" / "torch").mkdir(parents=True)
    (tmp_path / "paths" / "torch" / "__init__.py").write_text("raise ImportError('libcudart.so.13: no such file')")
    done = subprocess.run(
        [sys.executable, "-m", "docclf_cli", "env-check", "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "paths"), str(Path(__file__).parents[2])])},
    )  # fmt: skip
    assert done.returncode == 8, done.stderr
    assert "libcudart.so.13" in done.stdout
