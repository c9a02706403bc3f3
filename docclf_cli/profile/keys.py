"""Every key of the schema by its dotted name."""

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel

from docclf_cli.profile.schema import Profile


class Key(NamedTuple):
    """A key of the schema; keys of list items are listed without the item's number.

    Attributes:
        name: Dotted name.
        is_mapping: Whether its value is a section or a free mapping.
    """

    name: str
    is_mapping: bool


def schema_keys(model: type[BaseModel] = Profile, prefix: str = "") -> Iterator[Key]:
    """All keys of a model and of what it holds, in the order of declaration."""
    for name, info in model.model_fields.items():
        full = f"{prefix}{name}"
        inner = _model_in(info.annotation)
        yield Key(full, inner is info.annotation or get_origin(info.annotation) is dict)
        if inner is not None:
            yield from schema_keys(inner, f"{full}.")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is, or that its list holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((inner for part in get_args(annotation) if (inner := _model_in(part))), None)


MAPPINGS = frozenset(key.name for key in schema_keys() if key.is_mapping)
