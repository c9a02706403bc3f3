"""Named building blocks: one function or class registered in one place, whose signature is its parameter schema.

Keyword-only parameters of a registered function are what a profile may set; positional ones are what the
engine passes. Names, aliases, descriptions and parameters are known without importing torch, so modules
that register import it inside their functions (and do not postpone the evaluation of annotations).
"""

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from docclf_cli.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

T = TypeVar("T", bound=Callable[..., Any])


def did_you_mean(word: str, known: Iterator[str] | list[str] | tuple[str, ...]) -> str:
    """`, did you mean 'x'?` for the closest known word, else the empty string."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean '{close[0]}'?" if close else ""


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered building block.

    Attributes:
        name: Canonical name.
        build: The registered function or class.
        description: One line for help texts and tables.
        facts: Further properties that its kind declares (for a scheduler: `unit`).
    """

    name: str
    build: T
    description: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def schema(self) -> "type[BaseModel]":
        """A pydantic model of the keyword-only parameters."""
        # Takes long to import, and options list what is registered.
        from pydantic import ConfigDict, create_model

        parameters = inspect.signature(self.build).parameters.values()
        fields: dict[str, Any] = {
            p.name: (p.annotation, ... if p.default is p.empty else p.default)
            for p in parameters
            if p.kind is p.KEYWORD_ONLY
        }
        return create_model(self.name, __config__=ConfigDict(extra="forbid"), **fields)

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameter names with their defaults (`...` where one is required)."""
        return {
            name: ... if info.is_required() else info.get_default() for name, info in self.schema.model_fields.items()
        }

    def faults(self, params: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Everything wrong with `params`, as (dotted key, message)."""
        from pydantic import ValidationError

        try:
            self.schema.model_validate(dict(params))
        except ValidationError as error:
            return [self._fault(item["loc"], item["type"], item["msg"]) for item in error.errors()]
        return []

    def _fault(self, loc: tuple[int | str, ...], kind: str, text: str) -> tuple[str, str]:
        key = ".".join(str(part) for part in loc)
        if kind == "extra_forbidden":
            known = ", ".join(self.parameters) or "none"
            return (
                key,
                f"'{self.name}' has no such parameter{did_you_mean(key, tuple(self.parameters))} (it has: {known})",
            )
        return key, text[:1].lower() + text[1:]


class Registry(Generic[T]):
    """Building blocks of one kind by name.

    Args:
        kind: What the entries are called in messages ("scheduler").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[T]] = {}
        self._aliases: dict[str, str] = {}

    def register(self, name: str, *, aliases: tuple[str, ...] = (), **facts: Any) -> Callable[[T], T]:
        """Register the decorated function or class; its docstring's first line becomes the description."""

        def add(build: T) -> T:
            description = (inspect.getdoc(build) or "").split("\n", 1)[0]
            for key in (name, *aliases):
                if key in self._entries or key in self._aliases:
                    raise ValueError(f"{self.kind} '{key}' is registered twice")
            self._entries[name] = Entry(name, build, description, facts)
            self._aliases.update(dict.fromkeys(aliases, name))
            return build

        return add

    def names(self) -> tuple[str, ...]:
        """Canonical names in the order of registration."""
        return tuple(self._entries)

    def __iter__(self) -> Iterator[Entry[T]]:
        return iter(self._entries.values())

    def __contains__(self, name: str) -> bool:
        return name in self._entries or name in self._aliases

    def get(self, name: str) -> Entry[T]:
        """The entry of a name or alias.

        Raises:
            InputError: No such name; the message lists the known ones.
        """
        entry = self._entries.get(self._aliases.get(name, name))
        if entry is None:
            known = (*self._entries, *self._aliases)
            raise InputError(
                f"unknown {self.kind} '{name}'{did_you_mean(name, known)}", f"known: {', '.join(self._entries)}"
            )
        return entry

    def create(self, name: str, *args: Any, **params: Any) -> Any:
        """Build an entry: `args` from the engine, `params` from the profile.

        Raises:
            InputError: Unknown name or parameters that do not fit the signature.
        """
        entry = self.get(name)
        if faults := entry.faults(params):
            lines = "; ".join(f"{key}: {message}" for key, message in faults)
            raise InputError(f"{self.kind} '{name}': {lines}")
        return entry.build(*args, **entry.schema.model_validate(params).__dict__)
