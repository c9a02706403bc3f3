"""Finds near-duplicate pages: a perceptual hash proposes candidates, and registration compares each pair.

Document pages resemble one another at low resolution, so a hash alone either misses copies that are slightly rotated or
takes all pages of a form for copies. The hash therefore proposes candidates with a large radius, and `registration`
decides. Both use pages whose paper is white (`whitened`): the edge between the paper of a darker scan and the white
around it would outweigh what is on the paper. A scan that is shaded unevenly is nearer to its original where the shade is
taken away as well (`evened`), a turned one where it is not, so a pair needs to be alike in one of the two ways.
`benchmarks/audit_planted.py` measures both stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from docclf_cli.data.loading.worker_pool import init_worker, start_method
from docclf_cli.errors import ResourceError
from docclf_cli.events import Emit, Progress, silent
from docclf_cli.stop import NEVER, StopFlag
from docclf_cli.tasks.audit.registration import registered_similarity

HASH_SIZE = 12  # the hash has 144 bits
RADIUS = 32  # bits that candidates may differ in
# A scan that lies askew by up to 3 degrees is within 1 degree of one of these turns, which the hash bears.
TURNS = (0, -2, 2)
SIMILARITY = 0.75  # at least this similar pages are near duplicates
_BLANK = 3.0  # deviation of grey values below which a page shows nothing that could be compared
_PAPER = 95  # percentile of the grey values of a page, pure white left out, that is taken for the tone of its paper
_SHADE = 15  # pixels around each in which some paper shows
_DARKEST = 64.0  # grey value: what is darker all around is ink, not shaded paper
_CHUNK, _BLOCK = 64, 256

STOPPED = ("stopped; nothing is written", "start the command again; pages already read are kept")

Grey = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Near duplicates among some pages.

    Attributes:
        first: Row of one page of each pair, int64 [n].
        second: Row of the other, larger than `first`.
        similarity: Correlation of their fine detail, float32 [n].
    """

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray


def find_near_duplicates(
    rows: np.ndarray, grey: Grey, *, workers: int = 0, similarity: float = SIMILARITY,
    emit: Emit = silent, stop: StopFlag = NEVER,
) -> Pairs:  # fmt: skip
    """Find the pairs of pages that are copies of one another: recompressed, resized, a little askew, darker or shaded.

    Args:
        rows: Which pages, int64 [n], each once; blank pages have no near duplicates.
        grey: Gives the pages of some rows, uint8 [rows, SIDE, SIDE], aspect ratio kept on white.
        workers: Processes to hash with; below two it happens in this one.
        similarity: Pages at least this similar are near duplicates.
        emit: Consumer of progress.
        stop: Polled between blocks of pages and pairs.

    Raises:
        ResourceError: A hashing process died.
        Interrupted: `stop` was set.
    """
    none = np.zeros((0, len(LIGHTS), len(TURNS), HASH_SIZE**2), bool)
    hashes = np.concatenate([none, *_hashed(rows, grey, workers, emit, stop)])
    shows = np.array([bits.any() for bits in hashes], dtype=bool)
    rows, hashes = rows[shows], hashes[shows]
    proposed = np.concatenate([np.stack(candidates(hashes[:, light])) for light in range(len(LIGHTS))], axis=1)
    one, other = np.unique(proposed, axis=1)
    found = np.zeros(len(one), dtype=np.float32)
    for start in range(0, len(one), _BLOCK):
        block = slice(start, start + _BLOCK)
        both = [grey(rows[side[block]]) for side in (one, other)]
        for light in LIGHTS:
            found[block] = np.maximum(found[block], registered_similarity(*map(light, both)))
        stop.raise_if_set(*STOPPED)
        emit(Progress("comparing pairs", min(start + _BLOCK, len(one)), len(one)))
    kept = found >= similarity
    ends = np.sort(np.stack([rows[one[kept]], rows[other[kept]]]), axis=0)
    return Pairs(ends[0], ends[1], found[kept])


def hash_pages(pages: np.ndarray) -> np.ndarray:
    """Compute perceptual hashes (ImageHash's `phash`) of grey pages and of their rotations.

    Args:
        pages: uint8 [n, SIDE, SIDE].

    Returns:
        bool [n, lights, turns, 144], as `whitened` and as `evened`; all False for a blank page.
    """
    import imagehash
    from PIL import Image

    bits = np.zeros((len(pages), len(LIGHTS), len(TURNS), HASH_SIZE**2), dtype=bool)
    seen = [light(pages) for light in LIGHTS]
    for number in [number for number, page in enumerate(pages) if not is_blank(page)]:
        for light, white in enumerate(seen):
            page = Image.fromarray(white[number])
            for place, degrees in enumerate(TURNS):
                turned = page.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=255) if degrees else page
                bits[number, light, place] = imagehash.phash(turned, HASH_SIZE).hash.ravel()
    return bits


