"""Whatever a message proposes exists: commands, options, settings, profiles, where the message is shown.

All sentences of the source are collected. A file that proposes an option or a setting must say in `SHOWN_BY` which
commands show it, so that a new hint is looked at by someone.
"""

import ast
import contextlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from docclf_cli.app import app
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import Profile

PACKAGE = Path(__file__).parent.parent / "docclf_cli"
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
ALL = tuple(COMMANDS)
USE = ("evaluate", "predict", "class-report", "ensemble", "tta")
FILLED = "runs/with a space"  # stands for what a message fills in

# Which commands show the sentences of a file (the longest beginning counts): each option or setting that is proposed
# must be one of theirs. Where `--set` is proposed it must be taken by the first command.
SHOWN_BY: dict[str, tuple[str, ...]] = {
    "app": ALL,
    "commands/_": ALL,
    "commands/adapt": ("adapt",),
    "commands/audit": ("audit",),
    "commands/cache": ("cache",),
    "commands/class_report": ("class-report",),
    "commands/distill": ("distill",),
    "commands/drift": ("drift",),
    "commands/ensemble": ("ensemble",),
    "commands/env_check": ("env-check",),
    "commands/evaluate": ("evaluate",),
    "commands/export": ("export",),
    "commands/predict": ("predict",),
    "commands/review": ("review",),
    "commands/runs": ("runs",),
    "commands/s3_pull": ("s3-pull",),
    "commands/s3_push": ("s3-push",),
    "commands/serve": ("serve",),
    "commands/split_packets": ("split-packets",),
    "commands/train": ("train",),
    "commands/tta": ("tta",),
    "commands/tune": ("tune",),
    "commands/watch": ("watch",),
    "commands/weights": ("weights",),
    "data/": ("train", "predict", *USE, "audit"),
    "display/": ALL,
    "display/audit": ("train", "audit"),
    "engine/checkpoints/checkpoint": ("train",),
    "engine/checkpoints/provenance": ("train",),
    "engine/checkpoints/run_folder": ("train", "ensemble"),
    "engine/checkpoints/schema": ALL,
    "engine/inference/ensemble_predictor": ("predict",),
    "engine/inference/ensemble_spec": ("predict",),
    "engine/inference/member_predictions": ("ensemble", "tta"),
    "engine/inference/members": ("train", *USE),
    "engine/inference/onnx_backend": ("predict", "export"),
    "engine/inference/packet_model": ("train", "split-packets"),
    "engine/inference/predictor": ("predict",),
    "engine/inference/trained_model": ("train", *USE),
    "engine/inference/views": ("tta", "ensemble"),
    "engine/inference/heat_maps": ("predict", "review"),
    "engine/inference/leaks": ("train", "evaluate"),
    "engine/runtime/allocator": ("train",),
    "engine/runtime/device": ALL,
    "engine/runtime/distributed": ("train", "evaluate", "predict"),
    "engine/runtime/nan_guard": ("train",),
    "engine/runtime/numerics": ("train",),
    "engine/training/": ("train",),
    "ensembling/": ("ensemble", "tta"),
    "errors": ("train", *USE),
    "files": ALL,
    "journal": ("review", "predict", "watch"),
    "models/": ("train",),
    "profile/": ("train", "ensemble", "tta", "audit", "env-check"),
    "results/": ALL,
    "services/env_check/": ("env-check", "train"),
    "services/web/": ("review", "serve"),
    "services/storage/": ("s3-push", "s3-pull", "env-check"),
    "tasks/adapt": ("adapt",),
    "tasks/audit/": ("audit",),
    "tasks/caveats": ("train", "evaluate", "class-report"),
    "tasks/class_report/": ("class-report",),
    "tasks/costs": ("evaluate", "predict"),
    "tasks/distill": ("distill",),
    "tasks/drift": ("drift",),
    "tasks/dry_run": ("train",),
    "tasks/ensemble/ensemble": ("ensemble",),
    "tasks/ensemble/files": ("ensemble",),
    "tasks/ensemble/selection": ("train",),
    "tasks/evaluate/confidence_threshold": ("evaluate", "predict"),
    "tasks/evaluate/corruptions": ("evaluate",),
    "tasks/evaluate/evaluate": ("evaluate",),
    "tasks/evaluate/unknown": ("evaluate",),
    "tasks/export": ("export",),
    "tasks/learning": ("train",),
    "tasks/predict/explain": ("predict",),
    "tasks/predict/files": ("predict",),
    "tasks/predict/output_formats": ("predict",),
    "tasks/predict/part_settings": ("predict",),
    "tasks/predict/parts": ("predict",),
    "tasks/predict/predict": ("predict",),
    "tasks/predict/run": ("predict",),
    "tasks/predict/sorting": ("predict",),
    "tasks/predict/submission": ("predict", "ensemble", "tta"),
    "tasks/split_packets/": ("split-packets",),
    "tasks/review/": ("review",),
    "tasks/results_folder": ("evaluate", "class-report", "tta"),
    "tasks/plan": ("train",),
    "tasks/recipe": ("train",),
    "tasks/runs": ("runs",),
    "tasks/serve/": ("serve",),
    "tasks/serve/served_model": ("serve", "watch"),
    "tasks/watch/": ("watch",),
    "tasks/train": ("train",),
    "tasks/tta": ("tta",),
    "tasks/tune/": ("tune",),
    "tasks/unknown": ("evaluate", "predict", "serve", "watch"),
    "tasks/unlabelled": ("distill",),
    "tasks/unreadable": USE,
    "tasks/verdict": ("train",),
    "tasks/weights": ("weights",),
}  # fmt: skip
FOREIGN = {
    "--no-index",
    "--shm-size",
    "--data-binary",
    "--force-reinstall",
    "--cached",
    "--error-unmatch",
}  # options of other programs
VERBS = {
    "applies",
    "knows",
    "needs",
    "never",
    "reads",
    "itself",
    "stored",
    "without",
    "writes",
}  # "docclf reads ..." is no command
FILES = {".csv", ".onnx", ".safetensors", ".ckpt", ".yaml", ".json", ".parameters"}
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]")
_COMMAND = re.compile(r"\bdocclf ([a-z][a-z0-9-]*)")
_SET = re.compile(r"--set ([a-z_.]+)=([^\s,;:)`']+)")
_KEY = re.compile(rf"(?<![\w./{{-])((?:{'|'.join(Profile.model_fields)})(?:\.[a-z_]+)+)")
_PROFILE = re.compile(r"--profile (?!of )([a-z]+)\b")


