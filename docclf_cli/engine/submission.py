"""The competition's file: `ID,target`, one row a page, in the order of `sample_submission.csv`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from docclf_cli.data.documents import DocumentIndex
from docclf_cli.data.index import submission_ids, submission_targets
from docclf_cli.engine.verdicts import UNREADABLE, Verdict
from docclf_cli.errors import InputError
from docclf_cli.names import composed
from docclf_cli.profile.schema import DataConfig
from docclf_cli.registry import did_you_mean


@dataclass(frozen=True, eq=False)
class Submission:
    """What a submission needs besides the predictions.

    Attributes:
        ids: In the order of the submission.
        places: Row of the predictions for each ID.
        targets: What the competition calls each class.
        fill: Class of pages that cannot be read; None where they are an error.
    """

    ids: np.ndarray
    places: np.ndarray
    targets: Mapping[str, str]
    fill: str | None = None

    @classmethod
    def of_held_out(
        cls, ids: np.ndarray, config: DataConfig, class_names: Sequence[str], fill: str | None = None
    ) -> Submission:
        """For held-out pages in their own order.

        Raises:
            InputError: `fill` is no class.
        """
        return cls(ids, np.arange(len(ids)), _targets(config, class_names, fill), fill)

    @classmethod
    def of(
        cls, index: DocumentIndex, config: DataConfig, class_names: Sequence[str], fill: str | None = None
    ) -> Submission:
        """For the pages of an index.

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
        return cls(ids, places, _targets(config, class_names, fill), fill)

    def rows(self, verdicts: Iterable[Verdict], class_names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(ID, target) of each page.

        Raises:
            InputError: A page could not be read, and no class fills its place.
        """
        yield from self.named(np.fromiter((verdict.chosen for verdict in verdicts), np.int64), class_names)

    def named(self, chosen: np.ndarray, class_names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """The same from class indices, int64 [n] in the order of the predictions, `UNREADABLE` where there is none.

        Raises:
            InputError: A page could not be read, and no class fills its place.
        """
        unreadable = int((chosen[self.places] == UNREADABLE).sum())
        if unreadable and self.fill is None:
            raise InputError(
                f"{unreadable} pages cannot be read: a submission needs a class for them",
                "the same command with --fill CLASS writes it at once; all other files are written",
            )
        for name, index in zip(self.ids.tolist(), chosen[self.places].tolist(), strict=True):
            class_name = class_names[index] if index != UNREADABLE else composed(str(self.fill))
            yield str(name), self.targets[class_name]


def _targets(config: DataConfig, class_names: Sequence[str], fill: str | None) -> Mapping[str, str]:
    targets = submission_targets(config, class_names)
    if fill is not None and composed(fill) not in targets:
        raise InputError(f"--fill: '{fill}' is no class{did_you_mean(fill, tuple(targets))}")
    return targets
