"""Finds the pages of a PDF whose end is missing, as after a broken download: pages that are whole are read, the others are lost.

A PDF tells at its end where its objects are; without it pdfium opens nothing, or draws pages whose content is gone as blank
ones. The objects themselves stand in the file one after another, so they are found by reading through it, and a new end that
names them is put after it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_BYTES = 2**29  # of a file that is read as a whole
_MAX_STREAM = 2**26  # bytes of a decompressed stream that holds objects
TAIL = 2048  # bytes at the end in which a whole file says that it ends
_OBJECT = re.compile(rb"(?<!\d)(\d{1,8})\s+(\d{1,5})\s+obj\b")
_REFERENCE = re.compile(rb"(\d{1,8})\s+\d{1,5}\s+R\b")
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_PAGES = re.compile(rb"/Type\s*/Pages\b")
_CATALOG = re.compile(rb"/Type\s*/Catalog\b")
_OF_ITS_OWN = re.compile(rb"/(?:Parent|Annots|P|B|Metadata|PieceInfo|StructParents)\s*(?:\d+\s+\d+\s+R|\[[^\]]*\]|\d+)")
_PARENT = re.compile(rb"/Parent\s+(\d{1,8})\s+\d{1,5}\s+R")
_KIDS = re.compile(rb"/Kids\s*\[([^\]]*)\]")
_CONTENTS = re.compile(rb"/Contents\s*(\[[^\]]*\]|\d+\s+\d+\s+R)")


@dataclass(frozen=True)
class RepairedPdf:
    """A PDF with a new end.

    Attributes:
        content: The file.
        pages: For each page of the file before it broke, as far as is known, its number in `content`; None for a lost one.
    """

    content: bytes
    pages: tuple[int | None, ...]


@dataclass
class _Object:
    """An object that is whole: its text, where it stands (-1 in a compressed stream), and its stream if it has one."""

    text: bytes
    offset: int = -1
    generation: int = 0
    stream: bytes | None = None


@dataclass
class _Objects:
    """The objects of a file by number; a later one of the same number replaces an earlier one."""

    found: dict[int, _Object] = field(default_factory=dict)

    def needed_are_there(self, page: int) -> bool:
        """Whether everything that a page is drawn from is whole."""
        seen, left = {page}, [page]
        while left:
            one = self.found.get(left.pop())
            if one is None:
                return False
            if len(seen) > 1 and (_PAGES.search(one.text) or _CATALOG.search(one.text)):
                continue
            text = _OF_ITS_OWN.sub(b"", one.text)
            fresh = {int(number) for number in _REFERENCE.findall(text)} - seen
            fresh = {number for number in fresh if not self._is_page(number)}
            seen |= fresh
            left += fresh
        return self._inherits(page) and self._contents_can_be_read(page)

    def _is_page(self, number: int) -> bool:
        one = self.found.get(number)
        return one is not None and _PAGE.search(one.text) is not None

    def _inherits(self, page: int) -> bool:
        """Whether the size and the resources of a page are told, by itself or by what it is below."""
        wanted, seen = {b"/MediaBox", b"/Resources"}, set[int]()
        while page not in seen and (one := self.found.get(page)) is not None:
            seen.add(page)
            wanted -= {key for key in wanted if key in one.text}
            above = _PARENT.search(one.text)
            if not wanted or above is None:
                break
            page = int(above[1])
        return not wanted

    def _contents_can_be_read(self, page: int) -> bool:
        """Whether the streams of a page can be decompressed: those of an encrypted file cannot."""
        contents = _CONTENTS.search(self.found[page].text)
        for number in _REFERENCE.findall(contents[1]) if contents else ():
            one = self.found[int(number)]
            if one.stream is not None and re.search(rb"/Filter\s*\[?\s*/FlateDecode\s*[\]/>]", one.text):
                try:
                    zlib.decompressobj().decompress(one.stream, _MAX_STREAM)
                except zlib.error:
                    return False
        return True

    def pages(self) -> tuple[list[int], bool]:
        """Numbers of the page objects in their order, and whether the tree of the pages is there to tell it."""
        ordered: list[int] = []
        top = [number for number, one in self.found.items() if _PAGES.search(one.text) and not _PARENT.search(one.text)]
        if top:
            seen, left = set(top[-1:]), top[-1:]
            while left:
                number = left.pop(0)
                one = self.found.get(number)
                kids = None if one is None or not _PAGES.search(one.text) else _KIDS.search(one.text)
                if kids is None:
                    ordered.append(number)
                    continue
                below = [kid for kid in map(int, _REFERENCE.findall(kids[1])) if kid not in seen]
                seen.update(below)
                left = below + left
        if any(number in self.found for number in ordered):
            return ordered, True
        return [number for number, one in self.found.items() if _PAGE.search(one.text)], False


def is_cut_off(tail: bytes) -> bool:
    """Whether the last bytes of a file do not say that a PDF ends here."""
    return b"%%EOF" not in tail[-TAIL:]


def repair_pdf(content: bytes) -> RepairedPdf | None:
    """Give a PDF whose end is missing a new end; None where no page of it is whole, or it is encrypted."""
    content = content[max(0, content.find(b"%PDF")) :]
    if b"/Encrypt" in content:
        return None
    objects = _Objects()
    for number, one in _objects_of(content):
        objects.found[number] = one
        if re.search(rb"/Type\s*/ObjStm\b", one.text) and one.stream is not None:
            objects.found.update(_objects_inside(one))
    numbers, order_is_known = objects.pages()
    whole = [number for number in numbers if number in objects.found and objects.needed_are_there(number)]
    if not whole:
        return None
    place = {number: position for position, number in enumerate(whole)}
    pages = [place.get(number) for number in numbers]
    if not order_is_known:
        pages.append(None)  # how many pages came after these is not known
    return RepairedPdf(_with_new_end(content, objects.found, whole), tuple(pages))


def _objects_of(content: bytes) -> Iterator[tuple[int, _Object]]:
    position = 0
    while (found := _OBJECT.search(content, position)) is not None:
        position = found.end()
        end = content.find(b"endobj", position)
        if end < 0:
            return
        start = content.find(b"stream", position, end)
        stream = None
        text = content[position:end]
        if start >= 0 and content[start - 3 : start] != b"end":
            close = content.find(b"endstream", start)
            if close < 0:
                return
            end = content.find(b"endobj", close)
            if end < 0:
                return
            text, stream = content[position:start], content[start + 6 : close].lstrip(b"\r").removeprefix(b"\n")
        elif _OBJECT.search(text):  # it has no end of its own
            continue
        yield int(found[1]), _Object(text, found.start(), int(found[2]), stream)
        position = end


def _objects_inside(container: _Object) -> dict[int, _Object]:
    """The objects that a compressed stream holds."""
    count, first = re.search(rb"/N\s+(\d+)", container.text), re.search(rb"/First\s+(\d+)", container.text)
    if count is None or first is None or container.stream is None:
        return {}
    try:
        data = zlib.decompressobj().decompress(container.stream, _MAX_STREAM)
    except zlib.error:
        return {}
    start = int(first[1])
    header = data[:start].split()[: 2 * int(count[1])]
    if not all(word.isdigit() for word in header):
        return {}
    numbers, offsets = [int(word) for word in header[::2]], [int(word) for word in header[1::2]]
    ends = [*offsets[1:], len(data) - start]
    return {
        number: _Object(data[start + begin : start + end])
        for number, begin, end in zip(numbers, offsets, ends, strict=False)
    }


def _with_new_end(content: bytes, objects: dict[int, _Object], pages: list[int]) -> bytes:
    made, places = [content, b"\n"], dict[int, tuple[int, int]]()
    position = len(content) + 1

    def add(number: int, text: bytes) -> None:
        nonlocal position
        piece = b"%d 0 obj\n%s\nendobj\n" % (number, text)
        places[number] = position, 0
        made.append(piece)
        position += len(piece)

    for number, one in objects.items():
        if one.offset >= 0:
            places[number] = one.offset, one.generation
        else:
            add(number, one.text)
    root, tree = max(objects) + 1, max(objects) + 2
    kids = b" ".join(b"%d %d R" % (number, objects[number].generation) for number in pages)
    add(tree, b"<< /Type /Pages /Count %d /Kids [ %s ] >>" % (len(pages), kids))
    add(root, b"<< /Type /Catalog /Pages %d 0 R >>" % tree)
    table = b"".join(b"%d 1\n%010d %05d n \n" % (number, *places[number]) for number in sorted(places))
    made.append(b"xref\n0 1\n0000000000 65535 f \n%strailer\n" % table)
    made.append(b"<< /Size %d /Root %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (tree + 1, root, position))
    return b"".join(made)
