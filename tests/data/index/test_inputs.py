"""What inputs name: files, folders, globs, CSV lists, stdin."""

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest

from docclf_cli.data.index.file_list import FileList, Found, PageList
from docclf_cli.data.index.inputs import find
from docclf_cli.data.index.left_out import LeftOut
from docclf_cli.errors import InputError


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("in/b.jpg", "in/a/2.pdf", "in/a/1.TIF", "in/a/notes.txt", "in/.hidden/x.jpg", "in/c.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")


def shown(*inputs: str, stdin: bytes = b"") -> list[str]:
    return [file.shown for file in find(inputs, io.BytesIO(stdin))]


def test_folders_are_walked_by_name_all_the_way_down() -> None:
    assert shown("in") == ["in/a/1.TIF", "in/a/2.pdf", "in/b.jpg", "in/c.png"]
    assert shown(str(Path("in/a").absolute())) == [
        str(Path("in/a/1.TIF").absolute()),
        str(Path("in/a/2.pdf").absolute()),
    ]


def test_a_file_that_is_named_is_taken_whatever_it_is_called() -> None:
    Path("in/a/scan.dat").write_bytes(b"x")
    assert shown("in/c.png", "in/a/scan.dat") == ["in/c.png", "in/a/scan.dat"]


def test_globs_name_pages_unless_they_name_a_suffix() -> None:
    assert shown("in/*") == ["in/b.jpg", "in/c.png"]
    assert shown("in/**/*.pdf") == ["in/a/2.pdf"]
    assert shown("in/**") == ["in/a/1.TIF", "in/a/2.pdf", "in/b.jpg", "in/c.png"]
    assert shown("in/a/*.txt") == ["in/a/notes.txt"]
    Path("in/[x].png").write_bytes(b"x")
    assert shown("in/[x].png") == ["in/[x].png"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"%PDF-1.7\n%\xe2", "PDF"), (b"\xff\xd8\xff\xe0\0", "JPEG"), (b"\x89PNG\r\n", "PNG"), (b"II*\0\x08", "TIFF")],
)
def test_a_page_on_stdin_is_no_list(content: bytes, kind: str) -> None:
    with pytest.raises(InputError, match=f"standard input holds a {kind} file"):
        shown("-", stdin=content)


def test_a_list_on_stdin_by_line_or_by_nul() -> None:
    assert shown("-", stdin=b"in/b.jpg\r\n\nin/gone.png\n in/c.png") == ["in/b.jpg", "in/gone.png", " in/c.png"]
    assert shown("in/c.png", "-", stdin="in/b.jpg\0줄\n바꿈.png\0".encode()) == ["in/c.png", "in/b.jpg", "줄\n바꿈.png"]
    names = [f"folder/{number:05d}.png" for number in range(20_000)]  # longer than one block
    assert shown("-", stdin="\n".join(names).encode()) == names
    (strange,) = find(["-"], io.BytesIO(b"in/\xff.png"))
    assert os.fsencode(strange.name) == b"in/\xff.png"


def test_a_csv_lists_pages_beside_it_or_in_the_folder_of_its_name() -> None:
    Path("in/list.csv").write_text("id,path\n7,b.jpg\n8,a/1.TIF\n9,gone.jpg\n")
    found = FileList(find(["in/list.csv"], io.BytesIO()))
    assert [found[row].shown for row in range(3)] == ["b.jpg", "a/1.TIF", "gone.jpg"]
    assert [str(found.path(row)[0]) for row in range(3)] == ["in/b.jpg", "in/a/1.TIF", "in/gone.jpg"]
    Path("in/a.csv").write_text("ID,target\n1,0\n2.pdf,1\n")
    ids = FileList(find(["in/a.csv"], io.BytesIO()))
    assert [(ids[row].shown, str(ids.path(row)[0])) for row in range(2)] == [
        ("1", "in/a/1.TIF"),
        ("2.pdf", "in/a/2.pdf"),
    ]
    Path("in/odd.csv").write_text("name,label\nb.jpg,1\n")
    with pytest.raises(InputError, match=r"odd\.csv: no column of paths"):
        shown("in/odd.csv")


@pytest.mark.parametrize("text", ["gone.jpg", "in/*.bmp", "in/.hidden/none"])
def test_an_input_that_names_nothing_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match=text.replace("*", r"\*")):
        shown(text)
    Path("empty").mkdir()
    with pytest.raises(InputError, match="empty: no page in this folder"):
        shown("empty")


def test_each_file_once_wherever_it_was_named_first() -> None:
    files = FileList(find(["in/c.png", "in", "./in/b.jpg", "in/a/../c.png"], io.BytesIO()))
    assert [files[row].shown for row in range(len(files))] == ["in/c.png", "in/a/1.TIF", "in/a/2.pdf", "in/b.jpg"]
    assert files.repeated == 3


def test_the_fingerprint_follows_order_and_content() -> None:
    before = FileList(find(["in"], io.BytesIO())).fingerprint()
    assert FileList(find(["in"], io.BytesIO())).fingerprint() == before
    assert FileList(find(["in/c.png", "in"], io.BytesIO())).fingerprint() != before
    Path("in/c.png").write_bytes(b"longer")
    assert FileList(find(["in"], io.BytesIO())).fingerprint() != before


