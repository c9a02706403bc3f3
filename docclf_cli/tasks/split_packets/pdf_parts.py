"""Parts of a PDF packet as PDFs of their own, without re-encoding and without anything of the other pages.

A part gets copies of its pages and builds everything else anew, so what only other pages or the packet lead to is not in it:
outlines, named destinations, scripts, attachments, structure trees and metadata are left out. Of a page stays what draws it,
its links to the web, its remarks, and its form fields with what is filled into them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from docclf_cli.errors import InputError
from docclf_cli.files import atomic_write

if TYPE_CHECKING:
    import pikepdf

_PAGE_KEYS = {
    "/Type", "/Parent", "/MediaBox", "/CropBox", "/BleedBox", "/TrimBox", "/ArtBox", "/Rotate", "/Resources", "/Contents",
    "/Annots", "/Group", "/UserUnit",
}  # fmt: skip
# Remarks and marks that a page shows. Left out: attached files, sounds, films, popups (they belong to other remarks).
_ANNOTATIONS = {
    "/Widget", "/Link", "/Text", "/FreeText", "/Line", "/Square", "/Circle", "/Polygon", "/PolyLine", "/Highlight", "/Underline",
    "/Squiggly", "/StrikeOut", "/Stamp", "/Caret", "/Ink", "/Watermark", "/Redact",
}  # fmt: skip
_ANNOTATION_DROPS = ("/P", "/Popup", "/IRT", "/RT", "/AA", "/Dest", "/PA", "/StructParent", "/AF", "/RichMediaContent")
_FIELD_KEYS = (
    "/FT",
    "/V",
    "/DV",
    "/Ff",
    "/DA",
    "/Q",
    "/MaxLen",
    "/Opt",
    "/DS",
    "/RV",
    "/TI",
    "/I",
)  # a field inherits these
_PRIVATE = ("/PieceInfo", "/AF", "/Metadata", "/AA", "/StructParent", "/StructParents", "/OPI", "/JS", "/LastModified")
# Content stream operators that name a resource, with its kind.
_NAMING = {
    "Tf": "/Font", "Do": "/XObject", "gs": "/ExtGState", "sh": "/Shading", "cs": "/ColorSpace", "CS": "/ColorSpace",
    "scn": "/Pattern", "SCN": "/Pattern", "DP": "/Properties", "BDC": "/Properties",
}  # fmt: skip
# qpdf keeps what it has read of a packet: of 2,000 pages 0.2 GB.
PAGES_UNTIL_OPENED_AGAIN = 200
_DEEPEST = 50  # forms within forms, and fields within fields


def require_pdf_writer(option: str = "--write") -> None:
    """Raise an `InputError` that says what to install where parts of PDFs cannot be written.

    Args:
        option: What asks for parts.

    Raises:
        InputError: The package is not installed.
    """
    if importlib.util.find_spec("pikepdf") is None:
        raise InputError(f"{option}: parts of PDF packets need the package pikepdf", "pip install 'docclf[packets]'")


class PdfPacket:
    """A PDF packet that is open for copying; a context manager.

    Args:
        path: The file; it is never written to.

    Raises:
        InputError: It cannot be opened.

    Attributes:
        signatures: Number of its signatures, none of which holds for a part.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._source = self._opened()
        self._copied = 0  # pages since it was opened
        self.signatures = sum(1 for _ in self._signatures())

    def _opened(self) -> pikepdf.Pdf:
        import pikepdf

        try:
            return pikepdf.open(self.path)
        except (pikepdf.PdfError, pikepdf.PasswordError, OSError) as error:
            raise InputError(f"{self.path}: its parts cannot be written: {_first_line(error)}") from error

    def __enter__(self) -> PdfPacket:
        return self

    def __exit__(self, *error: object) -> None:
        self._source.close()

    def write(self, target: Path, first: int, last: int) -> None:
        """Write some pages as a file of their own, whole or not at all.

        Args:
            target: The new file.
            first: First page, counted from 1.
            last: Last page.

        Raises:
            InputError: A page is so damaged that what it draws cannot be told from what others draw, or the packet has gone.
            ResourceError: The file cannot be written.
        """
        import pikepdf

        if self._copied >= PAGES_UNTIL_OPENED_AGAIN:
            self._source.close()
            self._source, self._copied = self._opened(), 0
        self._copied += last - first + 1
        try:
            with self._part(first, last) as part, atomic_write(target) as file:
                part.save(cast(BinaryIO, file), deterministic_id=True, encryption=False)
        except (pikepdf.PdfError, ValueError, RecursionError) as error:
            pages = f"page {first}" if first == last else f"pages {first} to {last}"
            raise InputError(f"{self.path}: {pages} cannot be copied: {_first_line(error)}") from error

    def _part(self, first: int, last: int) -> pikepdf.Pdf:
        import pikepdf

        part = pikepdf.Pdf.new()
        for number in range(first - 1, last):
            part.pages.append(self._source.pages[number])
        fields: dict[str, list[Any]] = {}
        for page in part.pages:
            _clean_page(part, page.obj, fields)
        layers = []
        for found in _reached(page.obj for page in part.pages):
            _remove(found, _PRIVATE)
            if str(found.get("/Type", "")) == "/OCG":
                layers.append(found)
        self._add_form(part, fields)
        if layers:
            self._add_layers(part, layers)
        return part

    def _add_form(self, part: pikepdf.Pdf, fields: dict[str, list[Any]]) -> None:
        """List the form fields of the part, with the fonts that viewers write into them with."""
        import pikepdf

        if not fields:
            return
        new = pikepdf.Dictionary(Fields=pikepdf.Array(_field(part, name, found) for name, found in fields.items()))
        form = self._source.Root.get("/AcroForm", pikepdf.Dictionary())
        fonts = form.get("/DR", pikepdf.Dictionary()).get("/Font", pikepdf.Dictionary())
        own = {name: font if font.is_indirect else self._source.make_indirect(font) for name, font in fonts.items()}
        copies = {name: part.copy_foreign(font) for name, font in own.items()}
        new.DR = pikepdf.Dictionary(Font=pikepdf.Dictionary(copies))
        if "/DA" in form:
            new.DA = pikepdf.String(str(form.DA))
        part.Root.AcroForm = new

    def _add_layers(self, part: pikepdf.Pdf, layers: list[Any]) -> None:
        """Say which layers of the part's own pages are hidden: otherwise viewers would show them."""
        import pikepdf

        for layer in layers:
            _remove(layer, set(layer.keys()) - {"/Type", "/Name", "/Intent"})
        own = {found.objgen for found in layers}
        hidden = [part.copy_foreign(one) for one in self._hidden_layers() if one.is_indirect]
        off = pikepdf.Array(one for one in hidden if one.objgen in own)
        part.Root.OCProperties = pikepdf.Dictionary(OCGs=pikepdf.Array(layers), D=pikepdf.Dictionary(OFF=off))

    def _hidden_layers(self) -> list[Any]:
        """Layers (optional content) that the packet does not show."""
        settings: Any = self._source.Root.get("/OCProperties", {})
        shown: Any = settings.get("/D", {})
        if str(shown.get("/BaseState", "/ON")) != "/OFF":
            return list(shown.get("/OFF", []))
        on = {one.objgen for one in shown.get("/ON", [])}
        return [one for one in settings.get("/OCGs", []) if one.objgen not in on]

    def _signatures(self) -> Iterator[Any]:
        form: Any = self._source.Root.get("/AcroForm", {})
        fields = [(field, 0) for field in form.get("/Fields", [])]
        while fields:
            field, depth = fields.pop()
            if str(field.get("/FT", "")) == "/Sig" and "/V" in field:
                yield field
            if depth < _DEEPEST:
                fields += [(kid, depth + 1) for kid in field.get("/Kids", [])]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _remove(holder: Any, keys: Iterable[str]) -> None:
    for key in keys:
        if key in holder:
            del holder[key]


