"""What lies in a folder and is no page is counted by kind."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from docclf_cli.data.images.decode import UnreadablePage, read_page
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.folders import walk
from docclf_cli.data.index.index import load_index
from docclf_cli.data.index.left_out import LINKED_FOLDER, NO_SUFFIX, LeftOut
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import DataConfig


def test_nothing_left_out_says_nothing() -> None:
    assert not LeftOut()
    assert LeftOut().sentence() == ""


def test_kinds_come_by_their_number_and_in_the_plural() -> None:
    left_out = LeftOut()
    for name in ("a.HEIC", "b.heic", "c.heic", "d.txt", "e", "f"):
        left_out.add_file(name)
    left_out.add(LINKED_FOLDER)
    assert left_out.sentence() == "left out: 3 .heic, 2 files without a suffix, 1 .txt, 1 linked folder"


def test_a_long_list_of_kinds_is_cut_but_its_sum_is_kept() -> None:
    left_out = LeftOut()
    for number in range(12):
        left_out.add_file(f"part.{number:03}")
    assert left_out.sentence().endswith("and 4 of other kinds")


@pytest.mark.parametrize("name", ["Dr. Kim's letter", "v1. final version", "scan", "scan.", "a.averylongending"])
def test_what_follows_a_dot_in_a_sentence_is_no_suffix(name: str) -> None:
    left_out = LeftOut()
    left_out.add_file(name)
    assert left_out.counts == {NO_SUFFIX: 1}


def test_both_sides_are_joined() -> None:
    one, other = LeftOut(), LeftOut()
    one.add(".txt", 2)
    other.add(".txt")
    assert one.joined(other).counts == {".txt": 3}
    assert one.counts == {".txt": 2}


def test_a_walk_counts_what_it_passes_over(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.heic", "scan", ".hidden", "below/c.heic", "below/d.png", "elsewhere/e.jpg"):
        path = tmp_path / "box" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "box/linked").symlink_to(tmp_path / "other")
    (tmp_path / "box/circle").symlink_to("circle")
    left_out = LeftOut()
    found = list(walk(tmp_path / "box", (".jpg", ".png"), left_out=left_out))
    assert found == ["a.jpg", "below/d.png", "elsewhere/e.jpg"]
    assert left_out.counts == {".heic": 2, LINKED_FOLDER: 1, NO_SUFFIX: 2}


def test_a_folder_that_cannot_be_listed_comes_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert list(walk(tmp_path / "a.jpg", (".jpg",))) == ["./"]  # a file cannot be listed, not even by root


def test_a_folder_that_may_not_be_read_is_an_unreadable_page_of_its_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("form/0.png", "form/locked/1.png", "letter/0.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    scandir = os.scandir

    def refused(path: Path) -> Any:  # root may list everything
        if Path(path).name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    index = load_index(DataConfig(root=str(tmp_path)), "train")
    labels = [index.class_names[label] for label in index.labels]
    assert dict(zip(index.ids, labels, strict=True)) == {
        "form/0.png": "form",
        "form/locked/": "form",
        "letter/0.png": "letter",
    }
    with pytest.raises(UnreadablePage):
        read_page(index.path(1), Preprocess(8), max_pixels=100, root=index.root)


def test_an_id_that_fits_two_files_is_refused_by_both(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for name in ("0.jpg", "0.png", "1.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / "train" / name)
    (tmp_path / "train.csv").write_text("ID,target,,\n0,a,,\n1,b,,\n")
    with pytest.raises(InputError, match=r"1 ID fits more than one image in .*: .0. \(row 2\)") as caught:
        load_index(DataConfig(root=str(tmp_path)), "train")
    assert caught.value.hint == "write the suffix: '0' can be 0.jpg or 0.png"


def test_images_that_the_csv_does_not_list_are_counted(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for name in ("a", "b", "c", "d"):
        Image.new("RGB", (9, 9)).save(tmp_path / "train" / f"{name}.png")
    (tmp_path / "train.csv").write_text("ID,target\na.png,x\nb,y\n")
    config = DataConfig(root=str(tmp_path))
    assert load_index(config, "train").left_out.sentence() == "left out: 2 images that the CSV does not list"
    (tmp_path / "train" / "notes.txt").write_text("")
    (tmp_path / "train.csv").write_text("ID,target\na.png,x\nb,y\nc,x\n")
    sentence = "left out: 1 .txt, 1 image that the CSV does not list"
    assert load_index(config, "train").left_out.sentence() == sentence
    (tmp_path / "train.csv").write_text("ID,target\na.png,x\nb,y\nc,x\nd,y\n")
    (tmp_path / "train" / "notes.txt").unlink()
    assert not load_index(config, "train").left_out