def test_links_out_of_a_folder_are_not_pages_of_it() -> None:
    Path("other").mkdir()
    Path("other/secret.png").write_bytes(b"x")
    Path("in/link").symlink_to(Path("other").absolute())
    assert "in/link/secret.png" not in shown("in")
    (first, *_) = find(["in"], io.BytesIO())
    assert first.root == "in"


def test_pages_are_numbered_file_after_file() -> None:
    files = FileList(Found("", name, name) for name in "abcd")
    pages = PageList.of(files, np.array([1, 3, 0, 2], np.int32))
    assert [pages.place(number) for number in range(len(pages))] == [
        (0, 0), (1, 0), (1, 1), (1, 2), (2, 0), (3, 0), (3, 1),
    ]  # fmt: skip


def test_what_predict_lists_is_found_from_the_working_folder() -> None:
    Path("first").mkdir()
    Path("first/predictions.csv").write_text(
        "path,page,class\nin/b.jpg,1,a\nin/a/2.pdf,1,a\nin/a/2.pdf,2,a\nin/gone,,\n"
    )
    found = FileList(find(["first/predictions.csv"], io.BytesIO()))
    assert [(found[row].shown, found[row].page, str(found.path(row)[0])) for row in range(len(found))] == [
        ("in/b.jpg", 0, "in/b.jpg"),
        ("in/a/2.pdf", 1, "in/a/2.pdf"),
        ("in/a/2.pdf", 2, "in/a/2.pdf"),
        ("in/gone", 0, "first/in/gone"),
    ]
    pages = PageList.of(found, np.ones(len(found), np.int32))
    assert pages.first_of_document.tolist() == [True, True, False, True]
    assert [pages.place(number) for number in range(len(pages))] == [(0, 0), (1, 0), (2, 1), (3, 0)]


def test_names_that_are_escaped_in_a_table_are_the_names_of_files() -> None:
    for name in ("=a.jpg", "+82-10.jpg", "'-x.jpg", os.fsdecode(b"in/\xff.jpg")):
        Path(name).write_bytes(b"x")
    Path("list.csv").write_text("path\n'=a.jpg\n'+82-10.jpg\n''-x.jpg\nin/\\udcff.jpg\n")
    found = [str(Path(file.folder, file.name)) for file in find(["list.csv"], io.BytesIO())]
    assert found == ["=a.jpg", "+82-10.jpg", "'-x.jpg", os.fsdecode(b"in/\xff.jpg")]
    assert all(Path(path).is_file() for path in found)


def test_a_table_of_which_no_file_is_there_says_where_it_looked() -> None:
    Path("in/list.csv").write_text("ID\nx.jpg\ny.jpg\n")
    with pytest.raises(InputError, match=r"none of its 2 files is in in, nor in the working folder .*such as 'x.jpg'"):
        shown("in/list.csv")


def test_a_name_without_suffix_that_fits_two_files_is_refused() -> None:
    Path("in/b.png").write_bytes(b"x")
    Path("in/list.csv").write_text("ID\nc\nb\n")
    with pytest.raises(InputError, match=r"'b' \(row 3\) can be b\.jpg or b\.png") as caught:
        shown("in/list.csv")
    assert caught.value.hint == "write it with its suffix"


def test_what_is_left_out_is_counted() -> None:
    left_out = LeftOut()
    Path("in/linked").symlink_to("a")
    assert len(list(find(["in", "in/*"], io.BytesIO(), left_out=left_out))) == 6
    assert left_out.counts == {".txt": 1, "linked folder": 1, "folder": 2}


def test_a_folder_without_pages_says_what_it_has() -> None:
    Path("other").mkdir()
    Path("other/photo.heic").write_bytes(b"x")
    with pytest.raises(InputError, match=r"no page in this folder, nor below it \(left out: 1 \.heic\)"):
        shown("other")


def test_what_may_not_be_looked_at_is_a_file_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    lstat = Path.lstat

    def refused(path: Path) -> os.stat_result:
        if path.name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied")
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", refused)  # root may look at everything
    assert shown("locked") == ["locked"]


def test_pages_are_named_by_their_number() -> None:
    Path("pages.csv").write_text("path\nin/a/2.pdf#3\nin/b.jpg\nin/a/2.pdf#1\n")
    for inputs, stdin in (
        (["in/a/2.pdf#3", "in/b.jpg", "in/a/2.pdf#1"], b""),
        (["pages.csv"], b""),
        (["-"], b"in/a/2.pdf#3\nin/b.jpg\nin/a/2.pdf#1\n"),
    ):
        found = FileList(find(inputs, io.BytesIO(stdin)))
        assert [(found[row].shown, found[row].page) for row in range(3)] == [
            ("in/a/2.pdf", 3),
            ("in/a/2.pdf", 1),
            ("in/b.jpg", 0),
        ]
    Path("in/x.pdf#2").write_bytes(b"a file of this name")
    (whole,) = find(["in/x.pdf#2"], io.BytesIO())
    assert (whole.name, whole.page) == ("in/x.pdf#2", 0)
