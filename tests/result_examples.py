"""A value of every result type, and what people see of it in 80 columns."""

import dataclasses
import io
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from docclf_cli import app
from docclf_cli.display.show import print_tables

assert app  # the commands of services register theirs
FIGURES = ("accuracy", "f1_macro", "log_loss", "val_loss", "ece")
FIXED: Mapping[str, Any] = {
    "status": "ok", "time": "2026-01-02T03:04:05+00:00", "state": "finished", "imbalance": 3.5, "tta": None,
    "monitor": "f1_macro", "metric": "f1_macro", "precision": "fp32", "merge": "mean", "split": "val", "kind": "noise",
    "model": "resnet18", "folds_only": None, "scheduler": "warmup_cosine", "unit": "step",
}  # fmt: skip


def example(kind: Any, name: str, key: str = "") -> Any:
    """A value of a type in which every free text is the name."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: example(hints[field.name], name, field.name) for field in dataclasses.fields(kind)})
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return example(args[0], name, key)
    if origin is tuple:
        return tuple(example(args[0], name, key) for _ in range(2))
    if origin is not None:  # a mapping; figures go by their names
        keys = FIGURES if key == "metrics" else (name,)
        return {one: example(args[1], name, key) for one in keys}
    plain = {int: 1234, float: 0.4567, bool: True, Path: Path("/somewhere/deep/below") / ("long" * 20) / "page.png"}
    if kind in plain:
        return plain[kind]
    return FIXED.get(key, name) if kind is str else None


def rendered(result: Any, color: bool = False) -> str:
    out = io.StringIO()
    console = Console(
        file=out, width=80, highlight=False, force_terminal=color, color_system="standard" if color else None
    )
    print_tables(result, console)
    return out.getvalue()
