"""What a run was made of, and whether that is still so: asked before a run goes on.

Same profile, same code and same pages are what an exact resume needs; anything else is shown, and refused unless
it is allowed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from docclf_cli.data.loading.prepared_pages import PreparedPages
from docclf_cli.engine.checkpoints.run_folder import RunFolder
from docclf_cli.engine.checkpoints.versions import versions
from docclf_cli.errors import DocclfError, InputError
from docclf_cli.files import write_json
from docclf_cli.profile.layers import leaves
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.paths import absolute_paths
from docclf_cli.profile.schema import Profile, Section

# Nothing a run computes depends on these: where pages lie is not what they are, and workers only carry them.
FREE = (
    "name", "output", "data.root", "data.images", "data.cache", "train.checkpoint_every", "runtime.workers",
    "runtime.inference.check", "ensemble", "tracking", "s3",
)  # fmt: skip


def stored_profile(run: RunFolder) -> Profile:
    """The profile of an earlier run.

    Raises:
        InputError: This is not a run folder.
    """
    if not run.profile.is_file():
        raise InputError(
            f"{run.path}: not a run folder (no {run.profile.name} in it)",
            "name a run folder, such as runs/mine, or use --resume auto",
        )
    return load_profile(str(run.profile)).profile


def inherit_numerics(profile: Profile, run: RunFolder) -> Profile:
    """A profile with what `auto` picked for a run in the place of its own `auto`: numerics do not change on the way."""
    earlier, now = stored_profile(run).runtime, profile.runtime
    inference = now.inference.model_copy(update=_picked(now.inference, earlier.inference))
    runtime = now.model_copy(update={**_picked(now, earlier), "inference": inference})
    return profile.model_copy(update={"runtime": runtime})


def _picked(section: Section, earlier: Section) -> dict[str, Any]:
    """The earlier values of what a section leaves open."""
    return {key: getattr(earlier, key) for key, value in section if value in ("auto", None)}


def profile_differences(profile: Profile, run: RunFolder) -> list[str]:
    """What of a profile differs from that of a run, one line a key; keys that change nothing computed are left out."""
    both = (absolute_paths(one) for one in (stored_profile(run), profile))  # runs of before kept them as typed
    before, now = (dict(leaves(one.model_dump(mode="json"))) for one in both)
    return [line for line in _differences(before, now) if not line.startswith(tuple(_heads()))]


def code_differences(run: RunFolder) -> list[str]:
    """Versions that are not what the run was started with."""
    return list(_differences(dict(leaves(run.read_provenance().get("versions", versions()))), versions()))


def data_differences(prepared: PreparedPages, run: RunFolder) -> list[str]:
    """What of the pages is not as it was: classes, counts, IDs and labels, pixels."""
    before = run.read_provenance().get("data")
    if before is None:
        return []
    now = _facts(prepared)
    counted = list(_differences(before["pages"], now["pages"], "pages of "))
    if before["classes"] != now["classes"]:
        counted.append(f"classes: were {', '.join(before['classes'])}; are {', '.join(now['classes'])}")
    if not counted and before["index"] != now["index"]:
        counted.append("pages: other IDs, files, labels or groups than before")
    if not counted and before["pixels"] != now["pixels"]:
        counted.append("pages: images have changed, or are decoded differently than before")
    return counted


def write_provenance(run: RunFolder, prepared: PreparedPages, typed: Mapping[str, str]) -> None:
    """Note what a run is made of, beside its profile.

    Args:
        run: The run.
        prepared: Its pages.
        typed: What was typed for the absolute paths of its profile; what was noted before stays.
    """
    typed = {**run.read_provenance().get("typed", {}), **typed}
    write_json(run.provenance, {"versions": versions(), "data": _facts(prepared), "typed": typed})


def newest_unfinished(profile: Profile) -> RunFolder | None:
    """The newest run below the profile's output that has the same profile and is not finished; None without one."""
    found = []
    for path in Path(profile.output).glob("*/run.json"):
        run = RunFolder(path.parent)
        if not run.finished and _is_of(run, profile):
            found.append((run.read_state().get("time", ""), run.path.name, run))
    return max(found)[2] if found else None


def _is_of(run: RunFolder, profile: Profile) -> bool:
    try:
        return not profile_differences(inherit_numerics(profile, run), run)
    except DocclfError:  # no run, or one whose profile cannot be read any more
        return False


def _facts(prepared: PreparedPages) -> dict[str, Any]:
    index = prepared.index
    counts = index.counts().tolist()
    return {
        "classes": list(index.class_names),
        "pages": dict(zip(index.class_names, counts, strict=True)),
        "index": index.fingerprint(),
        "pixels": prepared.content_hash,
    }


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], what: str = "") -> Iterator[str]:
    for key in dict.fromkeys((*before, *now)):
        was, is_ = before.get(key), now.get(key)
        if was != is_:
            yield f"{what}{key}: was {json.dumps(was, ensure_ascii=False)}, is {json.dumps(is_, ensure_ascii=False)}"


def _heads() -> Iterator[str]:
    for key in FREE:
        yield from (f"{key}:", f"{key}.")
