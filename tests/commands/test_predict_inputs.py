"""Inputs of `docclf predict` in S3 and in lists, and its Parquet tables."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3_server
from cli_process import Outcome
from page_cases import write_checkpoint, write_images, write_tiff
from s3_server import BUCKET, S3Server

MODEL = "run/best.ckpt"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server.running(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(autouse=True)
def _pages(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / MODEL, ("form", "=letter", "영수증"))
    write_images(tmp_path / "in", 4)
    write_tiff(tmp_path / "in" / "t.tif", [3, 1, 4])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_pages_in_s3_are_predicted_as_those_of_a_folder(
    docclf: Callable[..., Outcome], server: S3Server, tmp_path: Path
) -> None:
    for path in (tmp_path / "in").iterdir():
        server.client().upload_file(str(path), BUCKET, f"scans/{path.name}")
    env = server.environment(s3_server.READER)
    assert docclf("predict", MODEL, "in", "-o", "here", "-q").code == 0
    there = docclf("predict", MODEL, f"s3://{BUCKET}/scans/", "-o", "there", "--copy-to", "sorted", "-q", env=env)
    assert there.code == 0, there.stderr
    for name in ("predictions.csv", "documents.csv"):
        expected = (tmp_path / "here" / name).read_text().replace("in/", f"s3://{BUCKET}/scans/")
        assert (tmp_path / "there" / name).read_text() == expected
    assert len([path for path in (tmp_path / "sorted").rglob("*") if path.is_file()]) == 5
    assert docclf("predict", MODEL, "there/predictions.csv", "-o", "again", "-q", env=env).code == 0
    assert (tmp_path / "again" / "predictions.csv").read_text() == (tmp_path / "there" / "predictions.csv").read_text()
    (tmp_path / "list.txt").write_text(f"in/p0001.png\ns3://{BUCKET}/scans/t.tif#2\ns3://{BUCKET}/scans/gone.png\n")
    listed = docclf("predict", MODEL, "list.txt", "-o", "listed", "--max-unreadable", "1", "-q", env=env)
    assert listed.code == 0, listed.stderr
    found = [(row["path"], row["page"], row["status"]) for row in rows(tmp_path / "listed" / "predictions.csv")]
    assert found == [
        ("in/p0001.png", "1", ""),
        (f"s3://{BUCKET}/scans/t.tif", "2", ""),
        (f"s3://{BUCKET}/scans/gone.png", "1", "there is no such object"),
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_store_that_fails_ends_with_5(
    docclf: Callable[..., Outcome], server: S3Server, tmp_path: Path, workers: int
) -> None:
    env = {**server.environment(), "AWS_SECRET_ACCESS_KEY": "wrong"}
    (tmp_path / "list.txt").write_text(f"s3://{BUCKET}/scans/a.png\n")
    for given in (f"s3://{BUCKET}/scans/", "list.txt"):
        outcome = docclf("predict", MODEL, given, "-q", "--set", f"runtime.workers={workers}", env=env)
        assert outcome.code == 5, outcome.stderr
        assert "does not know these keys" in outcome.stderr
        assert "AWS_SECRET_ACCESS_KEY" in outcome.stderr  # the hint
        assert "Traceback" not in outcome.stderr


def test_parquet_holds_what_json_lines_hold_and_is_an_input(docclf: Callable[..., Outcome], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    (tmp_path / "in" / "bad.png").write_text("<html>")
    asked = ("predict", MODEL, "in", "--min-confidence", "0.9", "--max-unreadable", "1", "-q")
    assert docclf(*asked, "--format", "jsonl").code == 0
    assert docclf(*asked, "-o", "a.parquet").code == 0
    lines = (tmp_path / "predictions" / "predictions.jsonl").read_text().splitlines()
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.to_pylist() == [json.loads(line) for line in lines]
    assert parquet.read_table(tmp_path / "a.documents.parquet").num_rows == 6
    assert docclf("predict", MODEL, "a.parquet", "-o", "again", "--max-unreadable", "1", "-q").code == 0
    again = [(row["path"], row["page"]) for row in rows(tmp_path / "again" / "predictions.csv")]
    assert again == [(row["path"], str(row["page"] or "")) for row in table.to_pylist()]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    refused = docclf("predict", MODEL, "bad.parquet")
    assert (refused.code, "damaged, or no Parquet file" in refused.stderr) == (2, True)
