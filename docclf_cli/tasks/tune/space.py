"""The search space of `docclf tune`: which keys of a profile are varied, and between what."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError, model_validator

from docclf_cli.errors import ProfileError
from docclf_cli.profile.faults import faults_of
from docclf_cli.profile.groups import GROUPS
from docclf_cli.profile.layers import PROFILE, Source
from docclf_cli.profile.lookup import config_folders, find_group_file
from docclf_cli.profile.schema import Flag, Positive, Profile, Section
from docclf_cli.profile.yaml_reader import read_yaml

if TYPE_CHECKING:
    from optuna import Trial

DEFAULT_SPACE = "default"
FOLDER = "search_space"
# Keys that say which pages there are, where files go or how much time there is: no trial may change these.
FIXED = (
    "data.",
    "name",
    "output",
    "seed",
    "s3",
    "wandb",
    "ensemble",
    "runtime",
    "train.minutes",
    "train.plan",
    "train.fold",
    "train.refit",
    "train.snapshots",
    "train.checkpoint_every",
)
FREE = ("data.image_size", "data.resize_mode")
logger = logging.getLogger("docclf")
Value = float | int | str | bool | None


class Range(Section):
    """One line of a search space, as it is written."""

    choices: tuple[Value, ...] | None = Field(None, description="Values to choose from")
    low: float | None = Field(None, description="Smallest value")
    high: float | None = Field(None, description="Largest value")
    times: tuple[Positive, Positive] | None = Field(None, description="Smallest and largest multiple of the start")
    log: Flag = Field(False, description="Whether the logarithm is varied")
    step: Positive | None = Field(None, description="Whole steps")

    @model_validator(mode="after")
    def _consistent(self) -> Range:
        ways = (self.choices is not None, self.times is not None, self.low is not None or self.high is not None)
        if sum(ways) != 1:
            raise ValueError("give one of choices, times, or low and high")
        if ways[2] and (self.low is None or self.high is None or self.low > self.high):
            raise ValueError("low: give low and high, low not above high")
        if self.choices is not None and (not self.choices or self.log or self.step is not None):
            raise ValueError("choices: give a list of values, without log and step")
        if self.times is not None and self.times[0] > self.times[1]:
            raise ValueError("times: give the smaller one first")
        if self.log and self.step is not None:
            raise ValueError("log: leave out step, which has no meaning there")
        if self.log and self.low is not None and self.low <= 0:
            raise ValueError("low: must be above 0 where log is true")
        return self


@dataclass(frozen=True)
class Parameter:
    """A key that is varied.

    Attributes:
        key: Dotted key of the profile; a bare section (`augmentation`) names its group file.
        start: Its value in the starting profile.
        choices: The values to choose from; empty for a range.
        low: Smallest value of a range.
        high: Largest value.
        log: Whether the logarithm is varied.
        step: Distance of the values; None for any number in between.
        whole: Whether it is a whole number.
    """

    key: str
    start: Value
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    whole: bool = False

    def suggest(self, trial: Trial) -> Value:
        """The value that a trial of optuna tries; the same whenever it is asked again."""
        if self.choices:
            chosen: Value = trial.suggest_categorical(self.key, self.choices)
            return chosen
        if self.whole:
            low, high = int(self.low), int(self.high)
            return trial.suggest_int(self.key, low, high, log=self.log, step=int(self.step or 1))
        return trial.suggest_float(self.key, self.low, self.high, log=self.log, step=self.step)

    def ends(self) -> tuple[Value, ...]:
        """All choices, or the two ends of a range: what must be a valid setting."""
        if self.choices:
            return self.choices
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    def __str__(self) -> str:
        if self.choices:
            return " | ".join(map(str, self.choices))
        return f"{self.low:g} … {self.high:g}{' (log)' if self.log else ''}"


def read_space(name: str, profile: Profile) -> tuple[Parameter, ...]:
    """Read a search space, and lay it around the values of a profile.

    A range that does not hold the starting value is widened to it, and that is said: the start is the first trial.

    Args:
        name: A name, looked up in `./configs/search_space` and among the shipped ones, or a path.
        profile: The starting profile.

    Raises:
        ProfileError: The file is missing, or has faults; all are listed.
    """
    path = find_group_file(FOLDER, name, config_folders()) or Path(name)
    document = read_yaml(path)
    faults = list(document.faults)
    values = dict(_flat(document.values))
    found = []
    for key, text in values.items():
        sources = {key: Source(PROFILE, document.where(key))}
        fault = _unusable(key, profile)
        if fault or not isinstance(text, dict):
            faults.append(f"{document.where(key)}: {key}: {fault or 'must be a mapping such as {low: 1, high: 2}'}")
            continue
        try:
            written = Range.model_validate(text)
        except ValidationError as error:
            faults.extend(f"{sources[key].place}: {key}: {line}" for line in faults_of(error, {}))
            continue
        try:
            found.append(_around(key, written, _value_of(profile, key)))
        except ValueError as error:
            faults.append(f"{document.where(key)}: {key}: {error}")
    if not values and not faults:
        faults.append(f"{path}: names no key to vary")
    if faults:
        raise ProfileError(faults)
    return tuple(found)


def as_yaml(parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """A search space as it is written into the folder of a search, with the values that relative ends came to."""
    written: dict[str, Any] = {}
    for one in parameters:
        *sections, name = one.key.split(".")
        place = written
        for section in sections:
            place = place.setdefault(section, {})
        low, high = one.ends()[0], one.ends()[-1]
        place[name] = {"choices": list(one.choices)} if one.choices else {"low": low, "high": high}
        place[name] |= {"log": True} if one.log else {}
        place[name] |= {} if one.step is None else {"step": one.step}
    return written


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys with what is written about them; `optimizer: {lr: {…}}` means `optimizer.lr: {…}`."""
    for name, item in values.items():
        key = f"{prefix}{name}"
        if isinstance(item, dict) and item and not item.keys() & Range.model_fields.keys():
            yield from _flat(item, f"{key}.")
        else:
            yield key, item


