"""Writes several parts of one packet; light, so that a process with little memory can do it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from docclf_cli.data.images.page_files import PDF_SUFFIX
from docclf_cli.tasks.split_packets.pdf_parts import PdfPacket
from docclf_cli.tasks.split_packets.tiff_parts import write_tiff_part


def write_parts(file: Path, parts: Sequence[tuple[Path, int, int]]) -> None:
    """Write ranges of pages of a PDF or TIFF as files of their own.

    Args:
        file: The packet.
        parts: Target, first and last page of each.

    Raises:
        InputError: Pages cannot be copied.
        ResourceError: The disk is full.
    """
    if file.suffix.lower() == PDF_SUFFIX:
        with PdfPacket(file) as packet:
            for part in parts:
                packet.write(*part)
    else:
        for part in parts:
            write_tiff_part(file, *part)
