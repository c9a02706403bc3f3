"""What all parts of one call of `predict` have in common, as JSON: two parts that differ in it cannot be joined."""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from docclf_cli.engine.runtime.device import Runtime
from docclf_cli.hardware import cpu_name
from docclf_cli.metrics.costs import Costs
from docclf_cli.tasks.predict.files import OutputFiles
from docclf_cli.tasks.predict.run import ConfidenceThreshold, OutputOptions
from docclf_cli.tasks.unknown import UnknownRule

_DECIDES = ("torch", "numpy", "pillow", "pypdfium2", "onnxruntime", "timm")  # packages that pixels and sums depend on


def machine_kind(runtime: Runtime) -> list[str]:
    """What kind of machine computes: on two of one kind, the same sums come out, bit by bit."""
    if runtime.device.type == "cuda":
        return [torch.cuda.get_device_name(runtime.device), f"CUDA {torch.version.cuda}"]
    return [cpu_name(), torch.backends.cpu.get_cpu_capability(), platform.system()]


def packages() -> dict[str, str]:
    """Versions of the packages that decide what comes out."""
    found = {}
    for name in _DECIDES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def stored_options(options: OutputOptions) -> dict[str, Any]:
    """What decides the content of the tables, representable as JSON."""
    rule, costs = options.unknown, options.costs
    return {
        "max_unreadable": options.max_unreadable,
        "columns": list(options.columns),
        "top_k": options.top_k,
        "threshold": [options.confidence_threshold.value, options.confidence_threshold.source],
        "unknown": [None if math.isinf(rule.threshold) else rule.threshold, rule.max_lost, rule.expected, rule.reason],
        "costs": None if costs is None else {name: np.asarray(value).tolist() for name, value in vars(costs).items()},
        "notes": list(options.notes),
    }


def options_from(stored: Mapping[str, Any], model: str, outputs: OutputFiles) -> OutputOptions:
    """The options that `stored_options` described."""
    threshold, *rule = stored["unknown"]
    costs = stored["costs"]
    if costs is not None:
        arrays = {
            name: None if costs[name] is None else np.array(costs[name]) for name in ("prices", "review", "unknown")
        }
        costs = Costs(**arrays, review_unknown=costs["review_unknown"])  # type: ignore[arg-type]
    return OutputOptions(
        outputs=outputs,
        model=model,
        max_unreadable=stored["max_unreadable"],
        columns=(stored["columns"][0], stored["columns"][1]),
        top_k=stored["top_k"],
        confidence_threshold=ConfidenceThreshold(*stored["threshold"]),
        unknown=UnknownRule(math.inf if threshold is None else threshold, *rule),
        costs=costs,
        notes=tuple(stored["notes"]),
    )


def what_differs(name: str, one: Any, other: Any) -> str:
    """What differs between two parts, as a hint."""
    if name == "machine":
        return f"{', '.join(one)}; and {', '.join(other)}: make all parts on machines of one kind"
    if name == "numerics":
        return "give all parts the same --device, --precision and --set runtime.*"
    if name == "inputs":
        return "give all parts the same files in the same order, none of them changed meanwhile"
    return "give all parts the same model, inputs and options, and make those that differ again with --overwrite"
