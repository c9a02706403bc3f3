"""PDF and TIFF files in data roots: which pages they give, under which IDs, and that these stay together."""

import sys
from pathlib import Path

import numpy as np
import pytest
from page_cases import page, write_encrypted_pdf, write_pdf, write_tiff

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.index import load_index, load_training_index
from docclf_cli.data.index.splits import Split, folds, hold_out
from docclf_cli.data.loading.pages import Pages
from docclf_cli.errors import InputError
from docclf_cli.page_ids import document_of, page_id, split_page_id
from docclf_cli.profile.schema import DataConfig


def config(root: Path, **keys: object) -> DataConfig:
    return DataConfig.model_validate({"root": str(root), "cache": "off", **keys})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes: a PDF of three pages, a TIFF of two, files of one page."""
    root = tmp_path / "tree"
    for name in ("letter", "form"):
        (root / name).mkdir(parents=True)
    write_pdf(root / "letter" / "a.pdf", [1, 2, 3])
    write_pdf(root / "letter" / "one.PDF", [4])
    write_tiff(root / "form" / "b.tif", [5, 6])
    page(7).save(root / "form" / "c.png")
    (root / "form" / "notes.txt").write_text("no page")
    return root


def pixels(index: DocumentIndex, row: int) -> np.ndarray:
    return Pages(index, Preprocess(40), config(index.root))[row]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.pdf#3", ("a.pdf", 3)),
        ("x/a b.TIFF#12", ("x/a b.TIFF", 12)),
        ("a#3.pdf", ("a#3.pdf", 0)),
        ("a.jpg#3", ("a.jpg#3", 0)),
        ("a.pdf#0", ("a.pdf#0", 0)),
        ("a.pdf#3#4", ("a.pdf#3#4", 0)),
    ],
)
def test_an_id_names_a_document_and_a_page(name: str, parts: tuple[str, int]) -> None:
    assert split_page_id(name) == parts
    assert document_of(name) == parts[0]
    assert not parts[1] or page_id(*parts) == name


def test_every_page_of_a_folder_tree_is_a_row(tree: Path) -> None:
    index = load_index(config(tree), "train")
    ids = [
        "form/b.tif#1",
        "form/b.tif#2",
        "form/c.png",
        "letter/a.pdf#1",
        "letter/a.pdf#2",
        "letter/a.pdf#3",
        "letter/one.PDF",
    ]
    assert index.ids.tolist() == ids
    assert [index.class_names[target] for target in index.labels] == ["form"] * 3 + ["letter"] * 4
    assert [index.page(row) for row in range(7)] == [0, 1, 0, 0, 1, 2, 0]
    assert index.documents.tolist() == [name.partition("#")[0] for name in ids]
    assert index.left_out.counts == {".txt": 1}
    for row, number in ((1, 6), (0, 5), (5, 3)):
        assert pixels(index, row).mean(axis=(0, 1)) == pytest.approx(np.array(page(number)).mean(axis=(0, 1)), abs=6)


@pytest.mark.parametrize(("pages", "left"), [("first", ["a.pdf#1"]), (1, ["a.pdf#1"]), (2, ["a.pdf#1", "a.pdf#2"])])
def test_only_first_pages(tree: Path, pages: object, left: list[str]) -> None:
    index = load_index(config(tree, pages=pages), "train")
    assert [name for name in index.ids if "a.pdf" in name] == [f"letter/{name}" for name in left]
    assert "letter/one.PDF" in index.row_of


def test_files_of_one_page_have_no_groups(tree: Path) -> None:
    assert load_index(config(tree, pages="first"), "train").groups is None


def many_documents(root: Path, per_class: int = 6) -> Path:
    """Class folders of documents with one to four pages."""
    for label, name in enumerate(("form", "letter")):
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            first = 100 * label + 10 * number
            write_tiff(root / name / f"{number}.tif", range(first, first + 1 + number % 4))
    return root


@pytest.mark.parametrize("seed", range(5))
def test_pages_of_a_document_are_never_on_two_sides(tmp_path: Path, seed: int) -> None:
    index = load_index(config(many_documents(tmp_path / "root")), "train")
    sides = [*folds(index, 3, seed), *hold_out(index, 0.4, seed)]
    for rows in sides:
        inside, outside = index.documents[rows], np.delete(index.documents, rows)
        assert not set(inside) & set(outside)
    assert sum(map(len, sides)) == 2 * len(index)


def test_pages_of_a_document_share_the_group_of_a_file(tree: Path, tmp_path: Path) -> None:
    """A groups file names documents or pages; a file that it puts into two groups makes them one."""
    (tmp_path / "groups.csv").write_text(
        "ID,group\nform/b.tif,x\nletter/a.pdf#2,x\nletter/a.pdf#3,y\nletter/one.PDF,y\n"
    )
    groups = load_index(config(tree, groups=str(tmp_path / "groups.csv")), "train").groups
    assert groups is not None
    together = groups.tolist()
    assert len({together[row] for row in (0, 1, 3, 4, 5, 6)}) == 1
    assert together[2] not in together[:2]


def test_a_correction_of_a_document_is_about_all_its_pages(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "relabel.csv").write_text("ID,target\nletter/a.pdf,form\nform/b.tif#2,letter\n")
    index = load_index(config(tree, relabel=str(tmp_path / "relabel.csv")), "train")
    assert [index.class_names[target] for target in index.labels] == [
        "form",
        "letter",
        "form",
        "form",
        "form",
        "form",
        "letter",
    ]


def test_a_page_is_corrected_once(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "relabel.csv").write_text("ID,target\nletter/a.pdf,form\nletter/a.pdf#2,letter\n")
    with pytest.raises(InputError, match=r"1 ID appears more than once: 'letter/a.pdf#2' \(row 3\)"):
        load_index(config(tree, relabel=str(tmp_path / "relabel.csv")), "train")


def table(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "pages"
    if not folder.exists():
        folder.mkdir()
        write_pdf(folder / "a.pdf", [1, 2, 3])
        write_tiff(folder / "b.tif", [5, 6])
        page(7).save(folder / "c.png")
    path = tmp_path / "pages.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "ID,target,page\na.pdf,x,3\nb.tif,y,\nc.png,y,9\na,x,1\n",
        "ID,target\na.pdf#3,x\nb.tif,y\nc.png,y\na.pdf#1,x\n",
    ],
)
def test_a_table_names_pages(tmp_path: Path, text: str) -> None:
    index = load_index(config(table(tmp_path, text)), "train")
    assert index.ids.tolist() == ["a.pdf#3", "a.pdf#1", "b.tif#1", "b.tif#2", "c.png"]
    assert [index.page(row) for row in range(5)] == [2, 0, 0, 1, 0]
    assert [index.class_names[target] for target in index.labels] == ["x", "x", "y", "y", "y"]
    assert index.groups is not None
    assert index.groups[0] == index.groups[1]


def test_pages_of_a_file_may_have_labels_of_their_own(tmp_path: Path) -> None:
    index = load_index(config(table(tmp_path, "ID,target\na.pdf#1,x\na.pdf#2,y\nc.png,y\n")), "train")
    assert index.labels.tolist() == [0, 1, 1]
    assert index.groups is not None
    assert index.groups[0] == index.groups[1]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("ID,target,page\na.pdf,x,4\nc.png,y,\n", r"a.pdf has 3 pages, and page 4 is named \(row 2\)"),
        ("ID,target,page\nc.png,y,\na.pdf,x,two\n", r"'two' in column 'page' is not the page of 'a.pdf' \(row 3\)"),
        ("ID,target,page\na.pdf#1,x,2\nc.png,y,\n", "is not the page of 'a.pdf#1'"),
        (
            "ID,target,page\na.pdf,x,1\na.pdf,x,1\nc.png,y,\n",
            r"1 ID appears more than once: 'a.pdf#1' \(rows 2 and 3\)",
        ),
        ("ID,target,page\na.pdf,x,2\na.pdf,x,\nc.png,y,\n", "page 2 of a.pdf appears more than once"),
        ("ID,target,page\nc,x,1\nc,y,2\na.pdf,x,\n", "conflicting labels: 'c'"),
    ],
)
def test_faults_of_pages_in_a_table(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        load_index(config(table(tmp_path, text)), "train")


def test_the_page_column_can_be_something_else(tmp_path: Path) -> None:
    path = table(tmp_path, "ID,target,page\nb.tif,x,77\nc.png,y,1\n")
    assert len(load_index(config(path, page_column=None), "train")) == 3


def test_a_validation_set_with_documents_of_the_same_names(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "val" / "letter").mkdir(parents=True)
    write_pdf(tmp_path / "val" / "letter" / "a.pdf", [11])
    index, own_val = load_training_index(config(tree, val=str(tmp_path / "val")))
    assert own_val == 1
    assert index.ids[-1] == "val/letter/a.pdf"
    assert index.ids[3] == "train/letter/a.pdf#1"
    assert index.page(5) == 2
    assert len(set(index.documents.tolist())) == 5
    split = Split.of_rows(index, {"train": np.arange(len(index) - 1), "val": np.array([len(index) - 1])})
    assert split.rows(index, "val").tolist() == [len(index) - 1]


def test_a_file_that_cannot_be_opened_is_one_unreadable_page(tree: Path) -> None:
    write_encrypted_pdf(tree / "letter" / "secret.pdf")
    (tree / "letter" / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    index = load_index(config(tree), "train")
    assert {"letter/secret.pdf", "letter/broken.pdf"} <= index.row_of.keys()
    for name, reason in (("secret", "password"), ("broken", "damaged")):
        with pytest.raises(ValueError, match=reason):
            pixels(index, index.row_of[f"letter/{name}.pdf"])


def test_pdfs_need_an_extra(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(InputError, match="PDF files need the package pypdfium2") as error:
        load_index(config(tree), "train")
    assert error.value.hint == "pip install 'docclf[pdf]'"


@pytest.mark.parametrize("value", ["some", 0, True, 1.5])
def test_the_number_of_pages_is_checked(tree: Path, value: object) -> None:
    with pytest.raises(ValueError, match="must be all, first, or a whole number of at least 1"):
        config(tree, pages=value)
