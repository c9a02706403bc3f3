"""Documents, packets and boundary models for the tests of `split-packets`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from text_cases import write_text_pdf

from docclf_cli.data.packets.boundary_model import BoundaryModel, PacketPage
from docclf_cli.data.packets.cues import cues_of
from docclf_cli.data.packets.fit import PacketDocument, fit_boundaries

CLASSES = ("contract", "invoice")
WORDS = {
    "contract": ("agreement", "party", "licensor", "obligation", "termination", "clause"),
    "invoice": ("amount", "total", "quantity", "article", "payment", "discount"),
}


def page_text(label: str, document: int, number: int, pages: int) -> str:
    """A page with a running header, words of its class and of its document, and "Page 1 of 3" at its foot."""
    rng = np.random.default_rng((len(label), document, number))
    own = [f"{word}{chr(97 + document % 26)}{chr(97 + document // 26)}" for word in ("firm", "town", "subject")]
    lines = [f"{label.title()} {own[0]}"]
    lines += [" ".join(rng.choice([*WORDS[label], *own], 5)) for _ in range(6 if number == pages else 14)]
    return "\n".join([*lines, f"Page {number} of {pages}"])


def write_documents(folder: Path, per_class: int) -> Path:
    """Class folders of PDFs with one to three pages."""
    for label in CLASSES:
        for number in range(per_class):
            count = 1 + number % 3
            texts = [page_text(label, number, page, count) for page in range(1, count + 1)]
            write_text_pdf(folder / label / f"{number}.pdf", texts)
    return folder


def write_packet(path: Path, documents: Sequence[tuple[str, int]]) -> list[tuple[int, int]]:
    """A PDF of some documents (label, number) one after another, and the first and last page of each."""
    texts, ranges = list[str](), list[tuple[int, int]]()
    for label, number in documents:
        count = 1 + number % 3
        ranges.append((len(texts) + 1, len(texts) + count))
        texts += [page_text(label, number, page, count) for page in range(1, count + 1)]
    write_text_pdf(path, texts)
    return ranges


def packet_page(label: int, document: int, number: int, pages: int, width: int, *, text: bool = True) -> PacketPage:
    """A page as a network would see it: features that tell its document, log-probabilities that tell its class."""
    rng = np.random.default_rng((label, document, number))
    image = np.full((48, 48, 3), 255, dtype=np.uint8)
    image[4 : 12 + 30 * (number < pages), 6 + document % 7 : 40] = 80
    features = np.random.default_rng((label, document)).normal(size=width) + rng.normal(size=width) / 2
    log_probs = np.log([0.8, 0.2] if label == 0 else [0.2, 0.8])
    written = page_text(CLASSES[label], document, number, pages) if text else ""
    return PacketPage(cues_of(image, (400, 500), written), features.astype(np.float32), log_probs)


def packet_documents(count: int, first: int = 0, width: int = 8) -> list[PacketDocument]:
    """Documents of one to three pages, of two classes by turns, each a group of its own."""
    found = []
    for number in range(first, first + count):
        label, pages = number % 2, 1 + number % 3
        copies = [
            tuple(packet_page(label, number, page, pages, width, text=text) for page in range(1, pages + 1))
            for text in (True, False)
        ]
        found.append(PacketDocument(label, number, tuple(copies)))
    return found


def boundary_model(width: int = 8) -> BoundaryModel:
    """A boundary model of such documents."""
    return fit_boundaries(packet_documents(30, width=width), packet_documents(12, 30, width=width), seed=0)


def with_boundaries(checkpoint: Path, target: Path, sure: bool | None = None) -> Path:
    """A copy of a checkpoint that splits packets.

    Args:
        checkpoint: What is copied.
        target: The copy.
        sure: True goes by the text alone, and is sure of everything; False likewise, and is sure of no cut. None splits after a
            fashion.
    """
    from docclf_cli.engine.checkpoints.checkpoint import Checkpoint

    found = Checkpoint.load(checkpoint)
    width = int(
        next(value for name, value in found.model.items() if name.endswith(("fc.weight", "head.weight"))).shape[1]
    )
    arrays = boundary_model(width).to_arrays()
    if sure is not None:
        for name in arrays:
            if name in ("first.weights", "last.weights"):
                arrays[name] = np.zeros_like(arrays[name])
            elif name.endswith(".calibration"):
                arrays[name] = np.array([1.0, 0.0, 0.0, 0.0])
            elif name.endswith(".held_out.probability"):
                kind = name.partition(".")[0]
                arrays |= {name: np.array([0.0, 1.0]), f"{kind}.held_out.boundary": np.array([False, sure])}
                arrays[f"{kind}.held_out.weight"] = np.ones(2)
    replace(found, boundaries=arrays).save(target)
    return target
