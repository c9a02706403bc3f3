"""The reference of profile keys, as Markdown, from the schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docclf_cli.profile.schema import Profile


def reference() -> str:
    """One table per section: key, type, default, meaning."""
    return "\n".join(_section("", Profile))


def _section(prefix: str, model: type[BaseModel]) -> Iterator[str]:
    plain = {name: info for name, info in model.model_fields.items() if _model_of(info) is None}
    yield from (
        "",
        f"### {prefix.rstrip('.') or 'Top level'}",
        "",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
    )
    for name, info in plain.items():
        default = json.dumps(info.get_default(call_default_factory=True), default=list)
        yield f"| `{prefix}{name}` | {_type_of(info)} | `{default}` | {info.description} |"
    for name, info in model.model_fields.items():
        if (inner := _model_of(info)) is not None:
            yield from _section(f"{prefix}{name}.", inner)


def _model_of(info: FieldInfo) -> type[BaseModel] | None:
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _type_of(info: FieldInfo) -> str:
    text = re.sub(r"\w+\.", "", str(info.annotation).replace("<class '", "").replace("'>", ""))
    literals = re.search(r"Literal\[(.*?)\]", text)
    if literals:
        others = " \\| whole number" if re.search(r"\bint\b", text.replace(literals.group(0), "")) else ""
        return literals.group(1).replace("'", "").replace(", ", " \\| ") + others
    words = {
        "int": "whole number",
        "float": "number",
        "bool": "true/false",
        "str": "text",
        "dict": "mapping",
        "tuple": "list",
    }
    found = next(
        (words[word] for word in ("dict", "tuple", "bool", "int", "float", "str") if re.search(rf"\b{word}\b", text)),
        text,
    )
    return f"{found} or null" if "None" in text else found


if __name__ == "__main__":
    print(reference().strip())
