"""Reads YAML as people mean it, and as data only.

Plain values follow the YAML 1.2 core schema: `1e-4` is a number, `NO` and `12:30` are text, `010` is ten. Files
are capped in size, depth and number of values (aliases counted out), duplicate keys are faults, and every value
keeps its line.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from docclf_cli.errors import ProfileError

MAX_BYTES, MAX_DEPTH, MAX_VALUES = 1 << 20, 50, 20_000
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), math.inf),
    "-.inf": -math.inf,
    ".nan": math.nan,
    ".NaN": math.nan,
}
_CORE = tuple(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map"))


class _Loader(yaml.SafeLoader):
    """Composes nodes only; what a plain word means is decided in `_scalar`."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (the base class declares it so)


@dataclass(frozen=True)
class Document:
    """A mapping with the line of each of its values, by dotted key."""

    values: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)


def read_yaml(path: Path) -> Document:
    """Read a file that holds one mapping.

    Raises:
        ProfileError: It is missing, too large, not UTF-8, not YAML, or not a mapping; every fault with its line.
    """
    try:
        if not path.is_file():
            raise ProfileError([f"{path}: there is no such file"])
        if path.stat().st_size > MAX_BYTES:
            raise ProfileError([f"{path}: larger than {MAX_BYTES >> 20} MiB, so hardly a profile"])
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProfileError([f"{path}: not UTF-8 (byte {error.start})"], "save the file as UTF-8") from error
    except OSError as error:
        raise ProfileError([f"{path}: {error.strerror}"]) from error
    reader = _Reader(str(path))
    document = reader.read(text)
    if reader.faults:
        raise ProfileError(reader.faults)
    return document


def read_value(text: str, origin: str) -> Any:
    """The value of one `--set KEY=VALUE`.

    Raises:
        ProfileError: It is not YAML.
    """
    reader = _Reader(origin)
    value = reader.convert(reader.compose(text), "", 0)
    if reader.faults:
        raise ProfileError(reader.faults)
    return value


class _Reader:
    def __init__(self, origin: str) -> None:
        self.origin, self.faults, self.lines, self.count = origin, list[str](), dict[str, int](), 0

    def read(self, text: str) -> Document:
        node = self.compose(text)
        if node is None:
            return self._not_a_mapping("is empty")
        if not isinstance(node, yaml.MappingNode):
            return self._not_a_mapping(
                "holds a list" if isinstance(node, yaml.SequenceNode) else "holds a single value"
            )
        return Document(self.convert(node, "", 0), self.lines)

    def _not_a_mapping(self, what: str) -> Document:
        self.faults.append(f"{self.origin}: {what}; a profile is a mapping of sections, such as `train: {{epochs: 5}}`")
        return Document({})

    def compose(self, text: str) -> yaml.Node | None:
        """The node tree of a text whose depth has been checked on the flat stream of events first."""
        try:
            depth = 0
            for event in yaml.parse(text, Loader=_Loader):
                depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
                if depth > MAX_DEPTH:
                    raise ProfileError([f"{self.origin}:{_line_of(event)}: nested deeper than {MAX_DEPTH} levels"])
            return yaml.compose(text, Loader=_Loader)
        except yaml.YAMLError as error:
            raise ProfileError([self._syntax(error, text)]) from error

    def _syntax(self, error: yaml.YAMLError, text: str) -> str:
        mark = getattr(error, "problem_mark", None)
        if mark is None:
            return f"{self.origin}: not YAML: {' '.join(str(error).split())}"
        line = text.splitlines()[mark.line] if mark.line < len(text.splitlines()) else ""
        tab = "; YAML is indented with spaces, not tabs" if "\t" in line else ""
        return f"{self.origin}:{mark.line + 1}: not YAML: {getattr(error, 'problem', None) or 'syntax error'}{tab}"

    def convert(self, node: yaml.Node | None, key: str, depth: int) -> Any:
        """Plain values of a node; nodes reached through aliases count each time they are reached."""
        self.count += 1
        if self.count > MAX_VALUES:
            raise ProfileError([f"{self.origin}: more than {MAX_VALUES} values once its aliases are written out"])
        if node is None:
            return None
        line = node.start_mark.line + 1
        self.lines.setdefault(key, line)
        if depth > MAX_DEPTH:
            raise ProfileError([f"{self.origin}:{line}: nested deeper than {MAX_DEPTH} levels"])
        if node.tag not in _CORE and node.tag != "!":
            self.faults.append(
                f"{self.origin}:{line}: {key}: the tag {node.tag} is not allowed, a profile is plain data"
            )
            return None
        if isinstance(node, yaml.MappingNode):
            return dict(self._items(node, key, depth))
        if isinstance(node, yaml.SequenceNode):
            return [self.convert(item, f"{key}.{at}", depth + 1) for at, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return _scalar(node)

    def _items(self, node: yaml.MappingNode, key: str, depth: int) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for name_node, value in node.value:
            line = name_node.start_mark.line + 1
            if not isinstance(name_node, yaml.ScalarNode):
                self.faults.append(f"{self.origin}:{line}: a key must be a word")
                continue
            name = str(name_node.value)
            full = f"{key}.{name}" if key else name
            if name in seen:
                self.faults.append(f"{self.origin}:{line}: {full}: given twice (first in line {seen[name]})")
                continue
            seen[name] = line
            self.lines[full] = line
            yield name, self.convert(value, full, depth + 1)


def _scalar(node: yaml.ScalarNode) -> Any:
    text = node.value
    if node.style is not None or node.tag == "!":
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else _decimal(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _line_of(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0


def _decimal(text: str) -> int | str:
    # Python refuses to convert thousands of digits; no number of a profile has that many.
    return int(text) if len(text) <= 100 else text
