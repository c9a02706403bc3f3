"""Parts of PDF packets: nothing of other pages is in them, and everything of their own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_cases import write_encrypted_pdf, write_pdf

from docclf_cli.errors import InputError
from docclf_cli.tasks.split_packets import pdf_parts
from docclf_cli.tasks.split_packets.pdf_parts import PdfPacket

pikepdf = pytest.importorskip("pikepdf", reason="extra packets")
pypdfium2 = pytest.importorskip("pypdfium2", reason="extra pdf")
PAGES = 4


def stream(pdf: Any, content: str, **keys: Any) -> Any:
    return pdf.make_stream(content.encode(), **keys)


def write_nasty_packet(path: Path) -> Path:
    """Four pages that share everything pages can share; what belongs to page N or to the packet has SECRET and its place."""
    pdf = pikepdf.Pdf.new()
    name, array, table, text = pikepdf.Name, pikepdf.Array, pikepdf.Dictionary, pikepdf.String
    font = pdf.make_indirect(table(Type=name.Font, Subtype=name.Type1, BaseFont=name.Helvetica))
    layers = [pdf.make_indirect(table(Type=name.OCG, Name=text(f"SECRET-layer-{n}"))) for n in range(1, PAGES + 1)]
    images = {
        f"/I{n}": pdf.make_stream(
            f"SECRET-image-{n}  "[:16].encode(), Type=name.XObject, Subtype=name.Image, Width=4, Height=4,
            ColorSpace=name.DeviceGray, BitsPerComponent=8, Metadata=stream(pdf, f"SECRET-image-metadata-{n}"),
        )
        for n in range(1, PAGES + 1)
    }  # fmt: skip
    forms = {
        f"/X{n}": stream(pdf, f"BT /F 9 Tf 10 30 Td (SECRET-form-{n}) Tj ET /I{n} Do", Type=name.XObject, Subtype=name.Form,
                         BBox=array([0, 0, 200, 200]))
        for n in range(1, PAGES + 1)
    }  # fmt: skip
    states = {f"/G{n}": table(Type=name.ExtGState, CA=1, SECRET=text(f"SECRET-state-{n}")) for n in range(1, PAGES + 1)}
    shared = pdf.make_indirect(
        table(
            Font=table(F=font), XObject=table({**images, **forms}), ExtGState=table(states),
            Properties=table({f"/L{n}": layer for n, layer in enumerate(layers, 1)}),
        )
    )  # fmt: skip
    for form in forms.values():
        form.Resources = shared
    for n in range(1, PAGES + 1):
        content = (
            f"/G{n} gs /OC /L{n} BDC BT /F 12 Tf 20 100 Td (SECRET-text-{n}) Tj ET EMC "
            f"q 20 0 0 20 20 20 cm /I{n} Do Q /X{n} Do"
        )
        page = table(
            Type=name.Page, MediaBox=array([0, 0, 200, 150 + n]), Resources=shared,
            PieceInfo=table(Maker=table(Private=text(f"SECRET-piece-{n}"))), Metadata=stream(pdf, f"SECRET-page-metadata-{n}"),
            AA=table(O=table(S=name.JavaScript, JS=text(f"SECRET-page-script-{n}"))), StructParents=n,
        )  # fmt: skip
        page["/Contents"] = stream(pdf, content)
        if n == 3:
            page.Rotate = 90
        pdf.pages.append(pikepdf.Page(page))
    pages = [page.obj for page in pdf.pages]
    # One field with a widget on each page, a field of its own on each page, links, remarks, attached files.
    common = pdf.make_indirect(table(FT=name.Tx, T=text("common"), V=text("shared value"), Kids=array([])))
    fields = [common]
    for n, page in enumerate(pages, 1):
        rect = array([10, 10, 60, 30])
        look = stream(
            pdf,
            f"BT /F 9 Tf (SECRET-look-{n}) Tj ET",
            Type=name.XObject,
            Subtype=name.Form,
            BBox=rect,
            Resources=shared,
        )
        kid = pdf.make_indirect(
            table(Type=name.Annot, Subtype=name.Widget, Rect=rect, Parent=common, P=page, F=4, AP=table(N=look))
        )
        common.Kids.append(kid)
        own = pdf.make_indirect(
            table(
                Type=name.Annot, Subtype=name.Widget, Rect=rect, P=page, F=4, FT=name.Tx, T=text(f"own{n}"),
                V=text(f"SECRET-value-{n}"), AA=table(K=table(S=name.JavaScript, JS=text(f"SECRET-field-script-{n}"))),
            )
        )  # fmt: skip
        fields.append(own)
        other = pages[n % PAGES]
        there = pdf.make_indirect(table(Type=name.Annot, Subtype=name.Link, Rect=rect, Dest=array([other, name.Fit])))
        script = pdf.make_indirect(
            table(
                Type=name.Annot,
                Subtype=name.Link,
                Rect=rect,
                A=table(S=name.JavaScript, JS=text(f"SECRET-link-script-{n}")),
            )
        )
        web = pdf.make_indirect(
            table(
                Type=name.Annot, Subtype=name.Link, Rect=rect,
                A=table(S=name.URI, URI=text(f"https://example.org/{n}"), Next=table(S=name.GoTo, D=array([other, name.Fit]))),
            )
        )  # fmt: skip
        note = pdf.make_indirect(
            table(Type=name.Annot, Subtype=name.Text, Rect=rect, **{"/Contents": text(f"SECRET-note-{n}")}, IRT=there)
        )
        attached = table(
            Type=name.Annot, Subtype=name.FileAttachment, Rect=rect,
            FS=table(Type=name.Filespec, F=text("a.txt"), EF=table(F=stream(pdf, f"SECRET-attached-{n}"))),
        )  # fmt: skip
        page.Annots = array([kid, own, there, script, web, note, attached])
        page.B = array([pdf.make_indirect(table(P=other, R=rect))])
    signature = pdf.make_indirect(
        table(
            Type=name.Annot, Subtype=name.Widget, Rect=array([0, 0, 5, 5]), FT=name.Sig, T=text("sign"), P=pages[0],
            V=table(Type=name.Sig, Reason=text("SECRET-signature-packet"), ByteRange=array([0, 1, 2, 3])),
        )
    )  # fmt: skip
    pages[0].Annots.append(signature)
    root = pdf.Root
    root.AcroForm = table(
        Fields=array([*fields, signature]), DR=table(Font=table(Helv=font)), XFA=text("SECRET-xfa-packet")
    )
    root.OCProperties = table(OCGs=array(layers), D=table(OFF=array([layers[1]]), Name=text("SECRET-layers-packet")))
    root.OpenAction = table(S=name.JavaScript, JS=text("SECRET-open-packet"))
    root.Names = table(
        JavaScript=table(Names=array([text("s"), table(S=name.JavaScript, JS=text("SECRET-script-packet"))])),
        EmbeddedFiles=table(Names=array([text("e"), table(EF=table(F=stream(pdf, "SECRET-embedded-packet")))])),
    )
    with pdf.open_outline() as outline:
        outline.root.extend(pikepdf.OutlineItem(f"SECRET-outline-packet {n}", n) for n in range(PAGES))
    with pdf.open_metadata() as metadata:
        metadata["dc:title"] = "SECRET-title-packet"
    pdf.docinfo["/Author"] = "SECRET-author-packet"
    pdf.save(path)
    return path


def everything(path: Path) -> str:
    """All objects of a PDF as text, with the decoded content of each stream."""
    with pikepdf.open(path) as pdf:
        found = [pdf.trailer.unparse(resolved=True).decode("latin-1")]
        for one in pdf.objects:
            found.append(one.unparse(resolved=True).decode("latin-1"))
            if isinstance(one, pikepdf.Stream):
                found.append(one.read_bytes().decode("latin-1"))
        return "\n".join(found)


@pytest.fixture(scope="module")
def packet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nasty_packet(tmp_path_factory.mktemp("nasty") / "packet.pdf")


def test_the_packet_itself_holds_all_that_is_looked_for(packet: Path) -> None:
    text = everything(packet)
    for kind in (
        "text",
        "image",
        "form",
        "state",
        "value",
        "look",
        "attached",
        "layer",
        "note",
        "piece",
        "link-script",
    ):
        assert f"SECRET-{kind}-4" in text
    for kind in ("outline", "title", "author", "script", "embedded", "open", "xfa", "signature"):
        assert f"SECRET-{kind}-packet" in text


@pytest.mark.parametrize(("first", "last"), [(1, 1), (2, 3), (4, 4)])
def test_a_part_holds_its_own_pages_only(packet: Path, tmp_path: Path, first: int, last: int) -> None:
    target = tmp_path / "part.pdf"
    with PdfPacket(packet) as source:
        source.write(target, first, last)
    text, own = everything(target), range(first, last + 1)
    for n in range(1, PAGES + 1):
        for kind in ("text", "image", "form", "state", "value", "look", "layer", "note"):
            found = f"SECRET-{kind}-{n}"
            assert (found[:16] in text if kind == "image" else found in text) == (n in own), found
    for kind in ("piece", "page-metadata", "image-metadata", "attached", "page-script", "field-script", "link-script"):
        assert f"SECRET-{kind}" not in text
    assert "-packet" not in text
    assert "shared value" in text  # what is filled into a field of several pages is on each of them


@pytest.mark.parametrize(("first", "last"), [(1, 2), (3, 4)])
def test_pages_look_as_they_did(packet: Path, tmp_path: Path, first: int, last: int) -> None:
    target = tmp_path / "part.pdf"
    with PdfPacket(packet) as source:
        source.write(target, first, last)
    with pypdfium2.PdfDocument(packet) as whole, pypdfium2.PdfDocument(target) as part:
        whole.init_forms()
        part.init_forms()
        assert len(part) == last - first + 1
        for place in range(len(part)):
            before, after = whole[first - 1 + place].render().to_numpy(), part[place].render().to_numpy()
            assert before.std() > 0
            assert np.array_equal(before, after)


def test_fields_and_links_work_on(packet: Path, tmp_path: Path) -> None:
    target = tmp_path / "part.pdf"
    with PdfPacket(packet) as source:
        source.write(target, 2, 3)
    with pikepdf.open(target) as part:
        assert sorted(str(field.T) for field in part.Root.AcroForm.Fields) == ["common", "own2", "own3"]
        (common,) = (field for field in part.Root.AcroForm.Fields if str(field.T) == "common")
        assert len(common.Kids) == 2
        assert str(common.V) == "shared value"
        links = [one.A.URI for page in part.pages for one in page.Annots if "/A" in one]
        assert sorted(map(str, links)) == ["https://example.org/2", "https://example.org/3"]
        assert [str(one.Name) for one in part.Root.OCProperties.D.OFF] == ["SECRET-layer-2"]


def test_signatures_are_counted_and_gone(packet: Path, tmp_path: Path) -> None:
    with PdfPacket(packet) as source:
        assert source.signatures == 1
        source.write(tmp_path / "part.pdf", 1, 1)
    assert "/Sig" not in everything(tmp_path / "part.pdf")


def test_the_same_part_has_the_same_bytes(packet: Path, tmp_path: Path) -> None:
    for name in ("a.pdf", "b.pdf"):
        with PdfPacket(packet) as source:
            source.write(tmp_path / name, 2, 4)
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_parts_are_the_same_where_the_packet_is_opened_again(
    packet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = []
    for pages in (200, 1):
        monkeypatch.setattr(pdf_parts, "PAGES_UNTIL_OPENED_AGAIN", pages)
        with PdfPacket(packet) as source:
            for page in (1, 2, 1):
                source.write(tmp_path / f"{pages}-{page}.pdf", page, page)
                parts.append((tmp_path / f"{pages}-{page}.pdf").read_bytes())
            assert source.signatures > 0
    assert parts[:3] == parts[3:]


def test_streams_are_not_encoded_again(tmp_path: Path) -> None:
    packet = write_pdf(tmp_path / "packet.pdf", range(3))
    with PdfPacket(packet) as source:
        source.write(tmp_path / "part.pdf", 2, 2)
    with pikepdf.open(packet) as whole, pikepdf.open(tmp_path / "part.pdf") as part:
        (before,), (after,) = whole.pages[1].get_images().values(), part.pages[0].get_images().values()
        assert before.read_raw_bytes() == after.read_raw_bytes()


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 nothing else")
    for path in (write_encrypted_pdf(tmp_path / "encrypted.pdf"), tmp_path / "broken.pdf"):
        with pytest.raises(InputError, match=path.name):
            PdfPacket(path)