def _reached(pages: Iterable[Any]) -> Iterator[Any]:
    """Every dictionary and stream that pages lead to, each once if it is an object of its own."""
    import pikepdf

    seen, todo = set[tuple[int, int]](), list(pages)
    while todo:
        found = todo.pop()
        if found.is_indirect:
            if found.objgen in seen:
                continue
            seen.add(found.objgen)
        if isinstance(found, pikepdf.Array):
            todo += [one for one in found if isinstance(one, pikepdf.Object)]
        elif isinstance(found, pikepdf.Dictionary | pikepdf.Stream):
            yield found
            todo += [
                one for key, one in found.items() if isinstance(one, pikepdf.Object) and key not in ("/Parent", "/P")
            ]


def _clean_page(part: pikepdf.Pdf, page: Any, fields: dict[str, list[Any]]) -> None:
    """Keep of a page what draws it, and collect the widgets of its form fields by name."""
    import pikepdf

    _remove(page, set(page.keys()) - _PAGE_KEYS)
    kept = []
    for annotation in page.get("/Annots", []):
        if isinstance(annotation, pikepdf.Dictionary) and str(annotation.get("/Subtype", "")) in _ANNOTATIONS:
            kept.append(_clean_annotation(part, page, annotation, fields))
    _remove(page, ("/Annots",))
    if kept:
        page.Annots = pikepdf.Array(kept)
    _prune(page, kept)


