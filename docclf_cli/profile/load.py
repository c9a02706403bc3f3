"""From files and options to a profile: groups, overrides, and where each value came from.

Precedence: schema default < group file < profile < named option < `--set`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from docclf_cli.errors import ProfileError
from docclf_cli.profile.faults import faults_of
from docclf_cli.profile.schema import Profile
from docclf_cli.profile.yaml_reader import Document, read_value, read_yaml

GROUPS = ("model", "optimizer", "scheduler", "loss", "augmentation")
# Sections that keep what they do not know themselves under `params`.
WITH_PARAMS = ("optimizer", "scheduler", "loss")
_TARGET = re.compile(r"(?:\w+\.)*(\w+)\.\w+")


@dataclass(frozen=True)
class Source:
    """Where a value came from: its kind, and the file with its line or the option."""

    kind: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.where}".strip()


@dataclass(frozen=True)
class LoadedProfile:
    """A profile with the source of each value that is not a schema default, by dotted key."""

    profile: Profile
    sources: Mapping[str, Source] = field(default_factory=dict)


@dataclass
class _Tree:
    """Values being put together, with their sources."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)

    def put(self, key: str, value: Any, source: Source) -> None:
        """Set one dotted key; a mapping is merged into what is there, anything else replaces it."""
        if isinstance(value, dict) and value and not _is_list_key(key):
            for name, item in value.items():
                self.put(f"{key}.{name}" if key else str(name), item, source)
            return
        *parents, name = key.split(".")
        place = self.values
        for parent in parents:
            inner = place.get(parent)
            place[parent] = inner if isinstance(inner, dict) else {}
            place = place[parent]
        place[name] = value
        self.sources[key] = source

    def add(self, document: Document, prefix: str, kind: str, origin: str) -> None:
        """Put a file's values below `prefix`, each with its line."""
        for key, value in _flat(document.values):
            line = document.lines.get(key, 0)
            full = f"{prefix}.{key}" if prefix else key
            self.put(full, value, Source(kind, f"{origin}:{line}"))


def load_profile(name: str, *, options: Mapping[str, Any] | None = None, sets: Sequence[str] = ()) -> LoadedProfile:
    """Load a profile by name or path, and lay options over it.

    Args:
        name: A name, looked up in `./configs` and then among the shipped profiles, or a path.
        options: Values of named options by dotted key. A bare section (`scheduler`) replaces the section whole.
        sets: `a.b=value` texts, applied last.

    Raises:
        ProfileError: Anything in it is wrong; all faults are listed.
    """
    path = _find(name)
    document = read_yaml(path)
    given = [(key, value, Source("option")) for key, value in (options or {}).items()]
    given += [(*_parse_set(text), Source("--set")) for text in sets]
    tree = _Tree()
    for section in GROUPS:
        _resolve_group(tree, section, document, str(path), given)
    rest = {key: value for key, value in document.values.items() if key not in GROUPS}
    tree.add(Document(rest, document.lines), "", "profile", str(path))
    for key, value, source in given:
        if not _chooses_group(key):
            tree.put(_with_params(key), value, source)
    return LoadedProfile(_validated(tree), tree.sources)


def config_folders() -> tuple[Path, ...]:
    """Where names are looked up: `./configs` first, then what docclf ships."""
    package = Path(__file__).parent.parent
    shipped = package / "configs"
    return (Path("configs"), shipped if shipped.is_dir() else package.parent / "configs")


def group_names(section: str) -> list[str]:
    """Names of the group files of a section."""
    return sorted({path.stem for folder in config_folders() for path in (folder / section).glob("*.yaml")})


def dump_profile(profile: Profile) -> str:
    """Canonical YAML of a profile, without its name and output, so that it can be run again."""
    values = profile.model_dump(mode="json", exclude={"name", "output"})
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Writes text so that `read_yaml` reads it back as text."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", text) and text.lower() not in ("true", "false", "null")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _represent_text)


def _find(name: str) -> Path:
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    for folder in config_folders():
        if _is_plain(name) and (found := folder / f"{name}.yaml").is_file():
            return found
    known = sorted({found.stem for folder in config_folders() for found in folder.glob("*.yaml")})
    raise ProfileError([f"there is no profile '{name}'"], f"known: {', '.join(known)}; or give a path to a .yaml file")


