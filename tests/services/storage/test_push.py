"""Pushing to a real S3 server."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from s3_server import BUCKET, READER, S3Server

from docclf_cli.errors import InputError, Interrupted, RemoteError
from docclf_cli.events import Event, Progress
from docclf_cli.files import sha256_of
from docclf_cli.profile.schema import S3Config
from docclf_cli.services.storage import push as s3_push
from docclf_cli.services.storage.manifest import read_manifest
from docclf_cli.services.storage.pull import pull
from docclf_cli.services.storage.push import push
from docclf_cli.services.storage.s3 import Target, connect, resolve_target
from docclf_cli.stop import StopFlag

BELONGING = [
    "best.ckpt",
    "evaluate/test/test_class_metrics.csv",
    "metrics.csv",
    "predictions/val.npz",
    "profile.yaml",
    "run.json",
    "snapshots/epoch-0003.ckpt",
]


def _keys(server: S3Server, target: Target) -> list[str]:
    listed = server.client().list_objects_v2(Bucket=BUCKET, Prefix=target.prefix + "/").get("Contents", [])
    return [item["Key"].removeprefix(target.prefix + "/") for item in listed]


def _big(path: Path, megabytes: int = 60) -> Path:
    path.write_bytes(os.urandom(megabytes * 1_000_000))
    return path


def test_a_run_is_pushed_without_what_does_not_belong_to_it(server: S3Server, target: Target, run: Path) -> None:
    result = push([run], target)
    assert [file.path for file in result.files] == BELONGING
    assert all(file.sent for file in result.files)
    assert _keys(server, target) == [
        "invoice-01/manifest.json",
        *sorted(f"objects/sha256-{file.sha256}" for file in result.files),
    ]


def test_a_second_push_sends_only_what_is_new(target: Target, run: Path) -> None:
    push([run], target)
    again = push([run], target)
    assert again.bytes_sent == 0
    (run / "report.html").write_text("<p>")
    added = push([run], target)
    assert [file.path for file in added.files if file.sent] == ["report.html"]
    manifest = read_manifest(connect(target), target, "invoice-01")
    assert manifest is not None
    assert len(manifest.files) == len(BELONGING) + 1


def test_last_ckpt_is_pushed_on_request(target: Target, run: Path) -> None:
    assert "last.ckpt" in [file.path for file in push([run], target, with_last=True).files]


def test_a_dry_run_stores_nothing(server: S3Server, target: Target, run: Path) -> None:
    result = push([run], target, dry_run=True)
    assert result.dry_run and all(file.sent for file in result.files)
    assert _keys(server, target) == []


def test_a_large_file_arrives_with_its_checksum_and_its_progress(
    server: S3Server, target: Target, tmp_path: Path
) -> None:
    big, seen = _big(tmp_path / "big.ckpt"), []
    push([big], target, emit=seen.append)
    key = target.object_key(sha256_of(big))
    answer = server.client().head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
    assert answer["ContentLength"] == 60_000_000
    assert answer["ChecksumSHA256"].endswith("-4")  # SHA-256 of the parts' SHA-256, which the server keeps
    assert answer["Metadata"]["sha256"] == sha256_of(big)
    assert seen[-1] == Progress(f"push to {target}", 60_000_000, 60_000_000, "bytes")
    restored = pull("big", tmp_path / "back", target)
    assert sha256_of(restored.files[0].path) == sha256_of(big)


def test_a_file_that_changes_while_it_is_pushed_is_not_stored(server: S3Server, target: Target, tmp_path: Path) -> None:
    big = _big(tmp_path / "big.ckpt", 20)

    def grow(event: Any) -> None:
        if event.done >= event.total:
            os.utime(big, (1, 1))

    with pytest.raises(InputError, match="changed"):
        push([big], target, emit=grow)
    assert _keys(server, target) == []


def test_encryption_at_rest_is_asked_for(server: S3Server, target: Target, run: Path) -> None:
    encrypted = replace(target, config=target.config.model_copy(update={"server_side_encryption": "AES256"}))
    result = push([run], encrypted)
    answer = server.client().head_object(Bucket=BUCKET, Key=target.object_key(result.files[0].sha256))
    assert answer["ServerSideEncryption"] == "AES256"
    assert pull("invoice-01", run.parent / "back", encrypted).bytes_fetched > 0


def test_no_request_carries_an_access_list(target: Target, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client, headers = connect(target), []
    client.meta.events.register("before-send.s3", lambda request, **_: headers.extend(request.headers))
    monkeypatch.setattr(s3_push, "connect", lambda _: client)
    push([run], target)
    assert "x-amz-checksum-sha256" in {name.lower() for name in headers}
    assert not [name for name in headers if name.lower() in ("x-amz-acl",) or name.lower().startswith("x-amz-grant")]


def test_other_checkpoints_need_overwrite(target: Target, run: Path) -> None:
    push([run], target)
    (run / "best.ckpt").write_bytes(b"another model")
    with pytest.raises(InputError, match=r"other checkpoints is stored \(best.ckpt\)"):
        push([run], target)
    assert push([run], target, overwrite=True).bytes_sent == len(b"another model")


def test_of_two_pushers_one_wins_and_the_other_is_told(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / side / "best.ckpt" for side in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_text(file.parent.name)
    both_have_read, real = threading.Barrier(2), s3_push.read_manifest

    def read_together(*args: object, **options: object) -> object:
        found = real(*args, **options)  # type: ignore[arg-type]
        both_have_read.wait(10)
        return found

    monkeypatch.setattr(s3_push, "read_manifest", read_together)
    with ThreadPoolExecutor(2) as pool:
        pushes = [pool.submit(push, [file], target, name="model") for file in files]
    errors = [error for error in (each.exception() for each in pushes) if error is not None]
    assert len(errors) == 1
    assert isinstance(errors[0], RemoteError)
    assert "in the meantime" in errors[0].message
    winner = next(file for file, each in zip(files, pushes, strict=True) if each.exception() is None)
    assert pull("model", tmp_path / "back", target).files[0].sha256 == sha256_of(winner)


def test_two_pushers_of_the_same_model_both_succeed(target: Target, run: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: push([run], target), range(2)))
    assert {result.name for result in results} == {"invoice-01"}


def test_stopping_leaves_no_part_behind(server: S3Server, target: Target, tmp_path: Path) -> None:
    stop = StopFlag()

    def stop_when_bytes_move(event: Event) -> None:
        stop.signal_number = signal.SIGTERM

    with pytest.raises(Interrupted, match="stopped: push to") as raised:
        push([_big(tmp_path / "big.ckpt")], target, emit=stop_when_bytes_move, stop=stop)
    assert raised.value.exit_code == 143
    assert "run the same command again to continue" in raised.value.hint
    assert _keys(server, target) == []
    uploads = server.client().list_multipart_uploads(Bucket=BUCKET, Prefix=target.prefix)
    assert uploads.get("Uploads", []) == []


@pytest.mark.parametrize("polls", [1, 2])
def test_stopping_before_or_after_the_files_writes_no_manifest(
    server: S3Server, target: Target, tmp_path: Path, polls: int
) -> None:
    class StopAtPoll(StopFlag):
        seen = 0

        def raise_if_set(self, message: str, hint: str = "") -> None:
            self.seen += 1
            self.signal_number = signal.SIGINT if self.seen == polls else None
            super().raise_if_set(message, hint)

    (tmp_path / "a.ckpt").write_bytes(b"a")
    push([tmp_path / "a.ckpt"], target, name="first")
    before = _keys(server, target)
    with pytest.raises(Interrupted):
        push([tmp_path / "a.ckpt"], target, name="second", stop=StopAtPoll())
    assert _keys(server, target) == before


def test_dangling_uploads_are_ended_once_they_are_old(
    server: S3Server, target: Target, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = server.client()
    client.create_multipart_upload(Bucket=BUCKET, Key=target.object_key("0" * 64))
    push([run], target)
    dangling = client.list_multipart_uploads(Bucket=BUCKET, Prefix=target.prefix)["Uploads"]
    assert len(dangling) == 1  # it may still be at work
    monkeypatch.setattr(s3_push, "DANGLING_AFTER", -s3_push.DANGLING_AFTER)
    push([run], target)
    assert client.list_multipart_uploads(Bucket=BUCKET, Prefix=target.prefix).get("Uploads", []) == []


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"AWS_ACCESS_KEY_ID": "nobody-knows-me"}, "does not know these keys"),
        ({"AWS_SECRET_ACCESS_KEY": "not-the-secret"}, "does not know these keys"),
        ({"AWS_ACCESS_KEY_ID": READER[0], "AWS_SECRET_ACCESS_KEY": READER[1]}, "no permission"),
        ({"S3_BUCKET_NAME": "no-such-bucket"}, "there is no such bucket"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials"),
        ({"AWS_PROFILE": "nobody"}, "the AWS profile cannot be used"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
)
def test_what_is_wrong_is_said_in_words(
    target: Target, run: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with pytest.raises(RemoteError, match=message) as raised:
        push([run], resolve_target(target.config))
    assert raised.value.exit_code == 5
    assert raised.value.hint


def test_names_are_checked_before_any_network(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_push, "connect", lambda _: pytest.fail("connected"))
    target = Target("bucket-1", "docclf", S3Config())
    for name in ("../up", "a/b", "objects", ".hidden", "x" * 300):
        with pytest.raises(InputError):
            push([run], target, name=name)


def test_several_files_need_a_name(target: Target, run: Path) -> None:
    files = [run / "best.ckpt", run / "snapshots" / "epoch-0003.ckpt"]
    with pytest.raises(InputError, match="need a name"):
        push(files, target)
    assert [file.path for file in push(files, target, name="pair").files] == ["best.ckpt", "epoch-0003.ckpt"]


def test_a_folder_without_a_checkpoint_is_no_model(target: Target, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        push([tmp_path], target)
