"""The Typer app: its commands, and the one place where errors become messages and exit codes."""

import gc
import logging
import signal
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from docclf_cli.commands._arguments import Command, Group
from docclf_cli.display import console
from docclf_cli.errors import DocclfError, InputError, Interrupted, as_resource_error
from docclf_cli.hardware import is_first_process, limit_thread_spinning, process_count
from docclf_cli.services.env import load_env
from docclf_cli.streams import flush_streams, prepare_streams, silence_streams
from docclf_cli.user_folders import ensure_home
from docclf_cli.version import __version__

# Imports make half a million objects that stay, and full collections while they do take 0.6 s. Nothing large is ever
# left to them: models, optimizers and loaders lie in no cycles.
COLLECTED_RARELY = (700, 10, 1000)  # of the first two generations as by default
DISTRIBUTED = ("train", "evaluate", "predict")  # commands that several processes can share
ASKS_FOR_HELP = frozenset(("-h", "--help"))
app = typer.Typer(
    name="docclf",
    cls=Group,
    help="Classify document images: train models, evaluate them, combine them into ensembles, and predict.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"docclf {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if process_count() > 1 and context.invoked_subcommand not in DISTRIBUTED:
        raise InputError(
            f"{context.invoked_subcommand} runs in a single process", f"torchrun works with {', '.join(DISTRIBUTED)}"
        )
    # `env-check` reads the file itself, so that a faulty one is a row of its table.
    if context.invoked_subcommand != "env-check" and not ASKS_FOR_HELP.intersection(sys.argv):
        load_env(Path.cwd())


def _register() -> None:
    # Each command module is light: what it needs of torch, pandas and the like it imports when it runs.
    from docclf_cli.commands import (
        adapt,
        audit,
        cache,
        class_report,
        distill,
        drift,
        ensemble,
        env_check,
        evaluate,
        export,
        predict,
        review,
        runs,
        s3_pull,
        s3_push,
        serve,
        split_packets,
        train,
        tta,
        tune,
        watch,
        weights,
    )

    # Each with its page of docs/, in the order of `docclf --help`.
    first = (
        (train, "training"),
        (tune, "tune"),
        (distill, "distill"),
        (evaluate, "evaluation"),
        (predict, "prediction"),
        (split_packets, "packets"),
        (class_report, "evaluation"),
        (drift, "drift"),
        (adapt, "adapt"),
        (runs, "training"),
        (ensemble, "ensembles"),
        (tta, "ensembles"),
        (export, "prediction"),
        (serve, "serve"),
        (watch, "watch"),
    )
    last = (
        (audit, "data"),
        (review, "review"),
        (env_check, "troubleshooting"),
        (s3_push, "s3"),
        (s3_pull, "s3"),
    )
    _add(first)
    app.add_typer(cache.app, name="cache")
    app.add_typer(weights.app, name="weights")
    _add(last)


def _add(modules: Iterable[tuple[ModuleType, str]]) -> None:
    for module, page in modules:
        name = module.__name__.rpartition(".")[2].replace("_", "-")
        app.command(name, cls=Command, epilog=f"{module.EXAMPLES}\n\n[bold]More[/]: docs/{page}.md")(module.run)


_register()


def main() -> None:
    """Run the command line and exit with the documented code."""
    prepare_streams()
    ensure_home()
    limit_thread_spinning()
    gc.set_threshold(*COLLECTED_RARELY)
    console.start_logging()
    code = _run(_program)
    try:
        flush_streams()
    except OSError as error:
        code = code or _unexpected(error)
    # torch raises where a loader process dies, wherever the program is; those that are ended at exit are meant to.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gc.freeze()  # all that is left would be looked at once more, which takes a second with torch
    sys.exit(code)


def _program() -> None:
    """Run the command; all processes that `torchrun` has started run it, and the first one alone prints."""
    if process_count() == 1:
        app()
        return
    load_env(Path.cwd())  # it may name the GPUs, and torch looks for them as soon as it is imported
    if not is_first_process():
        silence_streams()
    from docclf_cli.engine.runtime import distributed

    with distributed.process_group():
        code = _run(lambda: distributed.run_command(app))
    sys.exit(code)


def _run(program: Callable[[], object]) -> int:
    try:
        program()
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    except KeyboardInterrupt:
        return _failed(Interrupted("stopped"))
    except DocclfError as error:
        return _failed(error)
    except Exception as error:
        return _unexpected(error)
    return 0


def _failed(error: DocclfError) -> int:
    console.error(error.message, error.hint, cause=error)
    return error.exit_code


def _unexpected(error: Exception) -> int:
    if (known := as_resource_error(error)) is not None:
        known.__cause__ = error
        return _failed(known)
    console.error(
        f"a bug in docclf: {type(error).__name__}: {error}", "please report it, with the output of --debug", cause=error
    )
    return 1


logging.captureWarnings(True)
warnings.filterwarnings("ignore", category=FutureWarning, module="torch|timm")
