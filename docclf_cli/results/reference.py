"""What `--json` prints: a JSON schema of each command's result, and the reference of its keys as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from docclf_cli.results.audit import AuditResult
from docclf_cli.results.caches import CacheCleared, CacheUsage
from docclf_cli.results.class_report import ClassReport, OneClass
from docclf_cli.results.distilling import DistillResult
from docclf_cli.results.drift import DriftResult
from docclf_cli.results.ensembling import EnsembleResult, TTAResult
from docclf_cli.results.environment import EnvReport
from docclf_cli.results.evaluation import EvaluateResult
from docclf_cli.results.export import AdaptResult, ExportResult
from docclf_cli.results.packets import SplitPacketsResult
from docclf_cli.results.prediction import PartResult, PredictResult
from docclf_cli.results.review import ReviewResult
from docclf_cli.results.storage import PullResult, PushResult
from docclf_cli.results.training import FinishedRun, RunList, SchedulePreview, TrainingPlan, TrainResult
from docclf_cli.results.tuning import TuneResult
from docclf_cli.results.watching import WatchResult
from docclf_cli.results.weights import PackedWeights, WeightsList

RESULTS: Mapping[str, type] = {
    "train": TrainResult,
    "train --dry-run": TrainingPlan,
    "train --show-schedule": SchedulePreview,
    "train --resume": FinishedRun,
    "tune": TuneResult,
    "distill": DistillResult,
    "runs": RunList,
    "evaluate": EvaluateResult,
    "predict": PredictResult,
    "split-packets": SplitPacketsResult,
    "predict --part": PartResult,
    "drift": DriftResult,
    "adapt": AdaptResult,
    "class-report": ClassReport,
    "class-report --class": OneClass,
    "ensemble": EnsembleResult,
    "tta": TTAResult,
    "export": ExportResult,
    "cache show": CacheUsage,
    "cache clear": CacheCleared,
    "watch --once": WatchResult,
    "weights list": WeightsList,
    "weights pack": PackedWeights,
    "audit": AuditResult,
    "review": ReviewResult,
    "env-check": EnvReport,
    "s3-push": PushResult,
    "s3-pull": PullResult,
}
_ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def schema_of(result: type) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a result dataclass as `report.show` prints it."""
    return TypeAdapter(result).json_schema(mode="serialization", schema_generator=_Schema)


def reference() -> str:
    """A table of keys per command, then one per kind of object in them."""
    shared: dict[str, Any] = {}
    lines: list[str] = []
    for command, result in RESULTS.items():
        schema = schema_of(result)
        shared |= schema.get("$defs", {})
        lines += _table(f"`docclf {command} --json`", schema)
    for name in sorted(shared):
        lines += _table(name, shared[name])
    return "\n".join(lines)


class _Schema(GenerateJsonSchema):
    """Every key is there, and no other; not-a-number is null; meanings come from the docstrings."""

    def float_schema(self, schema: Any) -> dict[str, Any]:
        return {"type": ["number", "null"]}

    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        found = super().dataclass_schema(schema)
        text = inspect.getdoc(schema["cls"]) or ""
        for name, meaning in meanings_of(schema["cls"]).items():
            found["properties"][name]["description"] = meaning
        found["description"] = text.split("\n\n")[0]
        return {**found, "required": list(found["properties"]), "additionalProperties": False}


def meanings_of(result: type) -> dict[str, str]:
    """What the `Attributes:` of a docstring say about each field."""
    _, _, attributes = (inspect.getdoc(result) or "").partition("Attributes:\n")
    return {name: " ".join(text.split()) for name, text in _ATTRIBUTE.findall(attributes)}


def _table(title: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"#### {title}", "", schema["description"], "", "| key | type | meaning |", "|---|---|---|")
    for key, value in schema["properties"].items():
        yield f"| `{key}` | {_words(value)} | {value.get('description', '')} |"


def _words(schema: Mapping[str, Any]) -> str:
    """The type of a value in words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_words(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " \\| ".join(schema["enum"])
    kind = schema["type"]
    if kind == "array":
        return f"list of {_words(schema['items'])}"
    if kind == "object":
        return f"name → {_words(schema['additionalProperties'])}"
    if isinstance(kind, list):
        return "number"
    return {"string": "text", "integer": "whole number", "boolean": "true/false"}.get(kind, kind)


if __name__ == "__main__":
    print(reference().strip())
