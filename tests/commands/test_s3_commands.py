"""`docclf s3-push` and `docclf s3-pull` against a real server."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3_server
from cli_process import CliProcess, Outcome
from s3_server import BUCKET, S3Server

from docclf_cli.files import sha256_of


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server.running(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "invoice-01"
    folder.mkdir(parents=True)
    (folder / "best.ckpt").write_bytes(b"weights" * 1000)
    (folder / "profile.yaml").write_text("seed: 0\n")
    return folder


def test_there_and_back(docclf: Callable[..., Outcome], server: S3Server, run: Path, tmp_path: Path) -> None:
    options = ("--prefix", tmp_path.name, "--json")
    planned = docclf("s3-push", run, "--dry-run", *options, env=server.environment())
    assert planned.json["dry_run"] and planned.json["bytes_sent"] == 7008
    pushed = docclf("s3-push", run, *options, env=server.environment())
    assert pushed.code == 0, pushed.stderr
    assert pushed.json["manifest"] == f"s3://{BUCKET}/{tmp_path.name}/invoice-01/manifest.json"
    assert docclf("s3-push", run, *options, env=server.environment()).json["bytes_sent"] == 0
    pulled = docclf("s3-pull", "invoice-01", tmp_path / "back", *options, env=server.environment())
    assert pulled.json["bytes_fetched"] == 7008
    assert sha256_of(tmp_path / "back" / "best.ckpt") == sha256_of(run / "best.ckpt")


def test_tables_name_every_file(docclf: Callable[..., Outcome], server: S3Server, run: Path, tmp_path: Path) -> None:
    options = ("--prefix", tmp_path.name)
    pushed = docclf("s3-push", run, *options, env=server.environment())
    pulled = docclf("s3-pull", "invoice-01", "back", *options, env=server.environment())
    for outcome in (pushed, pulled):
        assert "best.ckpt" in outcome.stdout
        assert "7.0 kB" in outcome.stdout
    assert "docclf s3-pull invoice-01" in pushed.stdout


def test_exit_codes(docclf: Callable[..., Outcome], server: S3Server, run: Path) -> None:
    assert docclf("s3-push", run).code == 2  # no bucket
    assert docclf("s3-push", run, "--bucket", "Not_A_Bucket", env=server.environment()).code == 2
    assert docclf("s3-pull", "no-such-model", "back", env=server.environment()).code == 2
    refused = docclf("s3-push", run, env={**server.environment(), "AWS_SECRET_ACCESS_KEY": "not-the-secret-at-all"})
    assert refused.code == 5
    assert "does not know these keys" in refused.stderr
    assert "not-the-secret-at-all" not in refused.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_cleanly(
    start: Callable[..., CliProcess], server: S3Server, tmp_path: Path, number: int, code: int
) -> None:
    big = tmp_path / "big.ckpt"
    big.write_bytes(os.urandom(60_000_000) * 4)
    client = server.client()  # making one takes longer than a slow machine leaves before the upload is done
    process = start("s3-push", big, "--prefix", tmp_path.name, env=server.environment())
    uploads: list[object] = []
    while not uploads and process.process.exitcode is None:
        uploads = client.list_multipart_uploads(Bucket=BUCKET, Prefix=tmp_path.name).get("Uploads", [])
    assert process.process.exitcode is None, process.wait().stderr
    process.send(number)
    outcome = process.wait()
    assert outcome.code == code, outcome.stderr
    assert "not sent again" in outcome.stderr
    left = client.list_multipart_uploads(Bucket=BUCKET, Prefix=tmp_path.name)
    assert left.get("Uploads", []) == []
