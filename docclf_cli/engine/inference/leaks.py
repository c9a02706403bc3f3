"""Finds copies of training pages among the pages to score, by their content."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from docclf_cli.data.index.copies import copies_of
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.loading.resaved import resaved_pages
from docclf_cli.engine.inference.members import Indices, trained_ids
from docclf_cli.engine.inference.trained_model import TrainedModel
from docclf_cli.errors import InputError
from docclf_cli.hardware import usable_cores
from docclf_cli.text import composed

logger = logging.getLogger("docclf")


@dataclass(frozen=True, eq=False)
class Leaks:
    """Copies of training pages among other pages.

    Attributes:
        copies: bool [n]: which pages have the content of a training page, or show its picture.
        of: The file of that training page, by row.
        all_known: Whether the training pages of all members were there to be compared.
    """

    copies: np.ndarray
    of: dict[int, str]
    all_known: bool


def find_leaks(members: Iterable[TrainedModel], index: DocumentIndex, known: Sequence[Indices]) -> Leaks:
    """Compare pages with those that members were trained on: by the bytes of their files, and by their pictures.

    Args:
        members: The members.
        index: The pages.
        known: Where their training pages may be as well, if not where they were.
    """
    members = list(members)
    found = [_training_pages(member, known) for member in members]
    trained = [pages for pages in found if pages is not None]
    files = list(dict.fromkeys(file for pages in trained for file in pages.files()))
    places = copies_of(index.files(), files)
    of = {row: files[place] for row, place in enumerate(places.tolist()) if place >= 0}
    others = np.flatnonzero(places < 0)
    config = known[0].config if known else members[0].info.data
    for pages in {tuple(pages.files()): pages for pages in trained}.values():
        resaved = resaved_pages(index.take(others), pages, config, usable_cores())
        names = pages.files()
        of |= {row: names[place] for row, place in zip(others.tolist(), resaved.tolist(), strict=True) if place >= 0}
    copies = np.isin(np.arange(len(index)), list(of))
    return Leaks(copies, dict(sorted(of.items())), len(trained) == len(found))


def say_copies_in_validation(index: DocumentIndex, own_val: int) -> None:
    """Warn of copies of training pages in a validation set of one's own, the last pages of an index."""
    files, first = index.files(), len(index) - own_val
    places = copies_of(files[first:], files[:first])
    if (count := int((places >= 0).sum())) > 0:
        row = int(np.flatnonzero(places >= 0)[0])
        logger.warning(
            "%d of %d validation pages are copies of training pages (such as %s of %s): metrics on them are too optimistic; "
            "`docclf audit` lists them", count, own_val, index.ids[first + row], index.ids[places[row]],
        )  # fmt: skip


def _training_pages(member: TrainedModel, known: Sequence[Indices]) -> DocumentIndex | None:
    """The pages that a member was trained on; None where they are not there, or not known."""
    ids, data = [composed(name) for name in trained_ids(member).tolist()], member.info.data
    own = next((each for each in known if each.config == data), None) or Indices(data)
    for indices in (own, *known):
        try:
            index = indices.of("train", member.info.class_names)
        except InputError:
            continue
        rows = [index.row_of.get(name, -1) for name in ids]
        if rows and min(rows) >= 0:
            return index.take(rows)
    return None
