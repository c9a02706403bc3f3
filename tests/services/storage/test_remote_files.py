"""Pages in S3: listed, read one by one, and errors of the store that are no errors of a page."""

import pickle
from pathlib import Path

import pytest
from page_cases import page, write_tiff
from s3_server import S3Server

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.errors import InputError, RemoteError
from docclf_cli.profile.schema import S3Config
from docclf_cli.services.storage.remote_files import S3Files
from docclf_cli.services.storage.s3 import Target


@pytest.fixture
def place(server: S3Server, target: Target, tmp_path: Path) -> str:
    """A prefix with two pages, a document and a note."""
    page(1).save(tmp_path / "a.png")
    write_tiff(tmp_path / "t.tif", [3, 1, 4])
    prefix = f"pages/{target.prefix}"
    for name, content in (
        ("b/영 수.png", (tmp_path / "a.png").read_bytes()),
        ("a.png", (tmp_path / "a.png").read_bytes()),
        ("t.tif", (tmp_path / "t.tif").read_bytes()),
        ("notes.docx", b"text"),
        ("b/", b""),
    ):
        server.client().put_object(Bucket=target.bucket, Key=f"{prefix}/{name}", Body=content)
    return f"s3://{target.bucket}/{prefix}"


def test_objects_are_listed_and_read(place: str, tmp_path: Path) -> None:
    files = pickle.loads(pickle.dumps(S3Files()))
    listed = {one.uri.removeprefix(place): one.state for one in files.list(f"{place}/")}
    assert list(listed) == ["/a.png", "/b/영 수.png", "/notes.docx", "/t.tif"]
    assert len(set(listed.values())) == 3  # equal content, equal state
    assert [one.uri for one in files.list(place)] == [f"{place}{name}" for name in listed]
    reader = PageReader(10**6, remote=files)
    local = PageReader(10**6)
    assert reader.count(Path(f"{place}/t.tif")) == 3
    for name, own, number in (("t.tif", "t.tif", 2), ("b/영 수.png", "a.png", 0)):
        found = reader.read(Path(f"{place}/{name}"), None, number, Preprocess(32))
        assert (found == local.read(tmp_path / own, None, number, Preprocess(32))).all()


def test_what_is_missing_or_too_large_is_a_page_that_cannot_be_read(place: str) -> None:
    with pytest.raises(UnreadablePage, match="there is no such object"):
        S3Files().open(f"{place}/gone.png")
    with pytest.raises(UnreadablePage, match="is larger than"):
        S3Files(most_bytes=10).open(f"{place}/a.png")


def test_a_store_that_refuses_is_no_unreadable_page(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = PageReader(10**6, remote=S3Files(S3Config(retries=1)))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(RemoteError, match="does not know these keys"):
        reader.read(Path(f"{place}/a.png"), None, 0, Preprocess(32))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(RemoteError, match="cannot be reached"):
        list(S3Files(S3Config(retries=1)).list(place))
    with pytest.raises(InputError, match="not a bucket name"):
        list(S3Files().list("s3://X/"))
