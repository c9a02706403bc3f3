"""IDs of pages: a page of a file with several is `contract.pdf#3`, every other page has the name of its file.

The part before `#` is the document. Pages count from 1.
"""

from __future__ import annotations

import re

PAGED_SUFFIXES = (".pdf", ".tif", ".tiff")  # files that must be opened to know how many pages they have
_PAGE = re.compile(r"(.+\.(?:pdf|tiff?))#([1-9][0-9]{0,8})", re.IGNORECASE | re.DOTALL)


def is_paged(name: str) -> bool:
    """Whether a file of this name can have several pages."""
    return name.lower().endswith(PAGED_SUFFIXES)


def page_id(document: str, page: int) -> str:
    """The ID of a page of a document, counted from 1."""
    return f"{document}#{page}"


def split_page_id(name: str) -> tuple[str, int]:
    """The document that an ID names and the page, counted from 1; 0 where it names none."""
    found = _PAGE.fullmatch(name) if "#" in name else None
    return (name, 0) if found is None else (found[1], int(found[2]))


def document_of(name: str) -> str:
    """The document of a page: the ID without its page number."""
    return split_page_id(name)[0]
