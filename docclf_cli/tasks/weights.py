"""`weights list` and `weights pack`: which pretrained weights need no network, and a wheel of some for another machine."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import re
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
from huggingface_hub import scan_cache_dir
from huggingface_hub.errors import CacheNotFound
from safetensors.torch import save

from docclf_cli.errors import CheckpointError, InputError, RemoteError
from docclf_cli.files import atomic_write
from docclf_cli.models.factory import resolve_name
from docclf_cli.models.hub import hub_file
from docclf_cli.models.packages import GROUP, find_packaged, packaged_weights
from docclf_cli.models.weights import adapted, misfit, read_weights
from docclf_cli.results.weights import PackedWeights, WeightsList, WeightsRow

HUB_USER = "timm/"  # of the repositories with timm's weights
VERSION = "1.0"
SUFFIXES = (".pth", ".pt", ".safetensors", ".bin")
EARLIEST = (1980, 1, 1, 0, 0, 0)  # the time of all files in a wheel, so that equal weights make equal wheels


def list_weights() -> WeightsList:
    """All pretrained weights on this machine: in packages, in the cache of the hub, and files that torch has downloaded."""
    return WeightsList((*_packages(), *_hub_cache(), *_files()))


def pack_weights(name: str, file: Path | None, output: Path) -> PackedWeights:
    """Write a wheel that supplies weights for an architecture.

    Args:
        name: A timm name, or an alias.
        file: The weights; None takes those within reach of this machine: a package, the hub's cache, the hub.
        output: The folder of the wheel.

    Raises:
        InputError: There is no such architecture, or no pretrained weights of it.
        CheckpointError: The weights are unreadable, or of another architecture.
        RemoteError: They are on a hub that cannot be reached.
        ResourceError: The wheel cannot be written.
    """
    architecture = resolve_name(name)
    if file is None and (packaged := find_packaged(architecture)) is not None:
        state, origin = packaged.read(), packaged.origin
    elif file is None:
        try:
            path, origin = hub_file(architecture)
        except (InputError, RemoteError) as error:  # its advice is for training
            command = shlex.join(["docclf", "weights", "pack", name, "FILE"])
            raise type(error)(error.message, f"name the file with its weights: {command}") from error
        state = read_weights(path)
    else:
        state, origin = read_weights(file), str(file)
    with torch.device("meta"):
        model = timm.create_model(architecture)
    state = adapted(model, state)
    if fault := misfit(model, state):
        raise CheckpointError(f"{origin}: the weights do not fit {architecture}: {fault}", "name their architecture")
    package = f"docclf_weights_{re.sub(r'[^a-z0-9]+', '_', architecture.lower())}"
    wheel = output / f"{package}-{VERSION}-py3-none-any.whl"
    _write_wheel(wheel, package, architecture, save({key: tensor.contiguous() for key, tensor in state.items()}))
    return PackedWeights(
        architecture, wheel, wheel.stat().st_size, origin, shlex.join(["pip", "install", "--no-index", str(wheel)])
    )


def _write_wheel(path: Path, package: str, architecture: str, weights: bytes) -> None:
    """Write a wheel (PEP 427) with a weights file and its entry point."""
    about = f"{package}-{VERSION}.dist-info"
    code = (
        f'"""Weights of {architecture}."""\n\nfrom pathlib import Path\n\n'
        'WEIGHTS = Path(__file__).with_name("weights.safetensors")\n'
    )
    summary = f"Weights of {architecture} for docclf"
    content = {
        f"{package}/__init__.py": code.encode(),
        f"{package}/weights.safetensors": weights,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {VERSION}\nSummary: {summary}\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: docclf\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/entry_points.txt": f"[{GROUP}]\n{architecture} = {package}:WEIGHTS\n".encode(),
    }
    record = [f"{name},sha256={_hash(data)},{len(data)}\n" for name, data in content.items()]
    content[f"{about}/RECORD"] = "".join([*record, f"{about}/RECORD,,\n"]).encode()
    with atomic_write(path) as target, zipfile.ZipFile(target, "w") as archive:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name, EARLIEST)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _packages() -> Iterator[WeightsRow]:
    for one in packaged_weights():
        try:
            path = one.path()
            size = path.stat().st_size
        except Exception:  # of a broken package `train` says more
            size = 0
        yield WeightsRow(one.name, "package", one.package, _licence(one.package), size)


def _licence(package: str) -> str:
    """What a distribution says about its licence: an expression, else the first line of its licence file."""
    try:
        found = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
    about = found.metadata.json  # its text fields by name, in lower case
    stated = str(about.get("license_expression") or about.get("license") or "")
    if stated and stated != "UNKNOWN":
        return stated.splitlines()[0]
    files = [file for file in found.files or () if file.name.upper().startswith(("LICENSE", "LICENCE"))]
    texts = (Path(str(file.locate())).read_text(encoding="utf-8", errors="replace").strip() for file in files)
    return next((text.splitlines()[0] for text in texts if text), "")


def _hub_cache() -> Iterator[WeightsRow]:
    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return
    for one in sorted(repositories, key=lambda repository: repository.repo_id):
        name = one.repo_id.removeprefix(HUB_USER)
        if one.repo_id.startswith(HUB_USER) and timm.models.is_model_pretrained(name):
            yield WeightsRow(name, "hub cache", one.repo_id, "", one.size_on_disk)


def _files() -> Iterator[WeightsRow]:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for path in sorted(folder.glob("*")):
        if path.suffix in SUFFIXES:
            yield WeightsRow("", "file", str(path), "", path.stat().st_size)