@dataclass(frozen=True)
class Sentence:
    """A text of the source; `{}` stands for what is filled in."""

    place: str
    line: int
    text: str

    @property
    def shown_by(self) -> tuple[str, ...]:
        """Commands that can show it."""
        return SHOWN_BY[max((start for start in SHOWN_BY if self.place.startswith(start)), key=len, default="")]


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "{}"


def _documentation(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield id(node.value)
        if isinstance(node, ast.JoinedStr):
            yield from (id(part) for part in node.values)


def _sentences() -> Iterator[Sentence]:
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        place, left_out = path.relative_to(PACKAGE).with_suffix("").as_posix(), set(_documentation(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in left_out:
                text = _text(node)
                if (" " in text or text.startswith("--set")) and any(
                    find.search(text) for find in (_OPTION, _COMMAND, _KEY)
                ):
                    yield Sentence(place, node.lineno, text)


def _joined_commands() -> Iterator[tuple[str, list[str]]]:
    """Commands that are put together with `shlex.join`."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) == "shlex.join"
                and isinstance(node.args[0], ast.List)
            ):
                words = [str(one.value) if isinstance(one, ast.Constant) else FILLED for one in node.args[0].elts]
                if words[0] == "docclf":
                    yield f"{path.stem}:{node.lineno}", words[1:]


SENTENCES = list(_sentences())
NAMES = [f"{one.place}:{one.line}" for one in SENTENCES]
JOINED = dict(_joined_commands())
each = pytest.mark.parametrize("sentence", SENTENCES, ids=NAMES)


def _options(command: str) -> set[str]:
    found = COMMANDS[command]
    inside = getattr(found, "commands", {}).values()
    return {"--help", "--version"} | {
        option for one in (found, *inside) for param in one.params for option in (*param.opts, *param.secondary_opts)
    }


def test_there_are_sentences_of_all_kinds() -> None:
    texts = [one.text for one in SENTENCES]
    assert len(texts) > 150
    for find in (_OPTION, _COMMAND, _SET, _KEY, _PROFILE):
        assert any(find.search(text) for text in texts)
    assert len(JOINED) >= 4


@each
def test_commands_exist(sentence: Sentence) -> None:
    for name in _COMMAND.findall(sentence.text):
        assert name in COMMANDS or name in VERBS, f"there is no `docclf {name}`"


@each
def test_options_exist_where_they_are_proposed(sentence: Sentence) -> None:
    others = {option for name in _COMMAND.findall(sentence.text) if name in COMMANDS for option in _options(name)}
    known = FOREIGN | others | {option for command in sentence.shown_by for option in _options(command)}
    for option in _OPTION.findall(sentence.text):
        assert option in known, f"none of {sentence.shown_by} has {option}"


@each
def test_keys_exist(sentence: Sentence) -> None:
    for key in _KEY.findall(sentence.text):
        if not any(key.endswith(suffix) for suffix in FILES):
            assert _exists(key.split(".")), f"{key} is no key of a profile"


def _exists(parts: list[str]) -> bool:
    model: Any = Profile
    for part in parts:
        if not hasattr(model, "model_fields"):
            return True  # a free mapping, such as the parameters of a building block
        if part not in model.model_fields:
            return False
        model = next((one for one in _types(model.model_fields[part].annotation) if hasattr(one, "model_fields")), None)
    return True


def _types(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _types(inner)


@each
def test_settings_can_be_made(sentence: Sentence) -> None:
    for key, value in _SET.findall(sentence.text):
        assert "--set" in _options(sentence.shown_by[0]), f"{sentence.shown_by[0]} has no --set"
        number = "2" if value.startswith("{") else value.strip(".")
        load_profile("config", sets=[f"{key}={number}"])
    for name in _PROFILE.findall(sentence.text):
        load_profile(name)


def _written_commands(text: str) -> Iterator[list[str]]:
    """Commands with their arguments: in backticks, at the end of a sentence, or a line of examples."""
    for line in text.replace("`", "\n").splitlines():
        if "docclf " not in line:
            continue
        command = (
            re.split(r"   |[;(>]| #", line[line.index("docclf ") :])[0]
            .replace("{}", shlex.quote(FILLED))
            .strip(" .,:)")
        )
        with contextlib.suppress(ValueError):
            words = shlex.split(command.split(" | ")[0])
            if words[1:2] and words[1] in COMMANDS and (line.startswith("docclf") or "--" in command):
                yield words[1:]


@each
def test_written_commands_are_taken_by_the_command_line(sentence: Sentence) -> None:
    for words in _written_commands(sentence.text):
        _parse(words)


@pytest.mark.parametrize("place", JOINED)
def test_commands_with_paths_are_taken_by_the_command_line(place: str) -> None:
    _parse(JOINED[place])


def test_what_cannot_be_done_is_noticed() -> None:
    with pytest.raises(Exception, match="unexpected extra argument"):
        _parse(["train", "--resume", "runs/with", "a", "space"])
    assert not _exists(["data", "nothing"])
    assert list(_written_commands("try `docclf train --folds 5`, or docclf x")) == [["train", "--folds", "5"]]


def _parse(words: list[str]) -> None:
    """Let the command line read the words, without doing what they say."""
    command, arguments = COMMANDS[words[0]], words[1:]
    if hasattr(command, "commands"):
        command, arguments = command.commands[words[1]], words[2:]
    command.make_context(words[0], arguments)
