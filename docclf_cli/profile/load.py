"""Load a profile from files and options, with the source of each value.

Precedence: schema default < group file < profile < named option < `--set`. An option that names another group
(`--optimizer sgd`) replaces the group file; what the profile set explicitly in that section stays where the new choice has
the key, and what is dropped is said.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from docclf_cli.errors import ProfileError
from docclf_cli.profile.faults import MOST, faults_of, nearest
from docclf_cli.profile.faults import shown as shown_value
from docclf_cli.profile.groups import (
    DEFINITIONS,
    GROUPS,
    Choice,
    canonical,
    choice_of,
    explicit,
    group_entries,
    has_key,
    is_choice,
    one_spelling,
)
from docclf_cli.profile.layers import DEFAULT, GROUP_FILE, OPTION, PROFILE, SET, Entry, Layers, Source, entries, leaves
from docclf_cli.profile.lookup import config_folders, find_profile, group_names
from docclf_cli.profile.schema import MAPPINGS, ModelConfig, Profile
from docclf_cli.profile.yaml_reader import MAX_BYTES, Document, read_value, read_yaml

__all__ = ["GROUPS", "LoadedProfile", "Source", "config_folders", "dump_profile", "group_names", "load_profile"]

logger = logging.getLogger("docclf")
# First key of a written profile: its sections are whole, and group files have nothing to add to them.
RESOLVED = "resolved"
# The parameters that a building block takes, by section and name; the registries know them.
Parameters = Callable[[str, str], Container[str]]
_KEY = re.compile(r"[^\s.=]{1,100}(\.[^\s.=]{1,100}){0,20}")


@dataclass(frozen=True)
class LoadedProfile:
    """A profile, and the source of each of its values by dotted key."""

    profile: Profile
    sources: Mapping[str, Source] = field(default_factory=dict)


def only_those_of_group_file(section: str, name: str) -> Container[str]:
    """Parameters of a building block beyond those that its group file spells out, where no registry is asked."""
    return ()


def load_profile(
    name: str,
    *,
    options: Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
    default_dir: Path | None = None,
    parameters: Parameters = only_those_of_group_file,
) -> LoadedProfile:
    """Load a profile by name or path, and apply options to it.

    Args:
        name: A name, looked up in `./configs` and then among the shipped profiles, or a path.
        options: Values of named options by dotted key. A bare section (`scheduler`) names another group file.
        sets: `a.b=value` texts, applied last.
        default_dir: Looked up in the place of `./configs`.
        parameters: Tells which parameters a building block takes.

    Raises:
        ProfileError: Anything in it is wrong; all faults are listed.
    """
    folders = config_folders(default_dir)
    document = read_yaml(find_profile(name, folders))
    work = _Work(document, folders, list(document.faults), parameters)
    work.given = [Entry(key, value, Source(OPTION), {}) for key, value in (options or {}).items()]
    for text in sets:
        with work.collecting():
            work.given.extend(_parse_set(text))
    return work.resolve()


@dataclass
class _Work:
    """The state of loading one profile, with the faults found so far."""

    document: Document
    folders: Sequence[Path]
    faults: list[str]
    parameters: Parameters
    given: list[Entry] = field(default_factory=list)
    layers: Layers = field(default_factory=Layers)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Note the faults of one part, and continue with the next."""
        try:
            yield
        except ProfileError as error:
            self.faults.extend(error.faults)

    def resolve(self) -> LoadedProfile:
        whole = self.document.values.get(RESOLVED) is True
        if whole:
            del self.document.values[RESOLVED]
        stated = [
            entry for entry in entries(self.document, PROFILE) if not (entry.value is None and entry.key in MAPPINGS)
        ]
        for section in GROUPS:
            with self.collecting():
                self._lay_group(section, [entry for entry in stated if _within(entry.key, section)], whole)
        self._lay(entry for entry in stated if not any(_within(entry.key, section) for section in GROUPS))
        self._lay(entry for entry in self.given if not any(_within(entry.key, section) for section in GROUPS))
        return self._validated(whole)

    def _lay_group(self, section: str, stated: list[Entry], whole: bool) -> None:
        """Group file, profile, options: one section from the lowest layer to the highest."""
        given = [entry for entry in self.given if _within(entry.key, section)]
        chosen = [entry for entry in given if is_choice(entry.key)]
        of_profile = choice_of(section, stated)
        choice = choice_of(section, chosen[-1:]) if chosen else of_profile
        if section == "loss":
            choice = self._focal(choice)
        if whole and choice.source.kind == PROFILE:
            self._lay([Entry(f"{section}.name", choice.name, choice.source, {})])
        else:
            self._lay(group_entries(choice, self.folders, self.faults))
        if choice.source.kind in (OPTION, SET):
            self._lay(self._kept(of_profile, whole))
        else:
            self._lay(one_spelling(section, iter(choice.beside), self.faults))
        self._lay(entry.renamed(canonical(entry.key)) for entry in given if not is_choice(entry.key))
        if section == "loss":
            self._lay_focal_parameters()

    def _kept(self, of_profile: Choice, whole: bool) -> list[Entry]:
        """What the profile set beside a name that an option has replaced, where the new choice has that key.

        What is dropped is a warning; what is kept is said where the name is another one.
        """
        section = of_profile.section
        name, here = self.layers.values[section]["name"], set(self.layers.sources)
        stated = explicit(of_profile, self.folders, whole, self.faults)
        kept = [entry for entry in stated if has_key(entry.key, here, self.parameters(section, name))]
        for entry in stated:
            if entry not in kept:
                why = "has its own" if entry.key in DEFINITIONS else "has no such key"
                logger.warning("%s (%s) is dropped: '%s' %s", entry.key, entry.source.place, name, why)
        if kept and name != of_profile.name:
            shown = ", ".join(f"{entry.key}={shown_value(entry.value)}" for entry in kept)
            logger.info("%s '%s' keeps what the profile says: %s", section, name, shown)
        return kept

    def _lay(self, given: Sequence[Entry] | Iterator[Entry]) -> None:
        for entry in given:
            self.layers.put(entry)

    def _focal(self, loss: Choice) -> Choice:
        """The choice of the loss with `model.use_focal_loss` applied, which is another way to name the focal loss."""
        focal = self._focal_source()
        if focal is None or loss.name == "focal":
            return loss
        if loss.source.kind == DEFAULT:
            return Choice("loss", "focal", focal, loss.beside)
        if loss.source.rank >= focal.rank:
            self.faults.append(
                f"{loss.source.place}: loss: names {loss.name}, and model.use_focal_loss ({focal}) asks for the focal "
                "loss; set model.use_focal_loss to false, or remove the loss"
            )
            return loss
        return Choice("loss", "focal", focal)

    def _focal_source(self) -> Source | None:
        """The source that sets `model.use_focal_loss`; None where none does."""
        model, sources = self.layers.values.get("model", {}), self.layers.sources
        if model.get("use_focal_loss") is not True:
            return None
        return max(sources["model.use_focal_loss"], sources["model.name"], key=lambda source: source.rank)

    def _lay_focal_parameters(self) -> None:
        """Alpha and gamma of the model are those of the loss, unless the loss section sets them itself."""
        model, loss, sources = self.layers.values.get("model", {}), self.layers.values["loss"], self.layers.sources
        if self._focal_source() is None or loss["name"] != "focal" or not isinstance(loss.get("params", {}), dict):
            return
        for key in ("alpha", "gamma"):
            here, value = f"loss.params.{key}", model.get(key, ModelConfig.model_fields[key].default)
            stated = sources.get(here)
            if stated is None or stated.kind == GROUP_FILE:
                self.layers.put(Entry(here, value, sources.get(f"model.{key}", Source(DEFAULT)), {}))
            elif loss["params"][key] != value:
                self.faults.append(f"{stated.place}: {here}: is not model.{key}, which is {value}; say it in one place")

    def _validated(self, whole: bool) -> LoadedProfile:
        sources = self.layers.sources
        try:
            profile = Profile.model_validate(self.layers.values)
        except ValidationError as error:
            self.faults.extend(faults_of(error, sources))
        if self.faults:
            raise ProfileError(sorted(self.faults, key=_line_of)[:MOST])
        if "ensemble.enabled" in sources and not whole:
            logger.warning("ensemble.enabled has no effect: `docclf ensemble` combines, every other command does not")
        keys = dict(leaves(profile.model_dump(mode="json")))
        return LoadedProfile(profile, {key: nearest(key, sources) or Source(DEFAULT) for key in keys})


