"""Threads and workers must fit what the process may use, not what the machine has."""

import os
from pathlib import Path

import pytest

from docclf_cli import hardware as machine
from docclf_cli.errors import InputError


@pytest.fixture
def sixty_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(machine, "quota", lambda: None)


def siblings(folder: Path, pairs: int) -> Path:
    for number in range(2 * pairs):
        topology = folder / f"cpu{number}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{number % pairs},{number % pairs + pairs}\n")
    return folder


@pytest.mark.parametrize(
    ("limit", "expected"), [("max 100000", None), ("200000 100000", 2.0), ("50000 100000", 0.5), ("", None)]
)
def test_the_quota_of_a_container(tmp_path: Path, limit: str, expected: float | None) -> None:
    (tmp_path / "cpu.max").write_text(limit)
    assert machine.quota(tmp_path) == expected


def test_cores_within_affinity_and_quota(sixty_four: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.usable_cores() == 64
    for limit, expected in ((2.0, 2), (0.5, 1), (100.0, 64)):
        monkeypatch.setattr(machine, "quota", lambda limit=limit: limit)
        assert machine.usable_cores() == expected


def test_second_threads_of_a_core_are_left_out(
    sixty_four: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "_TOPOLOGY", siblings(tmp_path / "cpus", 32))
    assert machine.physical_cores() == 32
    monkeypatch.setattr(machine, "_TOPOLOGY", tmp_path / "not known")
    assert machine.physical_cores() == 64


@pytest.mark.parametrize(("text", "expected"), [(None, 1), ("", 1), (" ", 1), ("0", 1), ("2", 2)])
def test_a_variable_of_torchrun_that_says_nothing(
    monkeypatch: pytest.MonkeyPatch, text: str | None, expected: int
) -> None:
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
        if text is not None:
            monkeypatch.setenv(name, text)
    assert machine.process_count() == machine.local_processes() == expected
    assert machine.is_first_process() == (expected == 1)
    assert machine.local_rank() == (0 if expected == 1 else 2)


def test_one_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(InputError, match="WORLD_SIZE='two'"):
        machine.process_count()
