"""Shell completion, as the shell asks for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "timm", "pandas", "matplotlib", "sklearn", "wandb", "boto3", "docclf_cli.tasks.train")
PROGRAM = f"""
import sys
sys.argv = ["docclf", *sys.argv[1:]]
from docclf_cli.app import main
try:
    main()
finally:
    print("heavy:", [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


def predict_members(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join((str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")))
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *args], cwd=folder, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": paths, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", **env},
    )  # fmt: skip


def completed(folder: Path, line: str) -> set[str]:
    """What bash is offered at the end of a line."""
    words = line.split(" ")
    answer = predict_members(folder, _DOCCLF_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    assert "heavy: []" in answer.stderr
    return set(answer.stdout.split())


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("docclf s3", {"s3-push", "s3-pull"}),
        ("docclf train --sched", {"--scheduler"}),
        ("docclf train --model convnext_s", {"convnext_small"}),
        ("docclf train --scheduler warmup_", {"warmup_cosine", "warmup_linear"}),
        ("docclf train --augmentation ", {"none", "light", "document", "rough"}),
        ("docclf train --optimizer ada", {"adam", "adamw"}),
        ("docclf train --profile q", {"quickstart"}),
        ("docclf evaluate --split v", {"val"}),
    ],
)
def test_names_are_offered(tmp_path: Path, line: str, offered: set[str]) -> None:
    assert completed(tmp_path, line) == offered


def test_own_profiles_and_groups_are_offered(tmp_path: Path) -> None:
    (tmp_path / "configs" / "scheduler").mkdir(parents=True)
    (tmp_path / "configs" / "mine.yaml").write_text("seed: 1\n")
    (tmp_path / "configs" / "scheduler" / "slow.yaml").write_text("name: cosine\n")
    assert completed(tmp_path, "docclf train --profile m") == {"mine"}
    assert completed(tmp_path, "docclf train --scheduler s") == {"slow", "step"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_shown(tmp_path: Path, shell: str) -> None:
    shown = predict_members(tmp_path, "--show-completion", shell)
    assert shown.returncode == 0, shown.stderr
    assert "_DOCCLF_COMPLETE" in shown.stdout


def test_it_is_installed_for_bash(tmp_path: Path) -> None:
    done = predict_members(tmp_path, "--install-completion", "bash", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    (script,) = tmp_path.rglob("docclf.sh")
    assert str(script) in (tmp_path / ".bashrc").read_text()
