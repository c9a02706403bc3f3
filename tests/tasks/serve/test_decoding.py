"""Processes that decode: some pages at a time, other work, and what is left of it when one of them ends."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_cases import page, write_pdf, write_tiff

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.errors import InputError
from docclf_cli.tasks.serve.decoding import (
    CRASHED,
    DecodeLimits,
    DecodePool,
    DecodeRequest,
    DecoderFailed,
    TooManyPages,
)
from docclf_cli.tasks.split_packets.part_files import write_parts

HOW = (Preprocess(32), Preprocess(16))


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    pool = DecodePool(1, DecodeLimits(pages=10))
    yield pool
    pool.close()


@pytest.mark.parametrize(("write", "name"), [(write_pdf, "a.pdf"), (write_tiff, "a.tif")])
def test_pages_come_some_at_a_time(pool: DecodePool, tmp_path: Path, write: Callable[..., Path], name: str) -> None:
    path = write(tmp_path / name, range(7))
    whole = pool.decode(path.read_bytes(), HOW, sizes=True)
    parts = list(pool.stream(path, DecodeRequest(HOW, sizes=True), 3))
    assert [len(part) for part in parts] == [3, 3, 1]
    for found, expected in zip([one for part in parts for one in part], whole, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(found.images, expected.images, strict=True))
        assert (found.size, found.first, found.error) == (expected.size, expected.first, "")
    assert [one.first for one in whole] == [True] + [False] * 6
    assert pool.decode(path.read_bytes(), HOW)[0].size == (1.0, 1.0)  # nobody asked


def test_what_cannot_be_opened_is_one_page_that_says_why(pool: DecodePool, tmp_path: Path) -> None:
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 nothing else")
    ((broken,),) = pool.stream(tmp_path / "broken.pdf", DecodeRequest(HOW), 3)
    assert not broken.images
    assert "damaged" in broken.error
    with pytest.raises(TooManyPages, match="has 11 pages; at most 10"):
        list(pool.stream(write_tiff(tmp_path / "long.tif", range(11)), DecodeRequest(HOW), 3))


def test_pages_beside_one_that_ends_its_process_are_read_one_by_one(
    pool: DecodePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiff(tmp_path / "a.tif", range(7))
    run = pool.run

    def crashing(work: Callable[..., Any], source: Path, request: DecodeRequest, limits: DecodeLimits) -> Any:
        asked = range(request.first, request.first + (request.most or 7))
        return run(os._exit, 3) if 4 in asked else run(work, source, request, limits)

    monkeypatch.setattr(pool, "run", crashing)
    pages = [one for part in pool.stream(path, DecodeRequest(HOW), 3) for one in part]
    assert [one.error for one in pages] == ["", "", "", "", CRASHED, "", ""]


def test_other_work_is_done_there_as_well(pool: DecodePool, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", range(4))
    pool.run(write_parts, path, [(tmp_path / "one.tif", 1, 3), (tmp_path / "two.tif", 4, 4)])
    assert len(pool.decode((tmp_path / "one.tif").read_bytes(), HOW)) == 3
    with pytest.raises(DecoderFailed, match="makes its decoder crash"):
        pool.run(os._exit, 3)
    page(0).save(tmp_path / "short.tif")
    with pytest.raises(InputError, match="pages 2 to 3 cannot be copied"):
        pool.run(write_parts, tmp_path / "short.tif", [(tmp_path / "part.tif", 2, 3)])
    assert len(pool.decode(path.read_bytes(), HOW)) == 4