def _is_plain(name: str) -> bool:
    return re.fullmatch(r"[\w.-]+", name) is not None and not name.startswith(".")


def _parse_set(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ProfileError([f"--set {text}: not of the form KEY=VALUE"], "for example --set train.clip_grad=0.5")
    return key.strip(), read_value(value, f"--set {key}")


def _resolve_group(
    tree: _Tree, section: str, document: Document, origin: str, given: Iterable[tuple[str, Any, Source]]
) -> None:
    """One section: its group file, then what the profile says beside the name (unless an option chose another)."""
    stated = document.values.get(section)
    name, source = _stated_name(section, stated, Source("profile", f"{origin}:{document.lines.get(section, 0)}"))
    chosen = [(value, where) for key, value, where in given if key.split(".")[0] == section and _chooses_group(key)]
    if chosen:
        name, source = chosen[-1]
    if not isinstance(name, str) or not _is_plain(name):
        raise ProfileError([f"{section}: '{name}' is not a name"], f"known: {', '.join(group_names(section))}")
    _add_group_file(tree, section, name, source)
    if isinstance(stated, dict) and not chosen:
        beside = {key: value for key, value in stated.items() if key not in ("name", "_target_")}
        lines = {key.removeprefix(f"{section}."): line for key, line in document.lines.items()}
        tree.add(Document(_params_below(section, beside), lines), section, "profile", origin)


def _stated_name(section: str, stated: Any, source: Source) -> tuple[Any, Source]:
    if stated is None:
        return _default(section).name, Source("default")
    if not isinstance(stated, dict):
        return stated, source
    if "name" in stated:
        return stated["name"], source
    if "model_name" in stated:
        return stated["model_name"], source
    if "_target_" in stated:
        return _target_name(section, stated["_target_"]), source
    return _default(section).name, Source("default")


def _default(section: str) -> Any:
    return Profile.model_fields[section].get_default(call_default_factory=True)


def _target_name(section: str, target: Any) -> str:
    """`src.schedulers.cosine.CosineScheduler` names the scheduler `cosine`; it is never imported."""
    match = _TARGET.fullmatch(target) if isinstance(target, str) else None
    if match is None:
        raise ProfileError([f"{section}._target_: '{target}' names no {section}"], f"write {section}: NAME instead")
    return match.group(1)


def _add_group_file(tree: _Tree, section: str, name: str, source: Source) -> None:
    for folder in config_folders():
        path = folder / section / f"{name}.yaml"
        if path.is_file():
            document = read_yaml(path)
            values = {key: value for key, value in document.values.items() if key not in ("name", "_target_")}
            tree.add(Document(_params_below(section, values), document.lines), section, "group file", str(path))
            break
    else:
        if section == "model":  # any timm model goes by its own name
            tree.put("model.model_name", name, source)
    tree.put(f"{section}.name", name, source)


def _params_below(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Flat parameters, as older files write them, moved under `params`."""
    if section not in WITH_PARAMS:
        return dict(values)
    known = _default(section).__class__.model_fields
    flat = {key: value for key, value in values.items() if key not in known}
    kept = {key: value for key, value in values.items() if key in known}
    if not flat:
        return kept
    params = kept.get("params") or {}
    return {**kept, "params": {**params, **flat} if isinstance(params, dict) else params}


def _chooses_group(key: str) -> bool:
    section, _, name = key.partition(".")
    return section in GROUPS and name in ("", "name")


def _with_params(key: str) -> str:
    """`scheduler.T_max` means `scheduler.params.T_max`."""
    section, _, name = key.partition(".")
    if section not in WITH_PARAMS or not name:
        return key
    known = _default(section).__class__.model_fields
    return key if name.split(".", 1)[0] in known else f"{section}.params.{name}"


def _validated(tree: _Tree) -> Profile:
    try:
        return Profile.model_validate(tree.values)
    except ValidationError as error:
        raise ProfileError(faults_of(error, {key: source.where for key, source in tree.sources.items()})) from None


def _flat(values: Mapping[str, Any], key: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        full = f"{key}.{name}" if key else str(name)
        if isinstance(value, dict) and value:
            yield from _flat(value, full)
        else:
            yield full, value


def _is_list_key(key: str) -> bool:
    return any(part.isdigit() for part in key.split("."))
