"""The README's commands work as they are written."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_process import Outcome

README = Path(__file__).parent.parent / "README.md"


def _commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    steps = [block for block in blocks if not block.startswith("#!")]  # scripts have a test of their own
    return [line for block in steps for line in block.splitlines() if line.startswith("docclf ")]


@pytest.mark.timeout(400)
def test_command_blocks_run_in_order(docclf: Callable[..., Outcome]) -> None:
    commands = _commands()
    assert len(commands) >= 5
    for command in commands:
        outcome = docclf(*command.split()[1:])
        assert outcome.code == 0, f"{command}\n{outcome.stderr}"
        assert outcome.stdout


def test_both_readmes_show_the_same_first_steps() -> None:
    korean = README.with_name("README.ko.md").read_text(encoding="utf-8")
    for line in ("make demo", "make test", *_commands()[:2]):
        assert line in korean


def test_the_commands_of_python_use_are_there() -> None:
    from docclf_cli import evaluate_single_class_performance
    from docclf_cli.models.convnext import create_convnext_model

    assert callable(evaluate_single_class_performance)
    assert callable(create_convnext_model)


def test_the_reference_of_profile_keys_is_current() -> None:
    from docclf_cli.profile.reference import reference

    assert reference().strip() in README.read_text(encoding="utf-8")
