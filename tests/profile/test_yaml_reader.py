"""What plain values mean, and input that cannot hurt."""

import math
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from docclf_cli.errors import ProfileError
from docclf_cli.profile.load import load_profile
from docclf_cli.profile.yaml_reader import MAX_BYTES, MAX_VALUES, read_value, read_yaml

Faults = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1.5", 1.5), (".5", 0.5), ("-3", -3), ("010", 10), ("0x1F", 31), ("0o17", 15), ("1_000", "1_000"),
        ("NO", "NO"), ("yes", "yes"), ("off", "off"), ("12:30", "12:30"), ("2024-01-02", "2024-01-02"), ("true", True),
        ("False", False), ("~", None), ("", None), ("null", None), ('"5"', "5"), ("'true'", "true"), ("-.inf", -math.inf),
        ("[1, a, 2.0]", [1, "a", 2.0]), ("{a: {b: 1e3}}", {"a": {"b": 1000.0}}), ("청구서", "청구서"), ("1" * 200, "1" * 200),
    ],
)  # fmt: skip
def test_plain_values_mean_what_people_mean(text: str, value: Any) -> None:
    found = read_value(text, "test")
    assert found == value
    assert type(found) is type(value)


def test_every_value_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("a: 1\n\nb:\n  c:\n    - x\n    - d: 2\n")
    assert {key: line for key, line in read_yaml(path).lines.items() if key} == {
        "a": 1, "b": 3, "b.c": 4, "b.c.0": 5, "b.c.1": 6, "b.c.1.d": 6,
    }  # fmt: skip


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xef\xbb\xbfseed: 3\r\ntrain:\r\n  epochs: 2\r\n")
    profile = load_profile(str(path)).profile
    assert (profile.seed, profile.train.epochs) == (3, 2)


_BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{here}: &{here} [{', '.join(['*' + before] * 10)}]\n" for before, here in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "p.yaml: is empty"),
        ("# nothing\n", "p.yaml: is empty"),
        ("\n- a\n", "p.yaml:2: holds a list"),
        ("text\n", "p.yaml:1: holds a value"),
        ("train: [1\n", "p.yaml:2: not YAML"),
        ("a: 1\n b: 2\n", "p.yaml:2: not YAML"),
        ("seed: 1\ntrain:\n\tepochs: 1\n", "p.yaml:3: not YAML: found character '\\t' that cannot start any token; YAML is indented"),
        ("a: 1\n---\nb: 2\n", "p.yaml:2: not YAML"),
        ("a: *b\n", "p.yaml:1: not YAML: found undefined alias"),
        (b"seed: 1\nname: \xc7\xd1\n", "p.yaml:2: not UTF-8"),
        ("seed: 1\nname: a\0b\n", "p.yaml:2: not YAML: the character 0x0000"),
        ("train: {epochs: 1, epochs: 2}\n", "p.yaml:1: train.epochs: given twice (first in line 1)"),
        ("seed: 1\n\nseed: 2\n", "p.yaml:3: seed: given twice (first in line 1)"),
        ("train.epochs: 3\n", "p.yaml:1: train.epochs: write keys below one another"),
        ("? [a]\n: 1\n", "a key must be a word"),
        ("seed: !!python/object/apply:os.system [ls]\n", "p.yaml:1: the tag !!python/object/apply:os.system is not allowed"),
        ("seed: !!int '3'\n", "p.yaml:1: the tag !!int is not allowed"),
        ("seed: !env SECRET\n", "p.yaml:1: the tag !env is not allowed"),
        (_BOMB, f"p.yaml: more than {MAX_VALUES} values once its aliases are written out"),
        ("a: &a\n  b: *a\n", "an alias that holds itself"),
        ("a: " + "[" * 3000 + "]" * 3000 + "\n", "p.yaml:1: nested deeper than 50 levels"),
        ("".join(f"{' ' * depth}a:\n" for depth in range(900)), "p.yaml:50: nested deeper than 50 levels"),
        ("a: [" + "1, " * MAX_VALUES + "1]\n", f"p.yaml:1: more than {MAX_VALUES} values"),
        ("seed: 1\n" + "#" * MAX_BYTES, "p.yaml: larger than 1 MiB"),
    ],
)  # fmt: skip
def test_input_that_is_no_profile(faults: Faults, text: str | bytes, wanted: str) -> None:
    start = time.monotonic()
    assert any(wanted in fault for fault in faults(text))
    assert time.monotonic() - start < 20


@pytest.mark.timeout(20)
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    for name in ("pipe", "folder", "missing"):
        with pytest.raises(ProfileError, match="there is no"):
            load_profile(str(tmp_path / f"{name}.yaml"))
        with pytest.raises(ProfileError, match="there is no such file"):
            read_yaml(tmp_path / f"{name}.yaml")


def test_damaged_bytes_never_crash(tmp_path: Path) -> None:
    whole = (Path(__file__).parents[2] / "configs/quickstart.yaml").read_bytes()
    path, draw = tmp_path / "p.yaml", random.Random(0)
    for _ in range(150):
        corrupted = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            corrupted[draw.randrange(len(corrupted))] = draw.choice(b"\0\t\n \"'#%&*-:?@[]`{|}!~1e.\xff")
        path.write_bytes(corrupted)
        try:
            load_profile(str(path))
        except ProfileError as error:
            assert error.faults
