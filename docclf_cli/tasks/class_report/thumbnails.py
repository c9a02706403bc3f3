"""Makes small JPEG images of pages for the HTML report."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence, Set

from PIL import Image

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.index import Split, load_index, load_training_index
from docclf_cli.data.loading.pages import Pages
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, Progress, silent
from docclf_cli.profile.schema import DataConfig
from docclf_cli.stop import NEVER, StopFlag

logger = logging.getLogger("docclf")
SIDE, QUALITY = 400, 55  # large enough to tell a page by when it is enlarged


def thumbnails(
    ids: Sequence[str],
    split: str,
    config: DataConfig,
    *,
    emit: Emit = silent,
    stop: StopFlag = NEVER,
) -> dict[str, bytes]:
    """Make JPEG files of pages by ID; pages that are not found or cannot be read are left out.

    Args:
        ids: IDs of the pages.
        split: Split that is searched first.
        config: The data section.
        emit: Consumer of progress events.
        stop: Polled between pages.

    Raises:
        Interrupted: `stop` was set.
    """
    found = find_pages(set(ids), split, config)
    images: dict[str, bytes] = {}
    pages: dict[int, Pages] = {}  # of each index
    for done, page_id in enumerate(ids, start=1):
        stop.raise_if_set("stopped while making thumbnails", "start the command again, or add --no-thumbnails")
        if page_id in found:
            index, row = found[page_id]
            _add(images, page_id, pages.setdefault(id(index), Pages(index, Preprocess(SIDE), config)), row)
        emit(Progress("thumbnails", done, len(ids)))
    if len(images) < len(ids):
        logger.warning("%d of %d pages have no thumbnail: not found, or not readable", len(ids) - len(images), len(ids))
    return images


def _add(images: dict[str, bytes], page_id: str, pages: Pages, row: int) -> None:
    try:
        page = pages[row]
    except UnreadablePage:
        return
    jpeg = io.BytesIO()
    Image.fromarray(page).save(jpeg, "JPEG", quality=QUALITY, optimize=True)
    images[page_id] = jpeg.getvalue()


def find_pages(ids: Set[str], split: str, config: DataConfig) -> dict[str, tuple[DocumentIndex, int]]:
    """The index of each page and its row there, by ID; an ID that is in several splits means the page of `split`."""
    found: dict[str, tuple[DocumentIndex, int]] = {}
    for index in indexes_of(split, config):
        for row, page_id in enumerate(index.ids.tolist()):
            if page_id in ids and page_id not in found:
                found[page_id] = index, row
        if len(found) == len(ids):
            break
    return found


def indexes_of(split: str, config: DataConfig) -> Iterator[DocumentIndex]:
    """Yield the index of each split that can be indexed, `split` first."""
    plain = config.model_copy(update={"groups": None, "relabel": None})
    parts: tuple[Split, ...] = ("train", "test")
    for part in sorted(parts, key=lambda name: name != split):
        try:
            yield load_training_index(plain)[0] if part == "train" else load_index(plain, part)
        except InputError as error:
            logger.debug("no thumbnails from %s: %s", part, error.message)
