"""Read YAML 1.2 as data.

Plain values follow the YAML 1.2 core schema: `1e-4` is a number, `NO` and `12:30` are text, `010` is ten. Files
are capped in size, depth and number of values (aliases written out), duplicate keys and tags are faults, and every
value keeps its line.
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
# No number of a profile is longer, and Python refuses to print integers of thousands of digits.
_LONGEST_NUMBER = 100
_LONGEST_NAME = 100
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}


@dataclass(frozen=True)
class Document:
    """The mapping of a file, as far as it could be read, and the faults found.

    Attributes:
        values: Plain data.
        origin: File, or option, that it comes from.
        lines: Line of each value by dotted key, those inside lists (`models.0.weight`) included.
        faults: What is wrong with it, one line each.
    """

    values: dict[str, Any]
    origin: str
    lines: dict[str, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    def where(self, key: str) -> str:
        """`configs/config.yaml:12`."""
        return f"{self.origin}:{self.lines[key]}"


def read_yaml(path: Path) -> Document:
    """Read a file that holds one mapping.

    Raises:
        ProfileError: It is missing, too large, not UTF-8, not YAML, or not a mapping.
    """
    text = _text_of(path)
    reader = _Reader(str(path))
    node = reader.compose(text)
    if not isinstance(node, yaml.MappingNode):
        what = (
            "is empty" if node is None else "holds a list" if isinstance(node, yaml.SequenceNode) else "holds a value"
        )
        line = "" if node is None else f":{_line(node.start_mark)}"
        raise ProfileError(
            [f"{path}{line}: {what}; a profile is a mapping of sections, such as `train: {{epochs: 5}}`"]
        )
    values = reader.convert(node, "")
    return Document(values, str(path), reader.lines, tuple(reader.faults))


def read_value(text: str, origin: str) -> Any:
    """The value of a text such as the right-hand side of `--set KEY=VALUE`.

    Raises:
        ProfileError: It is not YAML.
    """
    reader = _Reader(origin, lined=False)
    node = reader.compose(text)
    value = None if node is None else reader.convert(node, "")
    if reader.faults:
        raise ProfileError(reader.faults)
    return value


def _text_of(path: Path) -> str:
    try:
        if not path.is_file():
            raise ProfileError([f"{path}: there is no such file"])
        if path.stat().st_size > MAX_BYTES:
            raise ProfileError([f"{path}: larger than {MAX_BYTES >> 20} MiB, so hardly a profile"])
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ProfileError([f"{path}:{line}: not UTF-8"], "save the file as UTF-8") from error
    except OSError as error:
        raise ProfileError([f"{path}: {error.strerror}"]) from error


class _Excess(yaml.MarkedYAMLError):
    """Valid YAML that exceeds the limits of a profile in size, depth or number of values."""


class _Loader(yaml.SafeLoader):
    """Composes nodes of text only; `_scalar` decides the type of plain values."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (the base class declares it so)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth, self.nodes, self.tagged = 0, 0, list[tuple[Any, str]]()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """One node, counted before what is inside it is read."""
        event = self.peek_event()
        self.depth, self.nodes = self.depth + 1, self.nodes + 1
        if self.depth > MAX_DEPTH:
            raise _Excess(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=event.start_mark)
        if self.nodes > MAX_VALUES:
            raise _Excess(problem=f"more than {MAX_VALUES} values", problem_mark=event.start_mark)
        if tag := getattr(event, "tag", None):
            self.tagged.append((event.start_mark, tag.replace("tag:yaml.org,2002:", "!!")))
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Reader:
    def __init__(self, origin: str, lined: bool = True) -> None:
        self.origin, self.lined = origin, lined
        self.faults, self.lines = list[str](), dict[str, int]()
        self.count = 0

    def compose(self, text: str) -> yaml.Node | None:
        """The node tree of a text."""
        try:
            loader = _Loader(text)
            node: yaml.Node | None = loader.get_single_node()
        except yaml.YAMLError as error:
            raise ProfileError([self._syntax(error, text)]) from error
        for mark, tag in loader.tagged:
            self._fault(mark, f"the tag {tag} is not allowed, a profile is plain data")
        return node

    def _syntax(self, error: yaml.YAMLError, text: str) -> str:
        if isinstance(error, yaml.reader.ReaderError):
            line = text.count("\n", 0, error.position) + 1
            return f"{self._place(line)}: not YAML: the character {error.character:#06x} is not allowed"
        assert isinstance(error, yaml.MarkedYAMLError)
        mark = error.problem_mark or error.context_mark
        place = self._place(_line(mark))
        if isinstance(error, _Excess):
            return f"{place}: {error.problem}"
        tab = "; YAML is indented with spaces, not tabs" if "'\\t'" in str(error.problem) else ""
        return f"{place}: not YAML: {error.problem or error.context}{tab}"

    def convert(self, node: yaml.Node, key: str, depth: int = 1) -> Any:
        """Plain values of a node; nodes reached through aliases count each time they are reached."""
        self.count += 1
        if self.count > MAX_VALUES:
            raise ProfileError([f"{self.origin}: more than {MAX_VALUES} values once its aliases are written out"])
        if depth > MAX_DEPTH:  # only an alias of something around it comes here
            raise ProfileError([f"{self._place(_line(node.start_mark))}: {key[:40]}: an alias that holds itself"])
        self.lines.setdefault(key, _line(node.start_mark))
        if isinstance(node, yaml.MappingNode):
            return dict(self._items(node, f"{key}." if key else "", depth))
        if isinstance(node, yaml.SequenceNode):
            return [self.convert(item, f"{key}.{at}", depth + 1) for at, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return _scalar(node)

    def _items(self, node: yaml.MappingNode, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for name_node, value in node.value:
            name, line = name_node.value, _line(name_node.start_mark)
            if not isinstance(name_node, yaml.ScalarNode) or len(name) > _LONGEST_NAME:
                self._fault(name_node.start_mark, f"{prefix}: a key must be a word")
            elif not name or "." in name:
                self._fault(name_node.start_mark, f"{prefix}{name}: write keys below one another, without dots")
            elif name in seen:
                self._fault(name_node.start_mark, f"{prefix}{name}: given twice (first in line {seen[name]})")
            else:
                seen[name] = self.lines[f"{prefix}{name}"] = line
                yield name, self.convert(value, f"{prefix}{name}", depth + 1)

    def _fault(self, mark: Any, text: str) -> None:
        self.faults.append(f"{self._place(_line(mark))}: {text}")

    def _place(self, line: int) -> str:
        return f"{self.origin}:{line}" if self.lined else self.origin


def _scalar(node: yaml.ScalarNode) -> Any:
    text = node.value
    if node.style is not None or len(text) > _LONGEST_NUMBER:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text, 0 if text[:2] in ("0o", "0x") else 10)
    return float(text) if _FLOAT.fullmatch(text) else text


def _line(mark: Any) -> int:
    return mark.line + 1 if mark else 1
