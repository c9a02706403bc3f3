"""The environment variables of docclf, the `.env` file, and the redaction of secrets.

Only this module reads these variables.
"""

from __future__ import annotations

import io
import logging
import os
import re
import shlex
import stat
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from docclf_cli.errors import InputError

logger = logging.getLogger("docclf")


@dataclass(frozen=True)
class Variable:
    """A variable that docclf reads from the environment or a `.env` file.

    Attributes:
        name: As in the environment.
        description: One line, as in `env_example.txt`.
        secret: Its value is removed from everything docclf prints.
        placeholders: Values of examples, which count as unset.
    """

    name: str
    description: str
    secret: bool = False
    placeholders: tuple[str, ...] = ()


VARIABLES = (
    Variable("WANDB_API_KEY", "Weights & Biases: API key", secret=True, placeholders=("your_wandb_api_key_here",)),
    Variable("WANDB_PROJECT", "Weights & Biases: project"),
    Variable("WANDB_ENTITY", "Weights & Biases: user or team", placeholders=("your-wandb-entity",)),
    Variable("WANDB_MODE", "Weights & Biases: online, offline or disabled"),
    Variable("WANDB_BASE_URL", "Weights & Biases: address of a server of one's own"),
    Variable("AWS_ACCESS_KEY_ID", "S3: access key", secret=True, placeholders=("your_aws_access_key_id",)),
    Variable("AWS_SECRET_ACCESS_KEY", "S3: secret key", secret=True, placeholders=("your_aws_secret_access_key",)),
    Variable("AWS_SESSION_TOKEN", "S3: token of temporary keys", secret=True),
    Variable("AWS_DEFAULT_REGION", "S3: region"),
    Variable("AWS_PROFILE", "S3: profile of ~/.aws instead of keys"),
    Variable("AWS_ENDPOINT_URL", "S3: address of an S3-compatible store"),
    Variable("AWS_CA_BUNDLE", "S3: certificates of a store with a private authority"),
    Variable("S3_BUCKET_NAME", "S3: bucket of finished models", placeholders=("your-s3-bucket-name",)),
    Variable("CUDA_VISIBLE_DEVICES", "GPUs to use, such as 0 or 0,1; -1 hides all"),
)
_BY_NAME = {variable.name: variable for variable in VARIABLES}
_NAMES = re.compile(rf"\b(?:{'|'.join(_BY_NAME)})\b")
# Shorter values are not cut out of texts: they would be found in innocent words.
_SHORTEST_SECRET = 6
_USER_INFO = re.compile(r"([a-zA-Z][\w+.-]*://)[^/\s?#]+@")


@dataclass(frozen=True)
class EnvFile:
    """A `.env` file that was read.

    Attributes:
        path: The file.
        values: Known variables in it that have a value.
        unknown: Names in it that docclf does not read.
        private: Only its owner may read it.
    """

    path: Path
    values: Mapping[str, str]
    unknown: tuple[str, ...] = ()
    private: bool = True

    @property
    def has_secrets(self) -> bool:
        """Whether a secret variable has a value here."""
        return any(_BY_NAME[name].secret for name in self.values)


def load_env(start: Path) -> EnvFile | None:
    """Put the variables of the nearest `.env` into the environment, which itself wins.

    Call it before torch is imported: `CUDA_VISIBLE_DEVICES` is read only once. Placeholders of examples are taken
    out of the environment too, so that no other library takes them for real.

    Args:
        start: The working folder.

    Raises:
        InputError: The file has a line that cannot be read, or sets a variable twice.
    """
    file = find_env(start)
    for name, value in (file.values if file else {}).items():
        os.environ.setdefault(name, value)
    for name in _BY_NAME:
        if name in os.environ and get(name) is None and os.environ[name]:
            del os.environ[name]
    if file and file.has_secrets and not file.private:
        logger.warning(
            "%s holds secrets, and others can read it: %s", file.path, shlex.join(["chmod", "600", str(file.path)])
        )
    return file


def find_env(start: Path) -> EnvFile | None:
    """Read the first `.env` between a folder and its project's root, without applying it.

    The root is the nearest folder with `.git` or `pyproject.toml`; where there is none, only `start` is searched. A
    file that belongs to someone else is passed over with a warning.

    Raises:
        InputError: The file has a line that cannot be read, or sets a variable twice.
    """
    for folder in _folders(start.absolute()):
        if (content := _read_own(folder / ".env")) is not None:
            text, private = content
            return _parse(folder / ".env", text, private)
    return None


def get(name: str) -> str | None:
    """The value of a known variable; None where it is unset, empty or a placeholder."""
    value = os.environ.get(name, "").strip()
    return value if value and value not in _BY_NAME[name].placeholders else None


def redact(text: str) -> str:
    """The text with the values of secret variables, and user info in URLs, replaced."""
    for variable in VARIABLES:
        value = os.environ.get(variable.name, "").strip()
        if variable.secret and len(value) >= _SHORTEST_SECRET:
            for form in (value, urllib.parse.quote(value, safe=""), urllib.parse.quote(value)):
                text = text.replace(form, f"[{variable.name}]")
    return _USER_INFO.sub(r"\1[user]@", text)


def _folders(start: Path) -> list[Path]:
    folders = [start, *start.parents]
    for position, folder in enumerate(folders):
        if (folder / ".git").exists() or (folder / "pyproject.toml").exists():
            return folders[: position + 1]
    return [start]


def _read_own(path: Path) -> tuple[str, bool] | None:
    """The text of a regular file of the user's own, and whether it is private."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # `.env` is also a usual name for a virtual environment
            return None
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if hasattr(os, "getuid") and facts.st_uid != os.getuid():
                logger.warning("%s belongs to someone else and is ignored", path)
                return None
            return file.read().decode("utf-8-sig"), not facts.st_mode & (stat.S_IRGRP | stat.S_IROTH)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        logger.warning("%s is not UTF-8 text and is ignored", path)
    except OSError as error:
        logger.warning("%s is ignored: %s", path, error.strerror)
    return None


def _parse(path: Path, text: str, private: bool) -> EnvFile:
    values: dict[str, str] = {}
    unknown: list[str] = []
    lines: dict[str, int] = {}
    for line, name, value in _bindings(path, text):
        if name not in _BY_NAME:
            unknown.append(name)
            continue
        if name in lines:
            raise InputError(f"{path}:{line}: {name} is set a second time (first in line {lines[name]})")
        lines[name] = line
        if value.strip() and value.strip() not in _BY_NAME[name].placeholders:
            values[name] = value.strip()
    return EnvFile(path, values, tuple(unknown), private)


def _bindings(path: Path, text: str) -> Iterator[tuple[int, str, str]]:
    """Line, name and value of each setting.

    A line that names a variable of docclf's and cannot be read is an error, which python-dotenv would drop.
    """
    from dotenv.parser import parse_stream

    for binding in parse_stream(io.StringIO(text)):
        text = binding.original.string
        # The parser counts blank lines before a setting as part of it.
        line = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
        if binding.error or (binding.key is not None and binding.value is None):
            if not _NAMES.search(binding.original.string):  # another program's, which may read it
                continue
            raise InputError(f"{path}:{line}: not a line of the form NAME=value", "quote values with spaces or #")
        if binding.key is None:
            continue
        if "\0" in (binding.value or "") and binding.key in _BY_NAME:
            raise InputError(f"{path}:{line}: the value of {binding.key} holds a null character")
        yield line, binding.key, binding.value or ""
