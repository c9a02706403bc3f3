"""Validation errors of pydantic as plain sentences, each with its file, line and a suggestion."""

import difflib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from reprlib import Repr
from typing import Any

from pydantic import ValidationError

from docclf_cli.profile.layers import Source
from docclf_cli.profile.schema import schema_keys

_WORDS = {
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text (in quotes where it looks like something else)",
    "literal_error": "must be one of {expected}",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
}
# Nobody fixes more at a time.
MOST = 50
# Given values are shown, shortened.
_SHOWN = Repr()
_SHOWN.maxstring = _SHOWN.maxother = 60
_SHOWN.maxlevel = 3


def faults_of(error: ValidationError, sources: Mapping[str, Source]) -> list[str]:
    """One line for each fault: its place, its dotted key, what is wrong, and the known values.

    Args:
        error: What validation found.
        sources: Where each key that was given comes from.
    """
    found = list(_by_key(error.errors()))
    more = [f"and {len(found) - MOST} more"] if len(found) > MOST else []
    return [_line(items, sources) for items in found[:MOST]] + more


def _by_key(found: Iterable[Any]) -> Iterator[list[Any]]:
    """The faults one by one, but together those that say why a value is none of the kinds that its key allows.

    pydantic names the kind behind the key, as in `train.upright.literal['auto']`.
    """
    values = {key.name for key in schema_keys() if not key.is_mapping}

    def key_of(item: Any) -> tuple[Any, ...]:
        loc: tuple[Any, ...] = item["loc"]
        is_kind = _dotted(loc[:-1]) in values and isinstance(loc[-1], str)
        return loc[:-1] if is_kind else loc

    for key, items in itertools.groupby(found, key_of):
        yield [{**item, "loc": key} for item in items]


def nearest(key: str, sources: Mapping[str, Source]) -> Source | None:
    """The source of a key, or of the closest mapping or list around it."""
    while key and key not in sources:
        key = key.rpartition(".")[0]
    return sources.get(key)


def _line(items: Sequence[Any], sources: Mapping[str, Source]) -> str:
    key, text = _finding(items[0])
    if len(items) > 1:
        kinds = " or ".join([_said(items[0]), *(_said(item).removeprefix("must be ") for item in items[1:])])
        text = f"{kinds}, not {shown(items[0]['input'])}"
    below = (source for name, source in sources.items() if name.startswith(f"{key}."))
    source = nearest(key, sources) or next(below, None)
    return f"{source.place}: {key}: {text}" if source else f"{key}: {text}"


def _finding(item: Any) -> tuple[str, str]:
    key = _dotted(item["loc"])
    if item["type"] == "missing":
        return key, "is missing"
    if item["type"] == "extra_forbidden":
        return key, f"there is no such key{_suggestion(key)}"
    if item["type"] == "value_error":
        # A section's own checks say `KEY: TEXT` where one key is to blame.
        name, colon, text = str(item["ctx"]["error"]).partition(": ")
        return (f"{key}.{name}", text) if colon and name.isidentifier() else (key, str(item["ctx"]["error"]))
    return key, f"{_said(item)}, not {shown(item['input'])}"


def _said(item: Any) -> str:
    """What a value must be."""
    words, about = _WORDS.get(item["type"]), item.get("ctx", {})
    if item["type"] == "literal_error" and " or " not in about["expected"]:
        return f"must be {about['expected']}"
    return words.format(**about) if words else item["msg"][:1].lower() + item["msg"][1:]


def _dotted(loc: Iterable[Any]) -> str:
    return ".".join(map(str, loc))


def shown(value: Any) -> str:
    """A value as YAML spells it, shortened."""
    return json.dumps(value) if value is None or isinstance(value, bool) else _SHOWN.repr(value)


def _suggestion(key: str) -> str:
    section, _, name = ".".join(part for part in key.split(".") if not part.isdigit()).rpartition(".")
    known = [other.name for other in schema_keys()]
    found = next(_candidates(section, name, known), None)
    return f", did you mean '{found}'?" if found else ""


def _candidates(section: str, name: str, known: list[str]) -> Iterator[str]:
    """Keys that may be meant: a misspelling in the same section, the same name elsewhere, anything close."""
    beside = {other.rpartition(".")[2]: other for other in known if other.rpartition(".")[0] == section}
    yield from (beside[close] for close in difflib.get_close_matches(name, list(beside), n=1, cutoff=0.75))
    yield from (other for other in known if other.rpartition(".")[2] == name)
    yield from difflib.get_close_matches(f"{section}.{name}".lstrip("."), known, n=1, cutoff=0.7)
