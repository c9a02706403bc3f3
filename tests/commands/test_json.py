"""`--json` of every command is what its schema says."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import s3_server
from cli_process import CliProcess, Outcome
from packet_cases import with_boundaries, write_packet
from page_cases import write_images
from s3_server import S3Server

from docclf_cli.app import app
from docclf_cli.results.reference import RESULTS, reference, schema_of
from docclf_cli.results.training import FoldRow

REFERENCE = Path(__file__).parents[2] / "docs" / "json.md"
TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float),
    "null": type(None),
}  # fmt: skip


def faults(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], place: str = "$") -> Iterator[str]:
    """Where a value is not what a JSON schema says (the part of the language that pydantic writes)."""
    if "$ref" in schema:
        yield from faults(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root, place)
    elif "anyOf" in schema:
        if all(list(faults(value, option, root, place)) for option in schema["anyOf"]):
            yield f"{place}: {value!r} is none of the options"
    elif not is_a(value, schema["type"]):
        yield f"{place}: {value!r} is not {schema['type']}"
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{place}: {value!r} is not one of {schema['enum']}"
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from faults(item, schema["items"], root, f"{place}[{number}]")
    elif isinstance(value, dict):
        yield from object_faults(value, schema, root, place)


def is_a(value: Any, kinds: str | list[str]) -> bool:
    names = [kinds] if isinstance(kinds, str) else kinds
    return any(isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool)) for name in names)


def object_faults(
    value: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], place: str
) -> Iterator[str]:
    known, others = schema.get("properties", {}), schema["additionalProperties"]
    yield from (f"{place}.{key} is missing" for key in schema.get("required", ()) if key not in value)
    for key, item in value.items():
        if key in known or others:
            yield from faults(item, known.get(key, others), root, f"{place}.{key}")
        else:
            yield f"{place}.{key} is not known"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server.running(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, cache_home: Path, pages: Path, tiny: tuple[str, ...]
) -> Iterator[tuple[Path, Outcome]]:
    """A working folder with one trained run, and what `train` printed."""
    place = tmp_path_factory.mktemp("json")
    write_images(place / "incoming", 2)
    args = ("train", "--data", str(pages), *tiny, "--epochs", "1", "--name", "a", "--json")
    yield place, CliProcess(args, place, {"XDG_CACHE_HOME": str(cache_home)}).wait()


COMMANDS: Mapping[str, tuple[str, ...]] = {
    "train --dry-run": ("--no-pretrained",),
    "train --show-schedule": ("--epochs", "2", "--batch-size", "10"),
    "train --resume": ("runs/a",),
    "tune": (
        "PAGES", "--profile", "config", "--trials", "1", "--set", "model=test_resnet", "--set", "model.pretrained=false", "--set",
        "data.image_size=48", "--set", "train.batch_size=8", "--set", "augmentation=light", "--set", "train.epochs=1",
    ),
    "distill": (
        "--teacher", "runs/a", "--profile", "config", "--model", "test_resnet", "--set", "model.pretrained=false", "--image-size", "32",
        "--batch-size", "8", "--augmentation", "light", "--epochs", "1", "--name", "student",
    ),
    "runs": (),
    "watch --once": ("incoming", "--out", "sorted", "--settle", "0", "--checkpoint", "runs/a"),
    "evaluate": ("--checkpoint", "runs/a", "--split", "test"),
    "predict": ("--checkpoint", "runs/a", "--split", "test"),
    "split-packets": ("packets.ckpt", "packet.pdf", "--text", "layer"),
    "predict --part": ("1/2", "incoming", "--checkpoint", "runs/a", "--output", "shared"),
    "drift": ("runs/a", "runs/a/predict/test", "--alpha", "1e-12"),
    "adapt": ("runs/a", "--to", "PAGES", "--max-loss", "1"),
    "class-report": ("runs/a",),
    "class-report --class": ("invoice", "runs/a"),
    "ensemble": ("--members", "runs/a", "--members", "runs/a/last.ckpt"),
    "tta": ("--checkpoint", "runs/a"),
    "export": ("--checkpoint", "runs/a", "--format", "safetensors"),
    "weights list": (),
    "weights pack": ("tf_efficientnet_lite0",),
    "cache show": (),
    "cache clear": ("numerics",),
    "audit": ("--name", "look"),
    "review": ("PAGES", "--export", "--output", "reviewed"),
    "env-check": (),
    "s3-push": ("runs/a",),
    "s3-pull": ("a", "back"),
}  # fmt: skip


def test_train(folder: tuple[Path, Outcome]) -> None:
    outcome = folder[1]
    assert outcome.code == 0, outcome.stderr
    assert_conforms("train", outcome.json)


@pytest.mark.parametrize("command", COMMANDS)
def test_other_commands(
    start: Callable[..., CliProcess], folder: tuple[Path, Outcome], pages: Path, server: S3Server, command: str
) -> None:
    data = ("--data", pages) if command in ("train --dry-run", "train --show-schedule", "env-check", "audit") else ()
    if command == "s3-pull":  # what another process of the suite may have pushed lies on a server of its own
        start("s3-push", "runs/a", cwd=folder[0], env=server.environment()).wait()
    if command == "split-packets":
        with_boundaries(folder[0] / "runs" / "a" / "best.ckpt", folder[0] / "packets.ckpt")
        write_packet(folder[0] / "packet.pdf", [("contract", 0), ("invoice", 2)])
    words = (pages if word == "PAGES" else word for word in COMMANDS[command])
    outcome = start(*command.split(), *words, *data, "--json", cwd=folder[0], env=server.environment()).wait()
    assert outcome.code == 0, outcome.stderr
    assert_conforms(command, outcome.json)


def assert_conforms(command: str, printed: Any) -> None:
    schema = schema_of(RESULTS[command])
    assert not list(faults(printed, schema, schema))


def test_every_command_has_its_result_and_its_test() -> None:
    named = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    assert named == {command.split()[0] for command in RESULTS} | {"serve"}  # which prints no result
    assert {*RESULTS} == {"train", *COMMANDS}


def test_every_key_is_explained() -> None:
    for command, result in RESULTS.items():
        schema = schema_of(result)
        for title, part in ((command, schema), *schema.get("$defs", {}).items()):
            for key, value in part["properties"].items():
                assert value.get("description"), f"{title}: {key}"


def test_the_reference_is_current() -> None:
    assert reference().strip() in REFERENCE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"fold": 0, "best_epoch": 1, "metrics": {"accuracy": 0.5, "ece": None}}, ""),
        ({"fold": 0, "best_epoch": 1.5, "metrics": {}}, "$.best_epoch: 1.5 is not integer"),
        ({"fold": True, "best_epoch": 1, "metrics": {}}, "$.fold: True is not integer"),
        ({"fold": 0, "best_epoch": 1}, "$.metrics is missing"),
        ({"fold": 0, "best_epoch": 1, "metrics": {}, "more": 1}, "$.more is not known"),
        ({"fold": 0, "best_epoch": 1, "metrics": {"ece": "x"}}, "$.metrics.ece: 'x' is not ['number', 'null']"),
        ([], "$: [] is not object"),
    ],
)
def test_the_check_itself(value: Any, fault: str) -> None:
    schema = schema_of(FoldRow)
    assert list(faults(value, schema, schema)) == ([fault] if fault else [])
