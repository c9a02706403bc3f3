"""Builds the competition's file: `ID,target`, one row per page, in the order of `sample_submission.csv`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.index import submission_ids, submission_targets
from docclf_cli.ensembling.documents import document_predictions
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import DataConfig
from docclf_cli.registry import did_you_mean
from docclf_cli.results.predictions import Predictions
from docclf_cli.tasks.predict.page_predictions import UNREADABLE, PagePredictions
from docclf_cli.text import composed, plural


@dataclass(frozen=True, eq=False)
class Submission:
    """The pages and the targets of a submission.

    Attributes:
        ids: IDs in the order of the submission.
        places: Row of the predictions for each ID, int64 [n].
        targets: Target of each class name.
        fill: Class of unreadable pages, or None.
        complete: Whether every page must have a class; otherwise the target of an unreadable page is empty.
        by_document: Whether the rows are documents, and `places` count these.
    """

    ids: np.ndarray
    places: np.ndarray
    targets: Mapping[str, str]
    fill: str | None = None
    complete: bool = True
    by_document: bool = False

    @classmethod
    def of_held_out(
        cls, ids: np.ndarray, config: DataConfig, class_names: Sequence[str], fill: str | None = None
    ) -> Submission:
        """Build the table for held-out pages in their own order, which is not submitted.

        Raises:
            InputError: `fill` is no class.
        """
        return cls(ids, np.arange(len(ids)), _targets(config, class_names, fill), fill, complete=False)

    @classmethod
    def of(
        cls,
        index: DocumentIndex,
        config: DataConfig,
        class_names: Sequence[str],
        fill: str | None = None,
        *,
        asked: bool = True,
    ) -> Submission:
        """Build the submission for the pages of an index.

        Args:
            index: The pages.
            config: Their data section.
            class_names: Names along the class axis.
            fill: Class of unreadable pages.
            asked: Whether the user asked for a submission; else each page needs a class only if the data lists pages.

        Raises:
            InputError: The submission asks for other pages, or `fill` is no class.
        """
        wanted = submission_ids(config)
        names, row_of = index.ids, index.row_of
        by_document = bool(index.rows_of_document) and (
            wanted is None or not set(map(composed, wanted.tolist())) <= row_of.keys()
        )
        if by_document:
            names = np.array(list(dict.fromkeys(index.documents.tolist())), dtype=object)
            row_of = {composed(name): place for place, name in enumerate(names.tolist())}
            row_of = {
                name.rpartition(".")[0]: place for name, place in row_of.items()
            } | row_of  # a table may omit suffixes
        ids = names if wanted is None else wanted  # as the file spells them
        if missing := [name for name in ids.tolist() if composed(name) not in row_of]:
            raise InputError(
                f"sample_submission.csv: {len(missing)} of its pages are not in the test split: {missing[0]}"
            )
        places = np.array([row_of[composed(name)] for name in ids.tolist()])
        complete = asked or wanted is not None
        return cls(ids, places, _targets(config, class_names, fill), fill, complete, by_document)

    def rows(self, predictions: PagePredictions, class_names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield (ID, target) of each page or document.

        Raises:
            InputError: A page could not be read, and no fill class is given.
        """
        rows = predictions.of_documents() if self.by_document else predictions.of_pages()
        yield from self.named(np.fromiter((one.chosen for one in rows), np.int64), class_names)

    def chosen(self, predictions: Predictions) -> np.ndarray:
        """The class index of each page or document that `places` count, `UNREADABLE` where there is none."""
        return (document_predictions(predictions) if self.by_document else predictions).predicted()

    def named(self, chosen: np.ndarray, class_names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """The same from class indices, int64 [n] in the order of the predictions, `UNREADABLE` where there is none.

        Raises:
            InputError: A page could not be read, and no class fills its place.
        """
        self.check(chosen, "repeat the command with --fill CLASS to write it; all other files are written")
        for name, index in zip(self.ids.tolist(), chosen[self.places].tolist(), strict=True):
            class_name = composed(self.fill or "") if index == UNREADABLE else class_names[index]
            yield str(name), self.targets[class_name] if class_name else ""

    def check(self, chosen: np.ndarray, hint: str = "name one with --fill CLASS") -> None:
        """Ask for the class of unreadable pages where each must have one; `chosen` as for `named`.

        Raises:
            InputError: A page could not be read, and no class fills its place.
        """
        unreadable = int((chosen[self.places] == UNREADABLE).sum())
        if unreadable and self.complete and self.fill is None:
            what = plural(unreadable, "page", "pages")
            raise InputError(f"{what} of the submission cannot be read, and it needs a class for each", hint)


def _targets(config: DataConfig, class_names: Sequence[str], fill: str | None) -> Mapping[str, str]:
    targets = submission_targets(config, class_names)
    if fill is not None and composed(fill) not in targets:
        raise InputError(f"--fill: '{fill}' is no class{did_you_mean(fill, tuple(targets))}")
    return targets
