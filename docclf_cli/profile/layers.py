"""Layers of values that override one another, each value with its source."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from docclf_cli.profile.yaml_reader import Document

# In the order of precedence.
DEFAULT, GROUP_FILE, PROFILE, OPTION, SET = KINDS = ("default", "group file", "profile", "option", "--set")


@dataclass(frozen=True)
class Source:
    """The source of a value: its kind, file and line.

    Attributes:
        kind: One of `KINDS`.
        where: `configs/config.yaml:12`; empty for a default or an option.
    """

    kind: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.where}".strip()

    @property
    def place(self) -> str:
        """The start of a message about the value: its file and line, or its option."""
        return self.where or self.kind

    @property
    def rank(self) -> int:
        """Higher ranks win."""
        return KINDS.index(self.kind)


class Entry(NamedTuple):
    """One value by dotted key; `inner` holds the sources of what is inside a list."""

    key: str
    value: Any
    source: Source
    inner: Mapping[str, Source]

    def renamed(self, key: str) -> "Entry":
        """The same value under another key."""
        inner = {key + name.removeprefix(self.key): source for name, source in self.inner.items()}
        return Entry(key, self.value, self.source, inner)


@dataclass
class Layers:
    """The merged values of all layers so far, and their sources."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)

    def put(self, entry: Entry) -> None:
        """Override one value; an empty mapping leaves an existing mapping as it is."""
        *parents, name = entry.key.split(".")
        place = self.values
        for depth, parent in enumerate(parents, start=1):
            if parent in place and not isinstance(place[parent], dict):
                self._forget(".".join(parents[:depth]))
                del place[parent]
            place = place.setdefault(parent, {})
        if entry.value == {} and isinstance(place.get(name), dict):
            return
        if name in place:
            self._forget(entry.key)
        place[name] = entry.value
        self.sources.update({entry.key: entry.source, **entry.inner})

    def _forget(self, key: str) -> None:
        below = f"{key}."
        self.sources = {name: source for name, source in self.sources.items() if not f"{name}.".startswith(below)}


def entries(document: Document, kind: str, prefix: str = "") -> Iterator[Entry]:
    """Every value of a document that is no mapping, each with its line."""
    for key, value in leaves(document.values):
        inner = {f"{prefix}{name}": Source(kind, document.where(name)) for name in _names_inside(key, value)}
        yield Entry(f"{prefix}{key}", value, Source(kind, document.where(key)), inner)


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of everything that is no mapping, or an empty one."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _names_inside(key: str, value: Any) -> Iterator[str]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        yield f"{key}.{name}"
        yield from _names_inside(f"{key}.{name}", item)
