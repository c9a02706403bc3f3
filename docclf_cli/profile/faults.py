"""Pydantic's findings in plain words, each with its place and a suggestion."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from docclf_cli.profile.schema import Profile

_WORDS = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "literal_error": "must be one of {expected}",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "missing": "is missing",
}


def faults_of(error: ValidationError, places: Mapping[str, str]) -> list[str]:
    """One line a fault: place, dotted key, what is wrong, what is known.

    Args:
        error: What validation found.
        places: File and line of keys that were given.
    """
    return [_line(item, places) for item in error.errors()]


def _line(item: Any, places: Mapping[str, str]) -> str:
    key = ".".join(str(part) for part in item["loc"])
    place = _place(key, places)
    return f"{place}{': ' if place else ''}{key}: {_text(item, key)}"


def _place(key: str, places: Mapping[str, str]) -> str:
    while key and key not in places:
        below = [place for name, place in places.items() if name.startswith(f"{key}.")]
        if below:
            return below[0]
        key = key.rpartition(".")[0]
    return places.get(key, "")


def _text(item: Any, key: str) -> str:
    if item["type"] == "extra_forbidden":
        return f"there is no such key{_suggestion(key)}"
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    text = _WORDS.get(item["type"])
    said = text.format(**item.get("ctx", {})) if text else item["msg"].lower()
    return f"{said}, not {item['input']!r}" if item["type"] != "missing" else said


def _suggestion(key: str) -> str:
    known = list(_keys(Profile))
    name = key.rpartition(".")[2]
    elsewhere = [other for other in known if other.rpartition(".")[2] == name]
    close = elsewhere or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f", did you mean '{close[0]}'?" if close else ""


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        full = f"{prefix}{name}"
        yield full
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _keys(inner, f"{full}.")
