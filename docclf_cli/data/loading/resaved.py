"""Finds pages that are other pages saved anew: the same picture in another file format or compression, at the same size.

Two files are compared only where their pictures have the same width and height, so of most data sets little is decoded.
Of 265 test pages of real documents none is as similar to any of 488 training pages (at most .94, between forms of one
kind); JPEG at quality 20 leaves .975 and more, at 50 .99. Copies that were resized, turned or scanned anew are found by
`docclf audit`, which compares much more slowly.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from docclf_cli.data.images.decode import UnreadablePage, read_header
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.loading.cache import open_or_build
from docclf_cli.data.loading.pages import Pages
from docclf_cli.page_ids import is_paged
from docclf_cli.profile.schema import DataConfig

MOST_PAGES = 20_000  # of both sides together; opening more files than these takes too long beside scoring them
SAME = 0.96  # correlation of fine detail from which two pages are one picture
_SIDE, _DETAIL = 128, 5  # pixels of a page; coarser than this many is no detail
_LEAST_DETAIL = 2.0  # grey values: below it a page shows nothing that could be compared
_BLOCK = 256
logger = logging.getLogger("docclf")


def resaved_pages(index: DocumentIndex, known: DocumentIndex, config: DataConfig, workers: int = 0) -> np.ndarray:
    """For each page, the row in `known` of the same picture in another file, int64 [n]; -1 where there is none.

    Pages of PDF and TIFF files, and those that cannot be read, have none.

    Args:
        index: The pages.
        known: The pages that they may be copies of.
        config: How pages are read, and where they are cached.
        workers: Processes to decode with.
    """
    found = np.full(len(index), -1, dtype=np.int64)
    if len(index) + len(known) > MOST_PAGES:
        logger.info("pages that were saved anew are not looked for among %d pages: `docclf audit` does", len(index))
        return found
    of_size, known_of_size = _rows_by_size(index, config), _rows_by_size(known, config)
    shared = of_size.keys() & known_of_size.keys()
    rows, known_rows = (np.array(sorted(r for s in shared for r in by[s]), np.int64) for by in (of_size, known_of_size))
    if not len(rows):
        return found
    detail, known_detail = _details(index, rows, config, workers), _details(known, known_rows, config, workers)
    size_of = {row: size for size, group in of_size.items() for row in group}
    size_of_known = {row: size for size, group in known_of_size.items() for row in group}
    known_sizes = np.array([size_of_known[row] for row in known_rows.tolist()])
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        alike = detail[start : start + _BLOCK] @ known_detail.T
        sizes = np.array([size_of[row] for row in block.tolist()])
        alike[(sizes[:, None] != known_sizes[None]).any(axis=2)] = 0
        best = alike.argmax(axis=1)
        same = alike[np.arange(len(block)), best] >= SAME
        found[block[same]] = known_rows[best[same]]
    return found


def _rows_by_size(index: DocumentIndex, config: DataConfig) -> dict[tuple[int, int], list[int]]:
    """Rows by width and height of their picture.

    Those that cannot be read, have several pages, or are too small to have detail, are left out.
    """
    rows = defaultdict[tuple[int, int], list[int]](list)
    for row, name in enumerate(index.paths.tolist()):
        if not is_paged(name):
            try:
                header = read_header(index.path(row), root=index.root, allow_symlinks=config.allow_symlinks)
            except UnreadablePage:
                continue
            if max(header.width, header.height) >= _SIDE:
                rows[header.width, header.height].append(row)
    return rows


def _details(index: DocumentIndex, rows: np.ndarray, config: DataConfig, workers: int) -> np.ndarray:
    """What is finer than paper and layout, of length 1; float32 [n, pixels], zeros for a page that shows nothing."""
    some, preprocess = index.take(rows), Preprocess(_SIDE)
    cache = open_or_build(some, preprocess, config, workers=workers)
    pages = Pages(some, preprocess, config, cache)
    return np.stack(list(_detail_of_each(pages)))


def _detail_of_each(pages: Pages) -> Iterator[np.ndarray]:
    from scipy.ndimage import uniform_filter

    for row in range(len(pages)):
        try:
            grey = pages[row].mean(axis=2, dtype=np.float32)
        except UnreadablePage:
            yield np.zeros(_SIDE * _SIDE, np.float32)
            continue
        fine = (grey - uniform_filter(grey, _DETAIL)).ravel()
        length = float(np.linalg.norm(fine))
        yield fine / length if length > _LEAST_DETAIL * _SIDE else np.zeros_like(fine)
