"""PDF files with text, for the tests of the text branch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

WIDTH, HEIGHT = 400, 500
IMAGE = b"q %d 0 0 %d 0 0 cm /I Do Q" % (WIDTH, HEIGHT)  # a grey image over the whole page


def shown(text: str, *, mode: int = 0, size: float = 12, x: float = 20, top: float = 460) -> bytes:
    """The drawing of lines of text (Latin-1) from `top` down; mode 3 is invisible."""
    lines = text.split("\n")
    drawn = [b"BT /F %g Tf %d Tr %g %g Td %g TL" % (size, mode, x, top, size * 1.2)]
    for line in lines:
        escaped = line.encode("latin-1").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
        drawn.append(b"(%s) Tj T*" % escaped)
    return b" ".join([*drawn, b"ET"])


def write_text_pdf(path: Path, pages: Sequence[str | bytes]) -> Path:
    """A PDF with a page for each text, or for what draws it."""
    contents = [shown(one) if isinstance(one, str) else one for one in pages]
    kids = b" ".join(b"%d 0 R" % (5 + 2 * number) for number in range(len(contents)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(contents)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 /Length 1 >>"
        b"\nstream\n\xe0\nendstream",
    ]
    for number, content in enumerate(contents):
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents %d 0 R "
            b"/Resources << /Font << /F 3 0 R >> /XObject << /I 4 0 R >> >> >>" % (WIDTH, HEIGHT, 6 + 2 * number)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    file, places = b"%PDF-1.4\n", []
    for number, text in enumerate(objects, 1):
        places.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, text)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>" % (len(objects) + 1)
    file += b"xref\n0 %d\n0000000000 65535 f \n%s%s\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1, table, trailer, len(file),
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file)
    return path


FILLER = "please the of date page number address firm amount street total due within days order from our with".split()
SAID = {
    "invoice": ["Invoice {n}", "please pay the sum of {n} within days"],
    "credit": ["Credit note {n}", "we return the sum of {n} to your account"],
    "order": ["Purchase order {n}", "please deliver {n} boxes to the address"],
}


def words_of(kind: str, number: int) -> str:
    """What a document of a kind says; no two say the same."""
    import random

    random_ = random.Random(f"{kind} {number}")
    head, line = (text.format(n=random_.randrange(1000)) for text in SAID[kind])
    filler = [" ".join(random_.choices(FILLER, k=6)) for _ in range(6)]
    return "\n".join([head, *filler[:3], line, *filler[3:]])


def write_documents(folder: Path, each: int, kinds: Sequence[str] = tuple(SAID), second_pages: bool = True) -> Path:
    """PDF files in a folder a kind, which look alike and say different things; the second page says nothing."""
    for kind in kinds:
        for number in range(each):
            pages = [words_of(kind, number), *(["2 / 2"] if second_pages and number % 3 == 0 else [])]
            write_text_pdf(folder / kind / f"{number:03}.pdf", pages)
    return folder
