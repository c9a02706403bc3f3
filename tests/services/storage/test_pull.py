"""Restoring what was pushed, and checkpoints by their S3 address."""

import json
from pathlib import Path

import pytest
from s3_server import BUCKET, S3Server

from docclf_cli.errors import CheckpointError, InputError, RemoteError
from docclf_cli.files import sha256_of
from docclf_cli.profile.schema import S3Config
from docclf_cli.services.storage import cache as s3_cache
from docclf_cli.services.storage.cache import fetch_checkpoint
from docclf_cli.services.storage.pull import pull
from docclf_cli.services.storage.push import push
from docclf_cli.services.storage.s3 import Target


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_run_comes_back_as_it_was(target: Target, run: Path, tmp_path: Path) -> None:
    pushed = push([run], target)
    result = pull("invoice-01", tmp_path / "back", target)
    assert [str(file.path.relative_to(tmp_path / "back")) for file in result.files] == [
        file.path for file in pushed.files
    ]
    for file in pushed.files:
        assert (tmp_path / "back" / file.path).read_bytes() == (run / file.path).read_bytes()


def test_pulling_again_fetches_what_is_missing(target: Target, run: Path, tmp_path: Path) -> None:
    push([run], target)
    pull("invoice-01", tmp_path / "back", target)
    (tmp_path / "back" / "metrics.csv").unlink()
    again = pull("invoice-01", tmp_path / "back", target)
    assert [file.path.name for file in again.files if file.fetched] == ["metrics.csv"]


def test_files_in_the_way_are_not_replaced_unasked(target: Target, run: Path, tmp_path: Path) -> None:
    push([run], target)
    (tmp_path / "best.ckpt").write_text("mine")
    with pytest.raises(InputError, match=r"in the way: .*best.ckpt"):
        pull("invoice-01", tmp_path, target)
    assert (tmp_path / "best.ckpt").read_text() == "mine"
    pull("invoice-01", tmp_path, target, overwrite=True)
    assert sha256_of(tmp_path / "best.ckpt") == sha256_of(run / "best.ckpt")


def test_a_link_does_not_lead_out_of_the_folder(target: Target, run: Path, tmp_path: Path) -> None:
    push([run], target)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "snapshots").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="leads out"):
        pull("invoice-01", tmp_path / "back", target)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_damaged_content_is_noticed_and_not_kept(server: S3Server, target: Target, run: Path, tmp_path: Path) -> None:
    sha256 = sha256_of(run / "best.ckpt")
    push([run], target)
    server.client().put_object(Bucket=BUCKET, Key=target.object_key(sha256), Body=b"w" * 7000)
    with pytest.raises(RemoteError, match="not what was pushed"):
        pull("invoice-01", tmp_path / "back", target)
    assert not (tmp_path / "back" / "best.ckpt").exists()
    assert not (tmp_path / "back" / "run.json").exists()


@pytest.mark.parametrize("path", ["../out.ckpt", "/etc/out", "a//b", "a\\b", "a/../../b", "line\nbreak"])
def test_a_hostile_manifest_writes_nothing(server: S3Server, target: Target, tmp_path: Path, path: str) -> None:
    manifest = {"format": 1, "name": "evil", "files": [{"path": path, "size": 1, "sha256": "0" * 64}]}
    server.client().put_object(Bucket=BUCKET, Key=target.manifest_key("evil"), Body=json.dumps(manifest).encode())
    with pytest.raises(InputError):
        pull("evil", tmp_path / "back", target)
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("text", ["[]", "{", '{"format": 1}', '{"format": 1, "files": [{"path": 1}]}', '{"format": 9}'])
def test_a_manifest_that_is_none_is_said_to_be(server: S3Server, target: Target, tmp_path: Path, text: str) -> None:
    server.client().put_object(Bucket=BUCKET, Key=target.manifest_key("odd"), Body=text.encode())
    with pytest.raises(RemoteError, match="manifest"):
        pull("odd", tmp_path / "back", target)


