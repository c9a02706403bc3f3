"""`docclf env-check`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from docclf_cli.commands import _options as option
from docclf_cli.display import show as report
from docclf_cli.errors import DocclfError, EnvCheckError
from docclf_cli.results.environment import EnvReport

if TYPE_CHECKING:
    from docclf_cli.profile.schema import Profile

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "docclf env-check\n\n"
    "docclf env-check --full --online   # build the model; contact W&B and S3\n\n"
    "docclf env-check --strict --json > environment.json"
)
_STYLES = {"ok": "green", "warning": "yellow", "failure": "bold red", "skipped": "dim"}


def run(
    profile: option.ProfileName = "config",
    data: option.OtherData = None,
    output: option.Output = None,
    full: Annotated[
        bool, typer.Option("--full", help="Also build the configured model and look for its weights.")
    ] = False,
    online: Annotated[bool, typer.Option("--online", help="Also contact the W&B server and the S3 bucket.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as failures.")] = False,
    sets: option.Sets = None,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Check this machine, the profile and the services. Exit code 8 means that a check failed."""
    from docclf_cli.services.env_check.checks import Situation, report_environment

    options = {"data.root": data, "output": None if output is None else str(output)}
    checked, text = _profile(profile, options, sets)
    result = report_environment(Situation(checked, text, Path.cwd(), full=full, online=online))
    report.show(result, as_json=as_json)
    bad = ("failure", "warning") if strict else ("failure",)
    if names := [row.name for row in result.rows if row.status in bad]:
        raise EnvCheckError(f"env-check: {', '.join(names)}", "the table says how to fix each")


def _profile(name: str, options: dict[str, str | None], sets: list[str] | None) -> tuple["Profile | None", str]:
    """The profile and where it comes from, or its faults: they are one row among others."""
    try:
        from docclf_cli.commands._load import load_checked

        loaded = load_checked(name, options, sets)
    except DocclfError as error:
        return None, f"{error.message} {error.hint}".strip()
    except ImportError as error:  # a broken installation is what this command is for
        return None, f"cannot be checked: {error}"
    return loaded.profile, f"{name} is valid"


@report.render.register
def table(result: EnvReport) -> Iterator[RenderableType]:
    """One line per check, with the way to fix it below."""
    rows = Table(title=f"docclf {result.docclf}: {result.status}, in {result.seconds:.1f} s", title_justify="left")
    rows.add_column("check", overflow="fold")
    rows.add_column("status", no_wrap=True)
    rows.add_column("found", overflow="fold")
    for row in result.rows:
        fix = f"\n[bold]fix:[/] {escape(row.fix)}" if row.fix else ""
        style = _STYLES[row.status]
        rows.add_row(escape(row.name), f"[{style}]{row.status}[/]", f"{escape(row.detail)}{fix}")
    yield rows
