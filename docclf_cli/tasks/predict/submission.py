"""Builds the competition's file: `ID,target`, one row per page, in the order of `sample_submission.csv`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.index import submission_ids, submission_targets
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import DataConfig
from docclf_cli.registry import did_you_mean
from docclf_cli.tasks.predict.page_predictions import UNREADABLE, PagePrediction
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
    """

    ids: np.ndarray
    places: np.ndarray
    targets: Mapping[str, str]
    fill: str | None = None
    complete: bool = True

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
        ids = index.ids if wanted is None else wanted  # as the file spells them
        if missing := [name for name in ids.tolist() if composed(name) not in index.row_of]:
            raise InputError(
                f"sample_submission.csv: {len(missing)} of its pages are not in the test split: {missing[0]}"
            )
        places = np.array([index.row_of[composed(name)] for name in ids.tolist()])
        complete = asked or wanted is not None
        return cls(ids, places, _targets(config, class_names, fill), fill, complete)

    def rows(self, predictions: Iterable[PagePrediction], class_names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield (ID, target) of each page.

        Raises:
            InputError: A page could not be read, and no fill class is given.
        """
        yield from self.named(np.fromiter((prediction.chosen for prediction in predictions), np.int64), class_names)

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