def test_an_unknown_name_shows_the_known_ones(target: Target, run: Path, tmp_path: Path) -> None:
    push([run], target)
    with pytest.raises(InputError, match="did you mean 'invoice-01'") as raised:
        pull("invoice-1", tmp_path / "back", target)
    assert raised.value.hint == "stored: invoice-01"


@pytest.mark.parametrize("address", ["invoice-01", "invoice-01/best.ckpt", "objects/sha256-{sha256}"])
def test_a_checkpoint_by_its_address(target: Target, run: Path, address: str) -> None:
    push([run], target)
    sha256 = sha256_of(run / "best.ckpt")
    path = fetch_checkpoint(target.uri(target.key(address.format(sha256=sha256))))
    assert sha256_of(path) == sha256


def test_a_snapshot_by_its_address(target: Target, run: Path) -> None:
    push([run], target)
    path = fetch_checkpoint(target.uri(target.key("invoice-01/snapshots/epoch-0003.ckpt")))
    assert path.read_bytes() == b"snapshot"


def test_the_split_lies_beside_a_model_and_each_model_has_a_folder(target: Target, run: Path) -> None:
    (run / "split.csv").write_text("ID,split\na.png,val\n")
    push([run], target)
    best, snapshot = (
        fetch_checkpoint(target.uri(target.key(name)))
        for name in ("invoice-01", "invoice-01/snapshots/epoch-0003.ckpt")
    )
    assert (best.parent / "split.csv").read_text() == "ID,split\na.png,val\n"
    assert sorted(path.name for path in snapshot.parent.iterdir()) == ["checkpoint.ckpt"]
    assert best.parent != snapshot.parent
    # A cache that has lost it gets it again.
    (best.parent / "split.csv").write_text("rotten")
    fetch_checkpoint(target.uri(target.key("invoice-01")))
    assert (best.parent / "split.csv").read_text().startswith("ID,split")


def test_the_cache_is_used_and_verified(target: Target, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push([run], target)
    uri = target.uri(target.key("invoice-01"))
    first = fetch_checkpoint(uri)
    moved: list[int] = []
    assert fetch_checkpoint(uri, emit=lambda event: moved.append(event.done)) == first
    assert not moved
    first.write_bytes(b"rotten")
    assert sha256_of(fetch_checkpoint(uri, emit=lambda event: moved.append(event.done))) == sha256_of(run / "best.ckpt")
    assert moved
    # The address of content needs no network once it is here.
    monkeypatch.setattr(s3_cache, "connect", lambda _: pytest.fail("connected"))
    fetch_checkpoint(target.uri(target.object_key(sha256_of(run / "best.ckpt"))))


def test_a_checkpoint_stored_by_another_tool_is_fetched_once_per_version(server: S3Server, target: Target) -> None:
    key, moved = target.key("theirs.ckpt"), []
    count = lambda event: moved.append(event.done)  # noqa: E731
    server.client().put_object(Bucket=BUCKET, Key=key, Body=b"one")
    assert fetch_checkpoint(target.uri(key), emit=count).read_bytes() == b"one"
    assert fetch_checkpoint(target.uri(key), emit=count).read_bytes() == b"one"
    assert len(moved) == 1
    server.client().put_object(Bucket=BUCKET, Key=key, Body=b"two")
    assert fetch_checkpoint(target.uri(key), emit=count).read_bytes() == b"two"


def test_nothing_at_an_address_is_a_checkpoint_error(target: Target, run: Path) -> None:
    push([run], target)
    with pytest.raises(CheckpointError, match="no such object"):
        fetch_checkpoint(target.uri(target.key("invoice-02")))
    with pytest.raises(CheckpointError, match=r"has no fold-0/best.ckpt"):
        fetch_checkpoint(target.uri(target.key("invoice-01/fold-0/best.ckpt")))


@pytest.mark.parametrize("uri", ["s3://", "s3://bucket-1", "s3://Bucket/x", "s3://bucket-1/a//b", "s3://bucket-1/../x"])
def test_malformed_addresses_are_usage_errors(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_cache, "connect", lambda _: pytest.fail("connected"))
    with pytest.raises(InputError):
        fetch_checkpoint(uri, S3Config())
