"""Feeds damaged profiles and checkpoints to their readers, and reports every answer that is not one of docclf's own errors.

    nice python benchmarks/fuzz_readers.py --seconds 120

A reader may accept an input or refuse it with a DocclfError; anything else is a finding (exit 1), and the input is
kept. Checkpoints carry a canary: a damaged pickle must never run code.
"""

import argparse
import contextlib
import logging
import random
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.engine.checkpoints import checkpoint as checkpoint_module
from docclf_cli.engine.checkpoints.checkpoint import Checkpoint
from docclf_cli.engine.checkpoints.info import info_of
from docclf_cli.errors import DocclfError
from docclf_cli.models.factory import create_model
from docclf_cli.models.weights import read_weights
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.schema import AugmentationConfig, ModelConfig, Profile

CONFIGS = Path(__file__).parents[1] / "configs"
TOKENS = [
    b"{", b"}", b"[", b"]", b": ", b"- ", b"&a ", b"*a", b"!!python/object:os.system ", b"\t", b"\0", b"\n", b"'", b'"',
    b"null", b".nan", b"1e999", b"-1", b"9" * 400, b"\xff", "영".encode(), b"? ", b"| ", b"<<: *a", b"%YAML 1.1\n---\n",
]  # fmt: skip


def mutated(content: bytes, rng: random.Random) -> bytes:
    """One to four small changes: bytes flipped, pieces cut, doubled or moved, tokens put in, the end cut off."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(found) + 1), rng.choice((1, 2, 8, 64, 1024))
        match rng.randrange(6):
            case 0 if at < len(found):
                found[at] = rng.randrange(256)
            case 1:
                del found[at : at + length]
            case 2:
                found[at:at] = found[at : at + length]
            case 3:
                found[at:at] = rng.choice(TOKENS)
            case 4:
                source = rng.randrange(len(found) + 1)
                found[at : at + length] = found[source : source + length]
            case 5:
                del found[rng.randrange(len(found) + 1) :]
    return bytes(found)


def repacked(content: bytes, rng: random.Random, scratch: Path) -> bytes:
    """A checkpoint whose pickle, and not the archive around it, is damaged."""
    scratch.write_bytes(content)
    with zipfile.ZipFile(scratch) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in parts if name.endswith("data.pkl"))
    parts[name] = mutated(parts[name], rng)
    with zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as archive:
        for part, data in parts.items():
            archive.writestr(part, data)
    return scratch.read_bytes()


WEIRD = [
    None,
    "",
    "x" * 300,
    "a\nb",
    -1,
    0,
    10**30,
    1.5,
    float("nan"),
    float("inf"),
    True,
    [],
    {},
    [[]],
    {"a": 1},
    b"\0",
    torch.zeros(0),
]


def rearranged(value: Any, rng: random.Random) -> Any:
    """Nested plain data with one thing in it replaced, removed or doubled."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        return {name: rearranged(item, rng) if name == key else item for name, item in value.items()}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        if rng.random() < 0.3:
            return value[:place] + value[place + rng.choice((-1, 1)) :]
        return [rearranged(item, rng) if number == place else item for number, item in enumerate(value)]
    if isinstance(value, torch.Tensor) and rng.random() < 0.5:
        return rng.choice([value.double(), value.flatten(), value[None], value.to(torch.int64), value.to_sparse()])
    return rng.choice(WEIRD)


def forged(path: Path, rng: random.Random, target: Path) -> None:
    """A checkpoint with a right checksum, and content that nobody would write."""
    content = torch.load(path, weights_only=True)
    for _ in range(rng.randint(1, 3)):
        changed = rearranged({key: value for key, value in content.items() if key != "digest"}, rng)
        content = changed if isinstance(changed, dict) and changed else content
    content.pop("digest", None)
    with contextlib.suppress(Exception):  # what has no checksum is written without one
        content["digest"] = checkpoint_module._digest(content)
    torch.save(content, target)


def checkpoint_bytes(path: Path) -> bytes:
    """A small checkpoint."""
    config = ModelConfig(name="test_resnet", model_name="test_resnet", pretrained=False)
    model = create_model(config, 3, weights=False)
    Checkpoint(
        model.state_dict(), config, ("a", "b", "c"), Preprocess(32), AugmentationConfig(),
        Profile().model_dump(mode="json"), epoch=1,
        training={"state": {"epoch": 1}, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}},
    ).save(path)  # fmt: skip
    return path.read_bytes()


def answer(read: Callable[[Path], object], path: Path) -> str:
    """How a reader takes a file; errors that it must not give pass through."""
    try:
        read(path)
    except DocclfError as error:
        return type(error).__name__
    return "accepted"


def load_and_build(path: Path) -> None:
    """As every command that uses a checkpoint."""
    checkpoint = Checkpoint.load(path)
    checkpoint.build(path)
    info_of(path)


def main() -> int:
    """Fuzz both readers for the given time."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.getLogger("docclf").setLevel(logging.ERROR)
    rng, counts, findings = random.Random(given.seed), Counter[str](), 0
    folder = Path(tempfile.mkdtemp(prefix="docclf-fuzz-"))
    profiles = [path.read_bytes() for path in sorted(CONFIGS.rglob("*.yaml"))]
    whole = checkpoint_bytes(folder / "whole.ckpt")
    end = time.monotonic() + given.seconds
    while time.monotonic() < end:
        kind = rng.choice(("profile", "checkpoint", "pickle", "weights", "forged"))
        path = folder / ("input.yaml" if kind == "profile" else "input.ckpt")
        if kind == "profile":
            path.write_bytes(mutated(rng.choice(profiles), rng))
        elif kind == "forged":
            forged(folder / "whole.ckpt", rng, path)
        else:
            path.write_bytes(repacked(whole, rng, folder / "s") if kind == "pickle" else mutated(whole, rng))
        read = {"profile": lambda path: load_profile(str(path)), "weights": read_weights}.get(kind, load_and_build)
        try:
            found = answer(read, path)
        except BaseException:
            found = ""
            traceback.print_exc()
        counts[f"{kind}: {found or 'FINDING'}"] += 1
        if not found:
            findings += 1
            path.rename(folder / f"finding-{findings}{path.suffix}")
    for name, count in sorted(counts.items()):
        print(f"{count:7} {name}")
    print(f"{findings} findings{f', kept in {folder}' if findings else ''}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
