"""The S3 server of these tests, and a clean environment."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3_server
from s3_server import S3Server

from docclf_cli.profile.schema import S3Config
from docclf_cli.services import env
from docclf_cli.services.storage.s3 import Target, resolve_target


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server.running(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def clean_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable of the person who runs the tests, no `~/.aws`, no questions to a cloud's metadata service."""
    for variable in env.VARIABLES:
        monkeypatch.delenv(variable.name, raising=False)
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(home if name == "HOME" else home / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    yield
    for variable in env.VARIABLES:  # `load_env` sets what monkeypatch does not know of
        os.environ.pop(variable.name, None)


@pytest.fixture
def target(server: S3Server, clean_environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Target:
    """The server's bucket, with a prefix of the test's own."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return resolve_target(S3Config(prefix=tmp_path.name, retries=2))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with what belongs to a model and what does not."""
    folder = tmp_path / "runs" / "invoice-01"
    for name, content in (
        ("best.ckpt", b"weights" * 1000),
        ("last.ckpt", b"position"),
        ("best.previous.ckpt", b"older"),
        ("snapshots/epoch-0003.ckpt", b"snapshot"),
        ("profile.yaml", b"seed: 0\n"),
        ("metrics.csv", b"epoch,val_loss\n1,0.5\n"),
        ("run.json", b"{}"),
        ("predictions/val.npz", b"arrays"),
        ("evaluate/test/test_class_metrics.csv", b"class\n"),
        (".docclf-tmp-best.ckpt-1-ab", b"half"),
        (".lock", b""),
        ("wandb/run-1/files/config.yaml", b"x: 1\n"),
        ("core.1234", b"memory"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "linked.csv").symlink_to("/etc/hostname")
    return folder