def is_blank(page: np.ndarray) -> bool:
    """Return whether a grey page is blank; pure white, which also pads the square, is not counted."""
    toned = page[page < 255]
    return bool(toned.size == 0 or toned.std() < _BLANK)


def whitened(pages: np.ndarray) -> np.ndarray:
    """Brighten pages until their paper is as white as the padding around it.

    Contrast is not changed: neither the hash nor the registration depends on it.

    Args:
        pages: uint8 [n, H, W], on white squares.

    Returns:
        uint8 [n, H, W].
    """
    white = pages.copy()
    for page in white:
        toned = page[page < 255]
        if len(toned):
            np.minimum(page, 255 - (lift := 255 - int(np.percentile(toned, _PAPER))), out=page)
            page += np.uint8(lift)
    return white


def evened(pages: np.ndarray) -> np.ndarray:
    """Brighten each part of a page until its paper is white, so that a shade over the page is gone.

    Args:
        pages: uint8 [n, H, W], on white squares.

    Returns:
        uint8 [n, H, W].
    """
    from scipy.ndimage import maximum_filter, uniform_filter

    even = pages.copy()
    for page in even:
        toned = page < 255
        if not toned.any():
            continue
        # Padding is no paper: it would make the edge of a shaded page look dark.
        down, across = np.flatnonzero(toned.any(axis=1)), np.flatnonzero(toned.any(axis=0))
        inside = page[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
        paper = maximum_filter(inside.astype(np.float32), _SHADE, mode="nearest")
        paper = np.maximum(uniform_filter(paper, _SHADE, mode="nearest"), _DARKEST)
        inside[:] = np.minimum(inside * (255 / paper), 255)
    return even


LIGHTS = (whitened, evened)


def candidates(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find pairs of pages where a rotation of one has nearly the hash of the other.

    Hashes are compared in blocks as matrix products: with bits as ±1, the product is equal bits minus different bits.

    Args:
        hashes: bool [n, turns, bits].

    Returns:
        Rows of both pages of each pair, int64, the first the smaller.
    """
    count, turns, bits = hashes.shape
    signs = np.where(hashes, np.float32(1), np.float32(-1))
    plain = signs[:, 0].T
    found = [np.zeros((2, 0), dtype=np.int64)]
    for start in range(0, count, _BLOCK):
        block = signs[start : start + _BLOCK]
        near = np.zeros((len(block), count), dtype=bool)
        for turn in range(turns):
            near |= block[:, turn] @ plain >= bits - 2 * RADIUS
        one, other = np.nonzero(near)
        found.append(np.stack([one + start, other]))
    pairs = np.sort(np.concatenate(found, axis=1), axis=0)
    pairs = np.unique(pairs[:, pairs[0] != pairs[1]], axis=1)
    return pairs[0], pairs[1]


def linked(count: int, edges: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Which nodes hang together.

    Args:
        count: Number of nodes.
        edges: Ends of links, pairs of int64 arrays.

    Returns:
        Number of each node's component, int64 [count].
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one = np.concatenate([ends[0] for ends in edges])
    other = np.concatenate([ends[1] for ends in edges])
    graph = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _hashed(rows: np.ndarray, grey: Grey, workers: int, emit: Emit, stop: StopFlag) -> Iterator[np.ndarray]:
    chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    done = 0
    for chunk in _in_processes((grey(chunk) for chunk in chunks), workers if len(chunks) > 1 else 0):
        done += len(chunk)
        stop.raise_if_set(*STOPPED)
        emit(Progress("hashing pages", done, len(rows)))
        yield chunk


def _in_processes(chunks: Iterator[np.ndarray], workers: int) -> Iterator[np.ndarray]:
    if workers < 2:
        yield from map(hash_pages, chunks)
        return
    pool = ProcessPoolExecutor(workers, get_context(start_method()), initializer=init_worker)
    try:
        yield from pool.map(hash_pages, chunks)
    except BrokenProcessPool as error:
        raise ResourceError(
            "a process that hashes pages died", "memory may have run out: set runtime.workers lower"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