def _within(key: str, section: str) -> bool:
    return key == section or key.startswith(f"{section}.")


def _line_of(fault: str) -> int:
    """Sort key: faults in the order of the file, those of options last."""
    line = re.search(r":(\d+): ", fault)
    return int(line[1]) if line else MAX_BYTES


def _parse_set(text: str) -> list[Entry]:
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not _KEY.fullmatch(key):
        raise ProfileError([f"--set {text[:80]}: not of the form KEY=VALUE, such as train.clip_grad=0.5"])
    found = read_value(value, f"--set {key}")
    pairs = leaves(found, f"{key}.") if isinstance(found, dict) and found else [(key, found)]
    return [Entry(name, item, Source(SET), {}) for name, item in pairs]


def dump_profile(profile: Profile) -> str:
    """Canonical YAML of a profile, without its name and output, so that it can be run again.

    It is marked as resolved: whatever becomes of the group files, it loads as the same profile.
    """
    values = {RESOLVED: True, **profile.model_dump(exclude={"name", "output"})}
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """A YAML dumper that quotes text which some YAML reader would take for another type, and writes lists in full."""

    def ignore_aliases(self, data: Any) -> bool:
        """No anchors: a written profile is read and edited by people."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # Readers of YAML 1.1 take these for another type.
    word = text.lower() in ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", text) and not word
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _represent_text)
_Dumper.add_multi_representer(str, _represent_text)
