"""`predict --explain`: pictures of pages on which red shows what spoke for the predicted class."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from docclf_cli.data.images.decode import UnreadablePage
from docclf_cli.data.images.page_files import PageReader
from docclf_cli.data.index.file_list import FileList
from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
from docclf_cli.engine.inference.heat_maps import HeatMaps, require_heat_maps
from docclf_cli.engine.inference.heat_pictures import page_with_heat
from docclf_cli.errors import InputError
from docclf_cli.events import Emit, Progress
from docclf_cli.files import save_with
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.stop import StopFlag
from docclf_cli.tasks.predict.page_predictions import PagePrediction, pages_to_explain

MOST = 200  # pictures; each costs a forward and a backward pass
LONGEST_SIDE = 1000
logger = logging.getLogger("docclf")


@dataclass(frozen=True, eq=False)
class Explainer:
    """Draws heat maps of the pages that need review, or of all where no threshold was asked for; `MOST` at most.

    Attributes:
        folder: Where the pictures go.
        maps: The model.
        reader: How pages are read.
    """

    folder: Path
    maps: HeatMaps
    reader: PageReader

    @classmethod
    def of(cls, folder: Path, spec: EnsembleSpec, config: RuntimeConfig, reader: PageReader) -> Explainer:
        """Load the model of a single member without views.

        Raises:
            InputError: There are several models or views, the folder has content, or a package is missing.
        """
        require_heat_maps()
        if len(spec.members) > 1 or spec.views is not None:
            raise InputError("--explain needs a single model without --tta", "leave one of them out")
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"--explain: {folder} has content", "name a new folder")
        return cls(folder, HeatMaps.of(spec.members[0], config), reader)

    def __call__(self, pages: Iterable[PagePrediction], files: FileList, emit: Emit, stop: StopFlag) -> list[Path]:
        """Write the pictures, and return their paths.

        Raises:
            Interrupted: `stop` was set.
        """
        chosen, more = pages_to_explain(pages, MOST)
        if more:
            logger.info("--explain: only the first %d pages are drawn", MOST)
        written = []
        for done, page in enumerate(chosen, 1):
            stop.raise_if_set("stopped while heat maps were drawn; all tables are written")
            try:
                written.append(self._draw(page, files))
            except UnreadablePage as error:  # it was readable a moment ago
                logger.warning("%s: no heat map: %s", page.shown, error.reason)
            emit(Progress("drawing heat maps", done, len(chosen)))
        return written

    def _draw(self, page: PagePrediction, files: FileList) -> Path:
        (path, root), number = files.path(page.row), max(0, page.page - 1)
        label = self.maps.class_names[page.chosen]
        picture = page_with_heat(self.maps, self.reader, path, root, number, label, LONGEST_SIDE)
        name = f"{page.row + 1:05}-{number + 1}-{_plain(path.stem)}-{_plain(label)}.jpg"
        save_with(self.folder / name, lambda file: Image.fromarray(picture).save(file, "JPEG", quality=88))
        return self.folder / name


def _plain(name: str) -> str:
    return "".join(char if char.isalnum() or char in "._-" else "_" for char in name)[:60]