def _clean_annotation(part: pikepdf.Pdf, page: Any, annotation: Any, fields: dict[str, list[Any]]) -> Any:
    """An annotation that leads to no other page; a form field becomes one that stands alone."""
    import pikepdf

    if not annotation.is_indirect:
        annotation = part.make_indirect(annotation)
    is_widget = str(annotation.Subtype) == "/Widget"
    name = _inherit(annotation) if is_widget else ""
    action = annotation.get("/A", pikepdf.Dictionary())
    _remove(annotation, (*_ANNOTATION_DROPS, "/A", "/Parent", "/Kids"))
    if str(action.get("/S", "")) == "/URI" and "/URI" in action:
        annotation.A = pikepdf.Dictionary(S=pikepdf.Name.URI, URI=action.URI)
    annotation.P = page
    if is_widget and str(annotation.get("/FT", "")) == "/Sig":  # its picture stays; it signs nothing any more
        _remove(annotation, (*_FIELD_KEYS, "/Lock", "/SV", "/T"))
        annotation.Subtype = pikepdf.Name.Stamp
    elif is_widget and "/FT" in annotation:
        fields.setdefault(name or f"field {len(fields) + 1}", []).append(annotation)
    return annotation


def _inherit(widget: Any) -> str:
    """Give a widget what it inherits from the fields above it, and return its full name."""
    names, above = list[str](), widget
    for _ in range(_DEEPEST):
        if "/T" in above:
            names.append(str(above.T))
        for key in _FIELD_KEYS:
            if key in above and key not in widget:
                widget[key] = above[key]
        if "/Parent" not in above:
            break
        above = above.Parent
    return ".".join(reversed(names))


def _field(part: pikepdf.Pdf, name: str, widgets: list[Any]) -> Any:
    """The form field of some widgets of one name, such as the buttons of a choice."""
    import pikepdf

    if len(widgets) == 1:
        widgets[0].T = pikepdf.String(name)
        return widgets[0]
    field = part.make_indirect(pikepdf.Dictionary(T=pikepdf.String(name), Kids=pikepdf.Array(widgets)))
    for widget in widgets:
        for key in set(_FIELD_KEYS) & set(widget.keys()):
            field[key] = widget[key]
        _remove(widget, (*_FIELD_KEYS, "/T"))
        widget.Parent = field
    return field


def _prune(page: Any, annotations: Iterable[Any]) -> None:
    """Give a page, and each form that it draws, resources of its own: those that its content names.

    Pages share such lists, and a list leads to all that any of the pages draws.
    """
    import pikepdf

    seen = set[tuple[int, int]]()
    todo = [page]
    for annotation in annotations:
        for looks in annotation.get("/AP", pikepdf.Dictionary()).as_dict().values():
            states = looks.as_dict().values() if isinstance(looks, pikepdf.Dictionary) else [looks]
            todo += [look for look in states if isinstance(look, pikepdf.Stream)]
    while todo:
        holder = todo.pop()
        if holder.is_indirect and holder.objgen in seen:
            continue
        seen.add(holder.objgen)
        todo += _pruned(holder)


def _pruned(holder: Any) -> list[Any]:
    """Prune the resources of a page, form or pattern, and return what it draws that has resources of its own."""
    import pikepdf

    resources = holder.get("/Resources")
    if not isinstance(resources, pikepdf.Dictionary):
        return []
    named = _names_in(holder, resources, _DEEPEST)
    own = pikepdf.Dictionary()
    for kind, entries in resources.items():
        if kind not in named or not isinstance(entries, pikepdf.Dictionary):
            own[kind] = entries
            continue
        used = {
            name: value for name, value in entries.items()
            if name in named[kind] or (kind == "/ColorSpace" and name.startswith("/Default"))
        }  # fmt: skip
        if used:
            own[kind] = pikepdf.Dictionary(used)
    holder.Resources = own
    masks = [state.get("/SMask") for _, state in own.get("/ExtGState", pikepdf.Dictionary()).items()]
    drawn = [mask.get("/G") for mask in masks if isinstance(mask, pikepdf.Dictionary)]
    for kind in ("/XObject", "/Pattern"):
        drawn += [one for _, one in own.get(kind, pikepdf.Dictionary()).items()]
    return [one for one in drawn if isinstance(one, pikepdf.Stream)]


def _names_in(holder: Any, resources: Any, depth: int) -> dict[str, set[str]]:
    """The names of resources in some content, by kind; forms without a list of their own use that of their page."""
    import pikepdf

    named: dict[str, set[str]] = {kind: set() for kind in _NAMING.values()}
    for instruction in pikepdf.parse_content_stream(holder):
        operands, operator = instruction.operands, instruction.operator
        kind = _NAMING.get(str(operator))
        if kind is not None:
            named[kind] |= {str(one) for one in operands if isinstance(one, pikepdf.Name)}
        elif str(operator) == "INLINE IMAGE":
            space = operands[0].obj.get("/CS", operands[0].obj.get("/ColorSpace"))
            named["/ColorSpace"] |= {str(space)}
    forms = resources.get("/XObject", pikepdf.Dictionary())
    for name in set(named["/XObject"]) & set(forms.keys()):
        form = forms[name]
        if str(form.get("/Subtype", "")) == "/Form" and "/Resources" not in form and depth:
            for kind, names in _names_in(form, resources, depth - 1).items():
                named[kind] |= names
    named["/ColorSpace"] |= named["/Pattern"]
    return named
