"""Records what a run was made from, and compares it with the present before the run is resumed.

An exact resume needs the same profile, code and pages. Differences are listed, and refused unless the user allows them.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from docclf_cli.data.loading.prepared_pages import PreparedPages
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.errors import DocclfError, InputError
from docclf_cli.files import write_json
from docclf_cli.profile.layers import leaves
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.paths import absolute_paths
from docclf_cli.profile.schema import Profile, Section
from docclf_cli.version import __version__

RUN_FORMAT = 2  # of the files that `--resume` reads; provenance.json (once origin.json) of format 1 does not state it
COMPUTING_PACKAGES = ("data", "engine", "metrics", "models")
LIBRARIES = ("torch", "timm", "numpy", "pillow")
# No result depends on these keys: where pages are stored is not what they show, and workers only load them.
FREE = (
    "name", "output", "data.root", "data.images", "data.cache", "train.checkpoint_every", "runtime.workers",
    "runtime.inference.check", "ensemble", "tracking", "s3",
)  # fmt: skip


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of docclf, of its source code, of Python and of the libraries that compute."""
    package = Path(__file__).parents[2]
    source = hashlib.sha256()
    for path in sorted(path for name in COMPUTING_PACKAGES for path in (package / name).rglob("*.py")):
        source.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {
        "docclf": __version__,
        "source": source.hexdigest()[:16],
        "python": platform.python_version(),
        **libraries,
    }


def require_resumable(run: RunFolder) -> None:
    """Refuse to resume a run that another version of docclf wrote in another format.

    A run without `provenance.json` was stopped before its first step: it has nothing that could be read wrongly.

    Raises:
        InputError: The run has another format.
    """
    is_started = run.provenance.is_file() or (run.path / "origin.json").is_file()
    if is_started and run.read_provenance().get("format", 1) != RUN_FORMAT:
        raise InputError(
            f"{run.path} was trained by another version of docclf, and this version cannot resume it",
            "train a new run under another --name; evaluate and predict still read this one",
        )


def stored_profile(run: RunFolder) -> Profile:
    """Load the profile of an earlier run.

    Raises:
        InputError: The folder is not a run, or its run cannot be resumed.
    """
    if not run.profile.is_file():
        raise InputError(
            f"{run.path}: not a run folder (no {run.profile.name} in it)",
            "name a run folder, such as runs/mine, or use --resume auto",
        )
    require_resumable(run)
    return load_profile(str(run.profile)).profile


def inherit_numerics(profile: Profile, run: RunFolder) -> Profile:
    """Replace each `auto` of a profile's runtime section by the value that was picked when the run started."""
    earlier = stored_profile(run).runtime
    now = profile.runtime
    inference = now.inference.model_copy(update=_picked(now.inference, earlier.inference))
    runtime = now.model_copy(update={**_picked(now, earlier), "inference": inference})
    return profile.model_copy(update={"runtime": runtime})


def _picked(section: Section, earlier: Section) -> dict[str, Any]:
    """Return the earlier values of the keys that a section leaves open."""
    return {key: getattr(earlier, key) for key, value in section if value in ("auto", None)}


def profile_differences(profile: Profile, run: RunFolder) -> list[str]:
    """List how a profile differs from that of a run, one line a key; keys that no result depends on are left out."""
    # Earlier versions stored paths as they were typed.
    profiles = (absolute_paths(one) for one in (stored_profile(run), profile))
    before, now = (dict(leaves(one.model_dump(mode="json"))) for one in profiles)
    free = tuple(f"{key}{end}" for key in FREE for end in ":.")
    return [line for line in _differences(before, now) if not line.startswith(free)]


def code_differences(run: RunFolder) -> list[str]:
    """List the versions that differ from those the run was started with."""
    return list(_differences(dict(leaves(run.read_provenance().get("versions", versions()))), versions()))


def data_differences(prepared: PreparedPages, run: RunFolder) -> list[str]:
    """List how the pages differ from those of the run: classes, counts, IDs and labels, pixels."""
    before = run.read_provenance().get("data")
    if before is None:
        return []
    now = _describe_data(prepared)
    differences = list(_differences(before["pages"], now["pages"], "pages of "))
    if before["classes"] != now["classes"]:
        differences.append(f"classes: were {', '.join(before['classes'])}; are {', '.join(now['classes'])}")
    if not differences and before["index"] != now["index"]:
        differences.append("pages: other IDs, files, labels or groups than before")
    if not differences and before["pixels"] != now["pixels"]:
        differences.append("pages: images have changed, or are decoded differently than before")
    return differences


def write_provenance(run: RunFolder, prepared: PreparedPages, typed: Mapping[str, str]) -> None:
    """Write `provenance.json`: the versions and the pages that a run is made from.

    Args:
        run: The run.
        prepared: Its pages.
        typed: The paths of the profile as the user typed them, by key; those written earlier are kept.
    """
    content = {
        "format": RUN_FORMAT,
        "versions": versions(),
        "data": _describe_data(prepared),
        "typed": {**run.read_provenance().get("typed", {}), **typed},
    }
    write_json(run.provenance, content)


def newest_unfinished(profile: Profile) -> RunFolder | None:
    """Find the newest unfinished run below the profile's output that has the same profile; None if there is none."""
    found = []
    for path in Path(profile.output).glob("*/run.json"):
        run = RunFolder(path.parent)
        if not run.finished and _has_profile(run, profile):
            found.append((run.read_state().get("time", ""), run.path.name, run))
    return max(found)[2] if found else None


def _has_profile(run: RunFolder, profile: Profile) -> bool:
    try:
        return not profile_differences(inherit_numerics(profile, run), run)
    except DocclfError:  # not a run, or a run of another version
        return False


def _describe_data(prepared: PreparedPages) -> dict[str, Any]:
    index = prepared.index
    counts = index.counts().tolist()
    return {
        "classes": list(index.class_names),
        "pages": dict(zip(index.class_names, counts, strict=True)),
        "index": index.fingerprint(),
        "pixels": prepared.content_hash,
    }


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in dict.fromkeys((*before, *now)):
        if before.get(key) != now.get(key):
            old = json.dumps(before.get(key), ensure_ascii=False)
            new = json.dumps(now.get(key), ensure_ascii=False)
            yield f"{prefix}{key}: was {old}, is {new}"
