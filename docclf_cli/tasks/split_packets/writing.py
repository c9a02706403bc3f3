"""Writes the parts of packets: documents into the folders of their classes, uncertain ranges uncut below `_review`."""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from docclf_cli.data.images.decode import open_page
from docclf_cli.data.images.page_files import PDF_SUFFIX
from docclf_cli.data.index.file_list import FileList
from docclf_cli.errors import ResourceError
from docclf_cli.files import TEMP_PREFIX, sweep_temporary
from docclf_cli.page_ids import is_paged
from docclf_cli.results.packets import PacketPart
from docclf_cli.tasks.predict.sorting import REVIEW, below_its_folder, folder_names, place_numbered
from docclf_cli.tasks.split_packets.pdf_parts import PdfPacket, require_pdf_writer
from docclf_cli.tasks.split_packets.tiff_parts import write_tiff_part
from docclf_cli.text import plural

WritePart = Callable[[Path, int, int], object]  # target, first and last page, counted from 1
logger = logging.getLogger("docclf")


class PartsFolder:
    """Where parts go. Files that are there are never replaced: the same part is left as it is, another one gets a number.

    Args:
        target: Parent of the class folders.
        files: The packets.
        class_names: Names along the class axis.

    Raises:
        InputError: A packet is a PDF, and parts of PDFs cannot be written here.

    Attributes:
        written: Number of files written.
        signatures: Number of signatures in the packets; none holds for a part.
    """

    def __init__(self, target: Path, files: FileList, class_names: Sequence[str]) -> None:
        self.target, self._files = target, files
        self.written = self.signatures = 0
        self._signed: list[str] = []
        self._folder_of = dict(zip(class_names, folder_names(class_names), strict=True))
        if any(self._is_pdf(row) for row in range(len(files))):
            require_pdf_writer()
        if target.is_dir():
            sweep_temporary(target)

    def _is_pdf(self, row: int) -> bool:
        return self._files[row].name.lower().endswith(PDF_SUFFIX)

    def write(self, row: int, parts: Sequence[PacketPart]) -> list[PacketPart]:
        """Write the parts of a packet, and return them with the files that they are in.

        Parts that need review are written together, as the range between sure cuts that they lie in.

        Args:
            row: Of the packet in the list of files.
            parts: Its documents.

        Raises:
            InputError: Pages of it cannot be copied.
            ResourceError: The disk is full, or the folder cannot be written to.
        """
        name = below_its_folder(self._files[row])
        unsure = {part.uncut for part in parts if part.review}
        found, placed = list[PacketPart](), dict[tuple[int, ...], Path]()
        with self._opened(row) as write_part:
            for part in parts:
                assert part.uncut is not None and part.first_page is not None and part.last_page is not None
                whole = part.uncut in unsure
                pages = part.uncut if whole else (part.first_page, part.last_page)
                if pages not in placed:
                    folder = REVIEW if whole or part.predicted is None else self._folder_of[part.predicted]
                    marked = name.with_name(f"{name.stem}_p{pages[0]}-{pages[1]}{name.suffix}")
                    placed[pages] = self._placed(write_part, pages, self.target / folder / marked)
                found.append(replace(part, file=placed[pages], review=part.review or whole))
        return found

    def say(self) -> None:
        """Warn of signatures."""
        if self._signed:
            logger.warning(
                "%s in %s: a signature holds for the whole file only, and for none of its parts",
                plural(self.signatures, "signature", "signatures"), ", ".join(self._signed[:5]),
            )  # fmt: skip

    def _placed(self, write_part: WritePart, pages: tuple[int, ...], wanted: Path) -> Path:
        temp = self.target / f"{TEMP_PREFIX}{secrets.token_hex(8)}{wanted.suffix}"
        try:
            wanted.parent.mkdir(parents=True, exist_ok=True)
            try:
                write_part(temp, pages[0], pages[-1])
                place, is_new = place_numbered(temp, wanted)
            finally:
                temp.unlink(missing_ok=True)
        except OSError as error:
            raise ResourceError(f"{wanted} cannot be written: {error.strerror or error}", "see --write") from error
        self.written += is_new
        return place

    @contextlib.contextmanager
    def _opened(self, row: int) -> Iterator[WritePart]:
        """What writes pages of a packet: of a PDF and a TIFF as that kind of file; an image is copied."""
        path, root = self._files.path(row)
        if self._is_pdf(row):
            with PdfPacket(path) as packet:
                if packet.signatures:
                    self.signatures += packet.signatures
                    self._signed.append(self._files[row].shown)
                yield packet.write
        elif is_paged(path.name):
            yield lambda target, first, last: write_tiff_part(path, target, first, last)
        else:

            def copy(target: Path, first: int, last: int) -> None:
                with open_page(path, root) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file)

            yield copy
