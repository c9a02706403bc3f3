"""What goes to stderr: messages, warnings, errors. Results go to stdout, through `report`."""

import logging
import traceback

from rich.console import Console
from rich.markup import escape

from docclf_cli.services.env import redact

stderr = Console(stderr=True, highlight=False, soft_wrap=True)
_debug = False


def set_debug(wanted: bool) -> None:
    """Show tracebacks and debug messages (`--debug`)."""
    global _debug
    _debug = wanted
    if wanted:
        logging.getLogger("docclf").setLevel(logging.DEBUG)


def set_quiet(wanted: bool) -> None:
    """Show only warnings and errors (`--quiet`)."""
    if wanted:
        logging.getLogger("docclf").setLevel(logging.WARNING)


class _Handler(logging.Handler):
    STYLES = ((logging.ERROR, "bold red", "error"), (logging.WARNING, "yellow", "warning"))

    def emit(self, record: logging.LogRecord) -> None:
        text = escape(redact(record.getMessage()))
        for level, style, name in self.STYLES:
            if record.levelno >= level:
                stderr.print(f"[{style}]{name}:[/] {text}")
                return
        stderr.print(text)


def start_logging() -> None:
    """Send the messages of docclf, and Python's warnings, to stderr as single lines."""
    logger = logging.getLogger("docclf")
    logger.setLevel(logging.INFO)
    handler = _Handler()
    logger.addHandler(handler)
    logger.propagate = False
    warnings_logger = logging.getLogger("py.warnings")
    warnings_logger.addHandler(handler)
    warnings_logger.propagate = False


def error(message: str, hint: str, cause: BaseException) -> None:
    """One line (and a hint); the traceback only with `--debug`."""
    if _debug:
        stderr.print(escape(redact("".join(traceback.format_exception(cause)))))
    stderr.print(f"[bold red]error:[/] {escape(redact(message))}")
    if hint:
        stderr.print(f"[dim]  →[/] {escape(redact(hint))}")
