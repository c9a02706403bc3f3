"""`predict --explain-text`: a table of the words that spoke for the predicted class of each page."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.index.cells import to_cell
from docclf_cli.data.index.file_list import FileList
from docclf_cli.data.loading.texts import mode_of
from docclf_cli.data.text.read import page_text
from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
from docclf_cli.engine.inference.text_reasons import TextReasons
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, Progress
from docclf_cli.files import write_text
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.predict.page_predictions import PagePrediction, pages_to_explain

MOST = 1000  # pages; each is read again
COLUMNS = ("path", "page", "class", "word", "log_odds", "source")
logger = logging.getLogger("docclf")


@dataclass(frozen=True, eq=False)
class TextExplainer:
    """Writes the words that spoke for pages that need review, or for all where no threshold was asked for; `MOST` at most.

    Attributes:
        file: The table.
        reasons: Of the model.
        reader: How pages are read.
    """

    file: Path
    reasons: TextReasons
    reader: PageReader

    @classmethod
    def of(cls, file: Path, spec: EnsembleSpec, reader: PageReader, *, overwrite: bool) -> TextExplainer:
        """Load the text branch of a single member.

        Raises:
            InputError: There are several models, the model does not read, or the file is there.
        """
        if len(spec.members) > 1:
            raise InputError("--explain-text needs a single model", "name one run")
        if file.exists() and not overwrite:
            raise InputError(f"--explain-text: {file} exists", "name a new file, or add --overwrite")
        return cls(file, TextReasons.of(spec.members[0]), reader)

    def __call__(self, pages: Iterable[PagePrediction], files: FileList, emit: Emit, stop: StopFlag) -> int:
        """Write the table, and return how many pages it explains.

        Raises:
            Interrupted: `stop` was set.
        """
        chosen, more = pages_to_explain(pages, MOST)
        if more:
            logger.info("--explain-text: only the first %d pages are explained", MOST)
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(COLUMNS)
        explained = 0
        for done, page in enumerate(chosen, 1):
            stop.raise_if_set("stopped while words were explained; all tables are written")
            (path, root), number = files.path(page.row), max(0, page.page - 1)
            text = page_text(path, number, mode_of(self.reasons.branch.source), reader=self.reader, root=root)
            label = self.reasons.class_names[page.chosen]
            words = self.reasons(text.text, label)
            explained += bool(words)
            for word, gain in words:
                writer.writerow(
                    [to_cell(page.shown), number + 1, to_cell(label), to_cell(word), f"{gain:.3f}", text.source]
                )
            emit(Progress("explaining pages", done, len(chosen)))
        write_text(self.file, table.getvalue())
        return explained
