"""Checks of the machine: Python, packages, devices, memory, disk."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from docclf_cli.files import TEMP_PREFIX, atomic_write
from docclf_cli.hardware import allowed_cores, cpu_features, quota
from docclf_cli.profile.schema import Profile
from docclf_cli.results.environment import CheckRow
from docclf_cli.services.env_check.checks import CHECKS, Situation, failure, ok, skipped, warning
from docclf_cli.user_folders import user_path

GB = 10**9
TORCH_SECONDS = 20
# What decides the speed of a forward pass on a CPU.
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "asimd", "bf16", "sve")


@CHECKS.register("python", seconds=3)
def python(situation: Situation) -> Iterator[CheckRow]:
    """Version against what docclf requires, and the platform."""
    from packaging.specifiers import SpecifierSet

    needed = metadata.metadata("docclf")["Requires-Python"]
    found = f"{platform.python_version()} at {sys.executable}, {platform.platform(terse=True)}"
    fits = SpecifierSet(needed).contains(platform.python_version(), prereleases=True)
    yield ok("python", found) if fits else failure("python", found, f"docclf needs Python {needed}")


@CHECKS.register("packages", seconds=5)
def packages(situation: Situation) -> Iterator[CheckRow]:
    """Versions against what docclf requires."""
    from packaging.requirements import Requirement

    found, faults = [], []
    for requirement in (Requirement(text) for text in metadata.requires("docclf") or ()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = _version(requirement.name)
        found.append(f"{requirement.name} {version or 'missing'}")
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            faults.append(f"'{requirement.name}{requirement.specifier}'")
    if faults:
        yield failure("packages", ", ".join(found), f"pip install {' '.join(faults)}")
    else:
        yield ok("packages", ", ".join(found))
    yield from _pair(_version("torch"), _version("torchvision"))


def _pair(torch: str | None, torchvision: str | None) -> Iterator[CheckRow]:
    """Torch 2.N and torchvision 0.(N + 15) are released, and compiled, together."""
    if torch is None or torchvision is None:
        return
    (torch_major, torch_minor), (_, vision_minor) = (map(int, text.split(".")[:2]) for text in (torch, torchvision))
    found = f"torch {torch} with torchvision {torchvision}"
    if torch_major == 2 and vision_minor != torch_minor + 15:
        fix = f"pip install 'torchvision==0.{torch_minor + 15}.*'"
        yield failure("torch pair", f"{found}: not built for each other", fix)
    else:
        yield ok("torch pair", found)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@CHECKS.register("torch", seconds=TORCH_SECONDS + 2)
def torch(situation: Situation) -> Iterator[CheckRow]:
    """Whether torch can be imported, and the devices it sees."""
    answer = probe("torch", seconds=TORCH_SECONDS)
    if "error" in answer:
        yield failure("torch", answer["error"], "reinstall it: pip install --force-reinstall torch torchvision")
        return
    yield ok("torch", f"{answer['torch']}, built for {answer['built_for']}, kernels for {answer['capability']}")
    yield _devices(answer)


def _devices(answer: dict[str, Any]) -> CheckRow:
    gpus = [f"cuda:{number} {name} ({memory / GB:.0f} GB)" for number, (name, memory) in enumerate(answer["cuda"])]
    if gpus or answer["mps"]:
        return ok("devices", ", ".join([*gpus, *(["mps"] if answer["mps"] else []), "cpu"]))
    if Path("/proc/driver/nvidia/version").exists():
        fix = "install torch for CUDA (pytorch.org), and look at CUDA_VISIBLE_DEVICES and `nvidia-smi`"
        return warning("devices", "cpu only, although an NVIDIA driver is loaded", fix)
    return ok("devices", "cpu")


def probe(what: str, *, seconds: float, given: str = "") -> dict[str, Any]:
    """Ask a process of its own, so that a crash or a hang in a library stays there.

    Returns:
        Its answer, or `{"error": one line}`.
    """
    package = Path(__file__).parents[3]
    command = [sys.executable, "-P", "-m", "docclf_cli.services.env_check.probes", what]
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=seconds,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {seconds:g} s"}
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
        return {"error": f"cannot be imported: {last}"}
    return answer


@CHECKS.register("cpu", seconds=3)
def cpu(situation: Situation) -> Iterator[CheckRow]:
    """Cores this process may use, and instruction sets."""
    known = [name for name in _INSTRUCTIONS if name in cpu_features()]
    cores, limit = allowed_cores(), quota()
    limited = f", limited to {limit:g} by the container" if limit is not None and limit < cores else ""
    yield ok("cpu", f"{cores} of {os.cpu_count()} cores{limited}, {platform.machine()} {' '.join(known)}".rstrip())


@CHECKS.register("memory", seconds=3)
def memory(situation: Situation) -> Iterator[CheckRow]:
    """Memory that is free for training, and shared memory for loader processes."""
    facts = {line.split(":")[0]: line.split()[1] for line in _read("/proc/meminfo").splitlines()}
    if "MemAvailable" not in facts:
        yield skipped("memory", "not known on this system")
        return
    total, available = (int(facts[name]) * 1024 for name in ("MemTotal", "MemAvailable"))
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    text = f"{available / GB:.1f} of {total / GB:.1f} GB free"
    if limit.isdigit() and int(limit) < total:
        used = int(_read("/sys/fs/cgroup/memory.current").strip() or 0)
        available = min(available, int(limit) - used)
        text = f"{available / GB:.1f} GB free of the container's {int(limit) / GB:.1f} GB"
    fix = "close other programs, or train with a smaller --batch-size and --image-size"
    yield ok("memory", text) if available > 2 * GB else warning("memory", text, fix)


@CHECKS.register("shared memory", seconds=3)
def shared_memory(situation: Situation) -> Iterator[CheckRow]:
    """Loader processes hand pages over in it."""
    if not Path("/dev/shm").is_dir():
        yield skipped("shared memory", "not used on this system")
        return
    free = shutil.disk_usage("/dev/shm").free
    text = f"{free / GB:.2f} GB free in /dev/shm"
    fix = "docker run --shm-size=2g, or load in the main process: --set runtime.workers=0"
    yield ok("shared memory", text) if free > GB // 4 else warning("shared memory", text, fix)


@CHECKS.register("output folder", seconds=3)
def output_folder(situation: Situation) -> Iterator[CheckRow]:
    """Space, and a real write, flush and rename where runs will be."""
    output = user_path((situation.profile or Profile()).output).absolute()
    folder = next(path for path in (output, *output.parents) if path.is_dir())
    path = folder / f"{TEMP_PREFIX}probe-{os.getpid()}"
    with atomic_write(path) as file:
        file.write(bytes(1_000_000))
    path.unlink()
    free = shutil.disk_usage(folder).free
    text = f"{output} can be written to{'' if folder == output else ' (made when needed)'}, {free / GB:.1f} GB free"
    fix = "free some space, or name another folder with --output"
    if free < GB // 2:
        yield failure("output folder", text, fix)
    else:
        yield ok("output folder", text) if free > 5 * GB else warning("output folder", text, fix)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
