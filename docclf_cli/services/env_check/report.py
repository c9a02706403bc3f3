"""The checks of `env-check` in their order, and their run."""

from __future__ import annotations

import contextlib
import importlib

from docclf_cli.errors import InputError
from docclf_cli.results.environment import EnvReport
from docclf_cli.services import env
from docclf_cli.services.env_check.checks import Situation, run_checks

# Importing them registers their checks, in this order.
GROUPS = ("machine", "project", "remote")


def report_environment(situation: Situation) -> EnvReport:
    """Read `.env` as any command does, and run all checks."""
    with contextlib.suppress(InputError):  # has a row of its own
        env.load_env(situation.folder)
    for group in GROUPS:
        importlib.import_module(f"docclf_cli.services.env_check.{group}")
    return run_checks(situation)