def _unusable(key: str, profile: Profile) -> str:
    """Why a key cannot be varied; empty where it can."""
    if key not in FREE and any(key == one.rstrip(".") or key.startswith(one) for one in FIXED):
        return "cannot be varied: it is the same for all trials"
    try:
        value = _value_of(profile, key)
    except LookupError:
        return "is no key of a profile"
    return "" if value is None or isinstance(value, float | int | str | bool) else "is no single value"


def _value_of(profile: Profile, key: str) -> Any:
    if key in GROUPS:
        key = f"{key}.name"
    value: Any = profile.model_dump(mode="json")
    for part in key.split("."):
        value = value[part]
    return value


def _around(key: str, written: Range, start: Value) -> Parameter:
    """A parameter whose range holds the starting value.

    Raises:
        ValueError: The value is no number, and a range is asked for.
    """
    if written.choices is not None:
        choices = written.choices if start in written.choices else (start, *written.choices)
        if len(choices) > len(written.choices):
            logger.info("%s: the starting value %s is one more choice", key, start)
        return Parameter(key, start, choices)
    if start is None or isinstance(start, str | bool):
        raise ValueError(f"the profile holds {'null' if start is None else start!r}; give choices")
    low, high = written.low, written.high
    if written.times is not None:
        low, high = (start * factor for factor in written.times)
    assert low is not None and high is not None
    whole = isinstance(start, int)
    step = written.step
    if whole and step is None and not written.log:
        step = 1.0
    if step is not None:  # counted from the start, so that it is one of the values
        low = start - step * math.floor((start - low) / step + 1e-9) if low <= start else low
        high = start + step * math.floor((high - start) / step + 1e-9) if high >= start else high
        if whole:
            low = max(low, start - step * ((start - 1) // step))
    if not low <= start <= high:
        logger.info("%s: the range %g … %g is widened to the starting value %s", key, low, high, start)
        low, high = min(low, start), max(high, start)
    if whole:
        low, high = max(1, round(low)), round(high)
    return Parameter(key, start, (), float(low), float(high), written.log, step, whole)
