"""Checks of the project: `.env`, variables, profile, data, fonts, model."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from docclf_cli.errors import InputError
from docclf_cli.registry import did_you_mean
from docclf_cli.results.environment import CheckRow
from docclf_cli.services import env
from docclf_cli.services.env_check.checks import CHECKS, Situation, failure, ok, skipped, warning
from docclf_cli.services.env_check.machine import probe
from docclf_cli.user_folders import user_path

MODEL_SECONDS = 60
NO_PROFILE = "the profile has faults"
_HALF_SET = (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"))


@CHECKS.register(".env", seconds=3)
def env_file(situation: Situation) -> Iterator[CheckRow]:
    """Found, read, private, and not in the repository."""
    file = env.find_env(situation.folder)
    if file is None:
        yield ok(".env", "none, which is fine")
        return
    known = [variable.name for variable in env.VARIABLES]
    mistyped = [f"{name}{did_you_mean(name, known)}" for name in file.unknown if did_you_mean(name, known)]
    text = f"{file.path}: {len(file.values)} variables are read, {len(file.unknown)} unknown ones ignored"
    if mistyped:
        yield warning(".env", f"{text}: {'; '.join(mistyped)}", "see env_example.txt for the names")
    else:
        yield ok(".env", text)
    if not file.has_secrets:
        return
    if file.private:
        yield ok(".env is private", "only you can read it")
    else:
        yield warning(
            ".env is private", "others on this machine can read it", shlex.join(["chmod", "600", str(file.path)])
        )
    yield _git(file.path)


def _git(path: Path) -> CheckRow:
    name = ".env is not in git"
    if _git_says(path, "ls-files", "--error-unmatch"):
        fix = "git rm --cached .env, add .env to .gitignore, and renew the keys: they are in the git history"
        return failure(name, "git tracks the file with your keys", fix)
    if _git_says(path, "check-ignore", "--quiet"):
        return ok(name, "git ignores it")
    if _git_says(path.parent, "rev-parse"):
        return warning(name, "git would add it", "echo .env >> .gitignore")
    return skipped(name, "there is no repository")


def _git_says(path: Path, *command: str) -> bool:
    folder = path if path.is_dir() else path.parent
    arguments = [] if path.is_dir() else ["--", path.name]
    try:
        done = subprocess.run(["git", *command, *arguments], cwd=folder, capture_output=True, timeout=2)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@CHECKS.register("variables", seconds=3)
def variables(situation: Situation) -> Iterator[CheckRow]:
    """Each documented variable: whether it is set, and from where; never its value."""
    try:
        file = env.find_env(situation.folder)
    except InputError:  # has a row of its own
        file = None
    for variable in env.VARIABLES:
        value = env.get(variable.name)
        if value is None:
            yield ok(variable.name, "not set")
            continue
        in_file = file is not None and file.values.get(variable.name) == value
        yield ok(
            variable.name, f"set, {len(value)} characters, from {file.path if in_file and file else 'the environment'}"
        )
    for given, lacking in _HALF_SET:
        if env.get(given) and not env.get(lacking):
            yield failure(lacking, f"not set, although {given} is", f"set {lacking} as well")


@CHECKS.register("profile", seconds=3)
def profile(situation: Situation) -> Iterator[CheckRow]:
    """Whether it can be loaded."""
    if situation.profile is None:
        yield failure("profile", situation.profile_text, "correct the places named")
    else:
        yield ok("profile", situation.profile_text)


@CHECKS.register("data", seconds=10)
def data(situation: Situation) -> Iterator[CheckRow]:
    """The index of the training pages, and one page decoded."""
    if situation.profile is None:
        yield skipped("data", NO_PROFILE)
        return
    config = situation.profile.data
    if config.root == "samples":
        yield ok("data", "the built-in sample documents")
        return
    root = user_path(config.root)
    if not root.exists():
        yield warning("data", f"{root} is not there", "name your pages with --data, or try `--data samples`")
        return
    from docclf_cli.data.images.decode import UnreadablePage
    from docclf_cli.data.images.preprocess import Preprocess
    from docclf_cli.data.index.index import load_index
    from docclf_cli.data.loading.pages import Pages

    index = load_index(config, "train")
    text = f"{root}: {len(index)} training pages of {len(index.class_names)} classes"
    try:
        Pages(index, Preprocess(config.image_size, config.resize_mode), config)[0]
    except UnreadablePage as error:
        yield failure("data", f"{text}, but {index.path(0)}: {error.reason}", "look at this file")
    else:
        yield ok("data", f"{text}, the first one decoded")


@CHECKS.register("fonts", seconds=10)
def fonts(situation: Situation) -> Iterator[CheckRow]:
    """A font for Hangul class names in plots."""
    from docclf_cli.plots.fonts import font_families

    fix = "install one: apt-get install fonts-nanum, or Noto Sans CJK; until then names are romanised in plots"
    _, *found = font_families(["가"])
    yield ok("fonts", f"{found[0]} has Hangul") if found else warning("fonts", "no font with Hangul", fix)


@CHECKS.register("model", seconds=MODEL_SECONDS + 2, only="full")
def model(situation: Situation) -> Iterator[CheckRow]:
    """Build the configured model, and look for its weights here, without fetching them."""
    if situation.profile is None:
        yield skipped("model", NO_PROFILE)
        return
    given = {"model": situation.profile.model.model_dump(mode="json"), "image_size": situation.profile.data.image_size}
    answer = probe("model", seconds=MODEL_SECONDS, given=json.dumps(given))
    if "error" in answer:
        yield failure("model", answer["error"], answer.get("hint", "see the rows about torch and packages"))
        return
    text = f"{answer['name']}, {answer['parameters'] / 1e6:.1f} M parameters"
    if "missing" in answer:
        yield warning("model", f"{text}; its pretrained weights are not here and will be fetched", answer["missing"])
    else:
        yield ok("model", f"{text}, weights from {answer['weights']}")
