"""Sections that are chosen by name: their group file, and the keys given beside the name."""

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from docclf_cli.errors import ProfileError
from docclf_cli.profile.layers import DEFAULT, GROUP_FILE, Entry, Source, entries, leaves
from docclf_cli.profile.lookup import find_group_file, group_names, is_name
from docclf_cli.profile.schema import Profile
from docclf_cli.profile.yaml_reader import read_yaml
from docclf_cli.registry import did_you_mean

# The model comes first: it may choose the loss.
GROUPS = ("model", "optimizer", "scheduler", "loss", "augmentation")
# These keep what they do not know themselves under `params`.
WITH_PARAMS = ("optimizer", "scheduler", "loss")
# These say what a name stands for, so that they never outlive it.
DEFINITIONS = ("model.model_name", "augmentation.transforms")
_DEFAULTS = Profile()
_TARGET = re.compile(r"src\.\w+\.(\w+)\.\w+")


@dataclass(frozen=True)
class Choice:
    """The name chosen for a section, the source of the name, and the keys given beside it."""

    section: str
    name: str
    source: Source
    beside: Sequence[Entry] = field(default=())

    def gives(self, key: str) -> bool:
        """Whether `key` of the section is given beside the name."""
        return any(entry.key == f"{self.section}.{key}" for entry in self.beside)


def default_choice(section: str, beside: Sequence[Entry] = ()) -> Choice:
    """The default choice of a section."""
    return Choice(section, getattr(_DEFAULTS, section).name, Source(DEFAULT), beside)


def choice_of(section: str, given: Sequence[Entry]) -> Choice:
    """The choice that the entries of one section from one source make.

    Args:
        section: One of `GROUPS`.
        given: The section itself with its bare name, or its keys.

    Raises:
        ProfileError: What should be a name is none.
    """
    names = {entry.key.removeprefix(section).lstrip("."): entry for entry in given}
    beside = [entry for entry in given if entry.key not in (section, f"{section}.name", f"{section}._target_")]
    if (target := names.get("_target_")) and "name" not in names:
        return Choice(section, _target_name(section, target), target.source, beside)
    named = names.get("") or names.get("name") or (names.get("model_name") if section == "model" else None)
    if named is None:
        return default_choice(section, beside)
    if not is_name(named.value):
        known = ", ".join(group_names(section))
        raise ProfileError([f"{named.source.place}: {section}: {named.value!r:.80} is not a name (known: {known})"])
    return Choice(section, named.value, named.source, beside)


def group_entries(choice: Choice, folders: Sequence[Path], faults: list[str]) -> Iterator[Entry]:
    """The entries of a choice: the values of its group file, and its name."""
    section, name = choice.section, choice.name
    path = find_group_file(section, name, folders)
    if path is not None:
        document = read_yaml(path)
        faults.extend(document.faults)
        held = list(entries(document, GROUP_FILE, f"{section}."))
        # A file of one's own may be called `slow` and hold a `cosine`.
        inner = choice_of(section, [entry for entry in held if not entry.key.endswith(".model_name")])
        name = inner.name if inner.source.kind == GROUP_FILE else name
        yield from one_spelling(section, (entry for entry in held if entry.key != f"{section}.name"), faults)
    elif section == "model":  # any timm model goes by its own name
        yield Entry("model.model_name", name, choice.source, {})
    elif section == "augmentation" and not choice.gives("transforms"):
        known = group_names(section, folders)
        hint = f"{did_you_mean(name, known)} (known: {', '.join(known)})"
        faults.append(f"{choice.source.place}: {section}: there is no policy '{name}'{hint}")
    yield Entry(f"{section}.name", name, choice.source, {})


def one_spelling(section: str, given: Iterator[Entry], faults: list[str]) -> Iterator[Entry]:
    """The entries of one source in canonical spelling; a key given in both spellings is a fault."""
    seen: dict[str, str] = {}
    for entry in given:
        found = entry.renamed(canonical(entry.key))
        if found.key in seen:
            faults.append(f"{entry.source.place}: {entry.key}: given twice, here and as {seen[found.key]}")
        elif entry.key != f"{section}._target_":
            yield found
        seen[found.key] = entry.key


def explicit(choice: Choice, folders: Sequence[Path], whole: bool, faults: list[str]) -> list[Entry]:
    """What a profile sets of its own beside the name of a section, in canonical spelling.

    Args:
        choice: The profile's choice of the section.
        folders: Where group files are looked up.
        whole: A profile that docclf wrote states every value: its own are those that differ from the group file and
            the defaults.
        faults: Faults found are added here.
    """
    stated = [
        entry
        for entry in one_spelling(choice.section, iter(choice.beside), faults)
        if entry.value != {} and entry.key != "model.model_name"  # whoever names another model has replaced that
    ]
    if not whole:
        return stated
    usual = dict(leaves(getattr(_DEFAULTS, choice.section).model_dump(mode="json"), f"{choice.section}."))
    usual |= {entry.key: entry.value for entry in group_entries(choice, folders, [])}
    return [entry for entry in stated if entry.key not in usual or entry.value != usual[entry.key]]


def has_key(key: str, spelled_out: Container[str], parameters: Container[str]) -> bool:
    """Whether a key of a replaced section means something to the section that is chosen in its place.

    Args:
        key: Its dotted name, in canonical spelling.
        spelled_out: Keys in the group file of the new choice.
        parameters: Parameters that the new choice takes.
    """
    section, *names = key.split(".")
    if names[0] == "params" and len(names) > 1:
        return key in spelled_out or names[1] in parameters
    return key not in DEFINITIONS and names[0] in type(getattr(_DEFAULTS, section)).model_fields


def canonical(key: str) -> str:
    """`scheduler.T_max` is short for `scheduler.params.T_max`."""
    section, _, name = key.partition(".")
    if (
        section not in WITH_PARAMS
        or not name
        or name.partition(".")[0] in type(getattr(_DEFAULTS, section)).model_fields
    ):
        return key
    return f"{section}.params.{name}"


def _target_name(section: str, target: Entry) -> str:
    """`src.schedulers.cosine.CosineScheduler` names the scheduler `cosine`; it is never imported."""
    match = _TARGET.fullmatch(target.value) if isinstance(target.value, str) else None
    if match is None:
        raise ProfileError(
            [f"{target.source.place}: {section}._target_: {target.value!r:.80} names no {section}, write `name: NAME`"]
        )
    return match.group(1)


def is_choice(key: str) -> bool:
    """Whether a dotted key chooses a section anew: `scheduler`, `scheduler.name`."""
    section, _, name = key.partition(".")
    return section in GROUPS and name in ("", "name")
