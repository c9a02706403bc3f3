"""Finds near-duplicate pages: a perceptual hash proposes candidates, and registration compares each pair.

Document pages resemble one another at low resolution, so a hash alone either misses copies that are slightly rotated or
takes all pages of a form for copies. The hash therefore proposes candidates with a large radius, and `registration`
decides. Both use pages whose paper is white (`whitened`): the edge between the paper of a darker scan and the white
around it would outweigh what is on the paper. `benchmarks/audit_planted.py` measures both stages.
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
from docclf_cli.tasks.audit.registration import registered_similarity

HASH_SIZE = 12  # the hash has 144 bits
RADIUS = 32  # bits that candidates may differ in
# A scan rotated by up to 3 degrees is within 1 degree of one of these rotations, which the hash tolerates.
TURNS = (0, -2, 2)
SIMILARITY = 0.75  # two pages at least this similar are near duplicates
_BLANK = 3.0  # standard deviation of grey values below which a page is blank
_PAPER = 95  # percentile of the grey values of a page, without pure white, that is the tone of its paper
_CHUNK, _BLOCK = 64, 256

Grey = Callable[[np.ndarray], np.ndarray]
Tick = Callable[[str, int, int], object]


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
    rows: np.ndarray,
    grey: Grey,
    *,
    workers: int = 0,
    similarity: float = SIMILARITY,
    tick: Tick = lambda task, done, total: None,
) -> Pairs:
    """Find the pairs of pages that are copies of one another: recompressed, resized, slightly rotated or darker.

    Args:
        rows: Rows of the pages, int64 [n], each once; blank pages have no near duplicates.
        grey: Returns the pages of some rows, uint8 [rows, SIDE, SIDE], aspect ratio kept on white.
        workers: Number of hashing processes; below two this process hashes.
        similarity: Two pages at least this similar are near duplicates.
        tick: Called with the task, the work done and all of it; may raise to stop.

    Raises:
        ResourceError: A hashing process died.
    """
    hashes = np.concatenate([np.zeros((0, len(TURNS), HASH_SIZE**2), bool), *_hashed(rows, grey, workers, tick)])
    has_content = np.array([bits.any() for bits in hashes], dtype=bool)
    rows = rows[has_content]
    hashes = hashes[has_content]
    one, other = candidates(hashes)
    found = np.zeros(len(one), dtype=np.float32)
    for start in range(0, len(one), _BLOCK):
        block = slice(start, start + _BLOCK)
        found[block] = registered_similarity(*(whitened(grey(rows[ends[block]])) for ends in (one, other)))
        tick("comparing pairs", min(start + _BLOCK, len(one)), len(one))
    similar = found >= similarity
    ends = np.sort(np.stack([rows[one[similar]], rows[other[similar]]]), axis=0)
    return Pairs(ends[0], ends[1], found[similar])


def hash_pages(pages: np.ndarray) -> np.ndarray:
    """Compute perceptual hashes (ImageHash's `phash`) of grey pages and of their rotations.

    Args:
        pages: uint8 [n, SIDE, SIDE].

    Returns:
        bool [n, turns, 144]; all False for a blank page.
    """
    import imagehash
    from PIL import Image

    bits = np.zeros((len(pages), len(TURNS), HASH_SIZE**2), dtype=bool)
    white = whitened(pages)
    for number in [number for number, page in enumerate(pages) if not is_blank(page)]:
        page = Image.fromarray(white[number])
        for place, degrees in enumerate(TURNS):
            turned = page.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=255) if degrees else page
            bits[number, place] = imagehash.phash(turned, HASH_SIZE).hash.ravel()
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
            lift = 255 - int(np.percentile(toned, _PAPER))
            np.minimum(page, 255 - lift, out=page)
            page += np.uint8(lift)
    return white


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


def connected_components(count: int, edges: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Find the connected components of an undirected graph.

    Args:
        count: Number of nodes.
        edges: Nodes at both ends of the edges, pairs of int64 arrays.

    Returns:
        Component of each node, int64 [count].
    """
    from scipy.sparse import coo_array, csgraph

    one = np.concatenate([ends[0] for ends in edges])
    other = np.concatenate([ends[1] for ends in edges])
    graph = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(count, count))
    return csgraph.connected_components(graph, directed=False)[1].astype(np.int64)


def _hashed(rows: np.ndarray, grey: Grey, workers: int, tick: Tick) -> Iterator[np.ndarray]:
    chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    done = 0
    for chunk in _in_processes((grey(chunk) for chunk in chunks), workers if len(chunks) > 1 else 0):
        done += len(chunk)
        tick("hashing pages", done, len(rows))
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
