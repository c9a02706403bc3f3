import logging
import os
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.index.index import has_own_validation, load_index, load_training_index, names_split, submission_ids
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import DataConfig
from docclf_cli.text import composed

META = "target,class_name\n0,영수증\n1,이력서\n"
PAGES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def competition(root, train="a.jpg,0\nb.jpg,1\nc.jpg,1\n", meta=META):
    touch(root, *(f"train/{name}" for name in PAGES), "test/y.jpg", "test/x.jpg")
    (root / "train.csv").write_text("ID,target\n" + train, encoding="utf-8")
    (root / "sample_submission.csv").write_text("ID,target\ny.jpg,0\nx.jpg,0\n")
    if meta:
        (root / "meta.csv").write_text(meta, encoding="utf-8")
    return DataConfig(root=str(root))


class TestCompetition:
    def test_training_pages(self, tmp_path):
        index = load_index(competition(tmp_path), "train")
        assert index.ids.tolist() == ["a.jpg", "b.jpg", "c.jpg"]
        assert index.targets.tolist() == [0, 1, 1]
        assert index.class_names == ("영수증", "이력서")
        assert index.path(1) == tmp_path / "train" / "b.jpg"
        assert index.root == tmp_path

    def test_labels_may_be_class_names(self, tmp_path):
        config = competition(tmp_path, "a.jpg,이력서\nb.jpg,영수증\n")
        assert load_index(config, "train").targets.tolist() == [1, 0]

    def test_without_meta_labels_are_sorted_as_numbers(self, tmp_path):
        index = load_index(competition(tmp_path, "a.jpg,10\nb.jpg,2\n", meta=None), "train")
        assert index.class_names == ("2", "10")
        assert index.targets.tolist() == [1, 0]

    def test_the_sample_submission_lists_unlabelled_pages_in_its_order(self, tmp_path):
        config = competition(tmp_path)
        index = load_index(config, "test")
        assert index.targets is None
        assert index.ids.tolist() == submission_ids(config).tolist() == ["y.jpg", "x.jpg"]
        assert index.class_names == ("영수증", "이력서")

    def test_a_test_csv_with_labels_is_labelled(self, tmp_path):
        config = competition(tmp_path)
        (tmp_path / "test.csv").write_text("ID,target\nx.jpg,1\n")
        assert load_index(config, "test").targets.tolist() == [1]

    def test_a_test_csv_without_labels_is_not(self, tmp_path):
        config = competition(tmp_path)
        (tmp_path / "test.csv").write_text("ID\nx.jpg\n")
        assert load_index(config, "test").ids.tolist() == ["y.jpg", "x.jpg"]
        (tmp_path / "sample_submission.csv").unlink()
        index = load_index(config, "test")
        assert (index.ids.tolist(), index.targets) == (["x.jpg"], None)

    def test_a_test_folder_alone_is_in_folder_order(self, tmp_path):
        config = competition(tmp_path)
        (tmp_path / "sample_submission.csv").unlink()
        index = load_index(config, "test")
        assert index.ids.tolist() == ["x.jpg", "y.jpg"]
        assert index.path(0).is_file()

    def test_ids_are_text(self, tmp_path):
        config = competition(tmp_path, "00123,0\nNA,1\nnull,1\n1e5,0\n")
        touch(tmp_path / "train", "00123", "NA", "null", "1e5")
        assert load_index(config, "train").ids.tolist() == ["00123", "NA", "null", "1e5"]

    def test_ids_without_suffix_find_their_file(self, tmp_path):
        index = load_index(competition(tmp_path, "a,0\nb,1\n"), "train")
        assert index.ids.tolist() == ["a", "b"]
        assert index.path(0) == tmp_path / "train" / "a.jpg"

    def test_a_stem_with_two_files_is_not_guessed(self, tmp_path):
        config = competition(tmp_path, "a,0\nb,1\n")
        touch(tmp_path / "train", "a.png")
        with pytest.raises(InputError, match=r"1 ID fits more than one image.*'a' \(row 2\)"):
            load_index(config, "train")

    def test_ids_in_subfolders(self, tmp_path):
        touch(tmp_path / "train", "2024/a.jpg")
        index = load_index(competition(tmp_path, "2024/a.jpg,0\nb.jpg,1\n"), "train")
        assert index.path(0) == tmp_path / "train" / "2024" / "a.jpg"

    def test_hangul_file_names_match_in_either_form(self, tmp_path):
        touch(tmp_path / "train", unicodedata.normalize("NFD", "영수증.jpg"))
        index = load_index(competition(tmp_path, "영수증.jpg,0\nb.jpg,1\n"), "train")
        assert index.ids[0] == "영수증.jpg"
        assert index.path(0).is_file()

    def test_folders_of_ids_match_in_either_form(self, tmp_path):
        touch(tmp_path / "train", unicodedata.normalize("NFD", "서류/영수증.jpg"))
        index = load_index(competition(tmp_path, "서류/영수증.jpg,0\nb.jpg,1\n"), "train")
        assert index.path(0).is_file()

    def test_one_name_in_two_forms_is_refused(self, tmp_path):
        names = [unicodedata.normalize(form, "영수증.jpg") for form in ("NFC", "NFD")]
        touch(tmp_path / "train", *names)
        with pytest.raises(InputError, match=r"'영수증\.jpg' is one name"):
            load_index(competition(tmp_path, f"{names[0]},0\n{names[1]},1\n"), "train")

    def test_a_number_that_is_no_class_is_never_an_index(self, tmp_path):
        config = competition(tmp_path, "a.jpg,1\nb.jpg,2\nc.jpg,3\n", meta=None)
        (tmp_path / "test.csv").write_text("ID,target\nx.jpg,0\ny.jpg,1\n")
        with pytest.raises(InputError, match=r"1 label is no class: '0' \(row 2\)"):
            load_index(config, "test")

    def test_tables_of_other_names(self, tmp_path):
        config = competition(tmp_path, meta=None)
        (tmp_path / "train.csv").rename(tmp_path / "Train.csv")
        (tmp_path / "train").rename(tmp_path / "Training")
        touch(tmp_path, "validation/v.jpg")
        (tmp_path / "valid.csv").write_text("ID,target\nv.jpg,1\n")
        index, own_val = load_training_index(config)
        assert index.ids.tolist() == ["a.jpg", "b.jpg", "c.jpg", "v.jpg"]
        assert own_val == 1

    def test_the_class_axis_of_a_model_is_mapped_by_name(self, tmp_path):
        config = competition(tmp_path)
        index = load_index(config, "train", ["이력서", "편지", "영수증"])
        assert index.targets.tolist() == [2, 0, 0]
        with pytest.raises(InputError, match=r"2 labels are no class: '1' \(row 3\)"):
            load_index(config, "train", ["편지", "영수증"])


class TestFolders:
    def test_class_folders(self, tmp_path):
        touch(tmp_path, "resume/2.png", "invoice/1.JPG", "invoice/deep/3.tiff", "invoice/notes.txt", ".cache/x.png")
        index = load_index(DataConfig(root=str(tmp_path)), "train")
        assert index.class_names == ("invoice", "resume")
        assert index.ids.tolist() == ["invoice/1.JPG", "invoice/deep/3.tiff", "resume/2.png"]
        assert index.targets.tolist() == [0, 0, 1]
        assert all(index.path(row).is_file() for row in range(3))

    def test_class_names_are_composed_and_sorted(self, tmp_path):
        touch(tmp_path, *(f"{unicodedata.normalize('NFD', name)}/1.png" for name in ("하나", "가방")))
        assert load_index(DataConfig(root=str(tmp_path)), "train").class_names == ("가방", "하나")

    def test_top_level_splits(self, tmp_path):
        touch(tmp_path, "train/b/1.png", "train/a/2.png", "val/b/3.png", "test/a/4.png", "test/b/5.png")
        config = DataConfig(root=str(tmp_path))
        assert load_index(config, "train").ids.tolist() == ["a/2.png", "b/1.png"]
        assert load_index(config, "val").targets.tolist() == [1]  # as in train, where a is class 0
        assert load_index(config, "test").path(1) == tmp_path / "test" / "b" / "5.png"
        assert has_own_validation(config)

    def test_pages_may_be_numbered_anew_in_every_split(self, tmp_path):
        touch(tmp_path, *(f"{split}/{name}/0000.png" for split in ("train", "val", "test") for name in "ab"))
        config = DataConfig(root=str(tmp_path))
        index, own_val = load_training_index(config)
        assert index.ids.tolist() == ["train/a/0000.png", "train/b/0000.png", "val/a/0000.png", "val/b/0000.png"]
        assert own_val == 2
        assert all(index.path(row) == tmp_path / index.ids[row] for row in range(4))
        assert load_index(config, "test").ids.tolist() == ["a/0000.png", "b/0000.png"]

    @pytest.mark.parametrize(
        ("names", "others"),
        [
            (("Train", "Validation", "Test"), ()),
            (("TRAINING", "dev", "testing"), ("notes",)),
            (("train", "valid", "test"), ("invoice",)),
        ],
    )
    def test_splits_of_other_names(self, tmp_path, caplog, names, others):
        for name, pages in zip(names, ("1", "2", "3"), strict=True):
            touch(tmp_path, f"{name}/a/{pages}.png", f"{name}/b/{pages}.png")
        touch(tmp_path, *(f"{name}/x.png" for name in others))
        config = DataConfig(root=str(tmp_path))
        index, own_val = load_training_index(config)
        assert index.class_names == ("a", "b")
        assert index.ids.tolist() == ["a/1.png", "b/1.png", "a/2.png", "b/2.png"]
        assert own_val == 2
        assert load_index(config, "test").ids.tolist() == ["a/3.png", "b/3.png"]
        assert [name in caplog.text for name in others] == [True] * len(others)

    def test_a_class_may_be_called_like_a_split(self, tmp_path):
        touch(tmp_path, "training/1.png", "dev/2/3.png", "letter/4.png")
        assert load_index(DataConfig(root=str(tmp_path)), "train").class_names == ("dev", "letter", "training")

    def test_two_folders_for_one_split_are_refused(self, tmp_path):
        touch(tmp_path, "train/a/1.png", "train/b/2.png", "valid/a/3.png", "validation/a/4.png")
        with pytest.raises(InputError, match="valid/ and validation/ both name the val split"):
            load_training_index(DataConfig(root=str(tmp_path)))

    @pytest.mark.parametrize(
        "name",
        ["@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "lost+found", "System Volume Information", "__MACOSX",
         ".hidden", "Thumbs", "thumbnails", "snapshot", "@Recently-Snapshot"],
    )  # fmt: skip
    def test_folders_of_the_system_are_no_classes(self, tmp_path, name):
        touch(tmp_path, "a/1.png", "b/2.png", f"{name}/3.png", f"a/{name}/4.png")
        index = load_index(DataConfig(root=str(tmp_path)), "train")
        assert index.class_names == ("a", "b")
        assert len(index) == 2
        assert index.left_out.counts["folder of the system"] == (0 if name.startswith((".", "__")) else 2)

    def test_a_test_folder_of_images_is_unlabelled(self, tmp_path):
        touch(tmp_path, "train/a/1.png", "train/b/2.png", "test/9.png", "test/10.png")
        index = load_index(DataConfig(root=str(tmp_path)), "test")
        assert (index.ids.tolist(), index.targets) == (["10.png", "9.png"], None)

    def test_a_class_that_training_does_not_know(self, tmp_path):
        touch(tmp_path, "train/a/1.png", "train/b/2.png", "test/invoice/3.png")
        with pytest.raises(InputError, match="label is no class: 'invoice'"):
            load_index(DataConfig(root=str(tmp_path)), "test")

    def test_what_is_left_out_is_said(self, tmp_path, caplog):
        touch(tmp_path, "a/1.png", "b/2.png", "stray.png")
        (tmp_path / "empty").mkdir()
        with caplog.at_level(logging.WARNING, "docclf"):
            load_index(DataConfig(root=str(tmp_path)), "train")
        assert "1 image outside of the class folders" in caplog.text
        assert "no image in empty" in caplog.text

    @pytest.mark.timeout(5)
    def test_links_in_a_circle_end(self, tmp_path):
        touch(tmp_path, "a/1.png", "b/2.png")
        (tmp_path / "a" / "again").symlink_to(tmp_path)
        assert len(load_index(DataConfig(root=str(tmp_path), allow_symlinks=True), "train")) == 2

    def test_linked_folders_are_entered_only_when_allowed(self, tmp_path):
        touch(tmp_path, "root/a/1.png", "root/b/2.png", "elsewhere/3.png")
        (tmp_path / "root" / "a" / "more").symlink_to(tmp_path / "elsewhere")
        config = DataConfig(root=str(tmp_path / "root"))
        assert len(load_index(config, "train")) == 2
        assert len(load_index(config.model_copy(update={"allow_symlinks": True}), "train")) == 3


class TestCsv:
    def test_columns_images_and_groups_by_name(self, tmp_path):
        touch(tmp_path, "scans/1.png", "scans/2.png", "scans/3.png")
        (tmp_path / "list.csv").write_text("file,kind,customer\n1.png,letter,x\n2.png,bill,x\n3.png,bill,\n")
        config = DataConfig(
            root=str(tmp_path / "list.csv"),
            images=str(tmp_path / "scans"),
            image_column="file",
            label_column="kind",
            group_column="customer",
        )
        index = load_index(config, "train")
        assert index.class_names == ("bill", "letter")
        assert index.targets.tolist() == [1, 0, 0]
        assert index.groups.tolist() == ["x", "x", "page 3.png"]

    def test_only_training_pages_must_say_their_group(self, tmp_path):
        touch(tmp_path, "list/1.png", "list/2.png")
        (tmp_path / "list.csv").write_text("ID,target\n1.png,a\n2.png,b\n")
        config = DataConfig(root=str(tmp_path / "list.csv"), group_column="customer")
        assert load_index(config, "test").groups is None
        with pytest.raises(InputError, match="no column 'customer'"):
            load_index(config, "train")

    def test_images_lie_in_the_folder_of_the_same_stem(self, tmp_path):
        touch(tmp_path, "list/1.png", "list/2.png")
        (tmp_path / "list.csv").write_text("ID,target\n1.png,a\n2.png,b\n")
        index = load_index(DataConfig(root=str(tmp_path / "list.csv")), "test")
        assert index.path(0) == tmp_path / "list" / "1.png"

    def test_a_validation_set_of_ones_own_uses_the_training_classes(self, tmp_path):
        config = competition(tmp_path / "data")
        touch(tmp_path, "mine/1.png")
        (tmp_path / "mine.csv").write_text("ID,target\n1.png,1\n")
        (tmp_path / "meta.csv").write_text("target,class_name\n0,이력서\n1,영수증\n", encoding="utf-8")
        config = config.model_copy(update={"val": str(tmp_path / "mine.csv")})
        assert has_own_validation(config)
        index = load_index(config, "val")
        assert index.class_names == ("영수증", "이력서")
        assert index.targets.tolist() == [0]

    def test_only_named_splits_are_named(self, tmp_path):
        config = competition(tmp_path)
        assert [names_split(config, split) for split in ("train", "val", "test")] == [True, False, True]
        with pytest.raises(InputError, match="no validation set of its own"):
            load_index(config, "val")


class TestOverlays:
    def test_labels_are_corrected_by_index_or_name(self, tmp_path, caplog):
        (tmp_path / "relabel.csv").write_text("ID,target\nb.jpg,0\na.jpg,이력서\nx.jpg,1\n", encoding="utf-8")
        config = competition(tmp_path).model_copy(update={"relabel": str(tmp_path / "relabel.csv")})
        assert load_index(config, "train").targets.tolist() == [1, 0, 1]
        assert "'x.jpg' (row 4)" in caplog.text

    def test_numbers_are_indices_only_where_a_meta_csv_says_so(self, tmp_path):
        (tmp_path / "relabel.csv").write_text("ID,target\na.jpg,1\n")
        config = competition(tmp_path, "a.jpg,letter\nb.jpg,bill\n", meta=None)
        config = config.model_copy(update={"relabel": str(tmp_path / "relabel.csv")})
        with pytest.raises(InputError, match="label is no class: '1'") as caught:
            load_index(config, "train")
        assert "numbers are class indices only where a meta.csv" in caught.value.hint

    def test_a_name_of_two_splits_must_say_which(self, tmp_path):
        touch(tmp_path / "d", *(f"{split}/{name}/1.png" for split in ("train", "val", "test") for name in "ab"))
        config = DataConfig(root=str(tmp_path / "d"))
        for key, column, value in (("groups", "group", "x"), ("relabel", "target", "b")):
            path = tmp_path / f"{key}.csv"
            stated = config.model_copy(update={key: str(path)})
            path.write_text(f"ID,{column}\na/1.png,{value}\n")
            with pytest.raises(InputError, match=r"for pages of several splits: 'a/1\.png' \(row 2\)") as caught:
                load_training_index(stated)
            assert "'train/a/1.png', 'val/a/1.png'" in caught.value.hint
            path.write_text(f"ID,{column}\nval/a/1.png,{value}\n")
            index, _ = load_training_index(stated)
            changed = index.groups == "x" if key == "groups" else index.targets != [0, 1, 0, 1]
            assert changed.tolist() == [False, False, True, False]

    def test_a_bare_name_means_the_training_page(self, tmp_path):
        touch(tmp_path / "d", *(f"{split}/{name}/1.png" for split in ("train", "test") for name in "ab"))
        touch(tmp_path / "d", "train/a/2.png")
        (tmp_path / "relabel.csv").write_text("ID,target\na/1.png,b\ntest/b/1.png,a\n")
        config = DataConfig(root=str(tmp_path / "d"), relabel=str(tmp_path / "relabel.csv"))
        assert load_index(config, "train").targets.tolist() == [1, 0, 1]
        assert load_index(config, "test").targets.tolist() == [0, 0]

    def test_a_page_named_twice_is_refused_however_it_is_spelled(self, tmp_path):
        touch(tmp_path / "d", "train/a/1.png", "train/b/1.png")
        (tmp_path / "groups.csv").write_text("ID,group\na/1.png,x\ntrain/a/1.png,y\n")
        with pytest.raises(InputError, match="1 ID appears more than once"):
            load_index(DataConfig(root=str(tmp_path / "d"), groups=str(tmp_path / "groups.csv")), "train")

    def test_overlays_match_hangul_in_either_form(self, tmp_path):
        decomposed = [unicodedata.normalize("NFD", text) for text in ("영수증.jpg", "이력서", "묶음")]
        config = competition(tmp_path, f"{decomposed[0]},0\na.jpg,영수증\nb.jpg,{decomposed[1]}\n")
        touch(tmp_path / "train", "영수증.jpg")
        (tmp_path / "relabel.csv").write_text(f"ID,target\n영수증.jpg,{decomposed[1]}\n", encoding="utf-8")
        (tmp_path / "groups.csv").write_text(f"ID,group\n영수증.jpg,{decomposed[2]}\na.jpg,묶음\n", encoding="utf-8")
        index = load_index(
            config.model_copy(update={key: str(tmp_path / f"{key}.csv") for key in ("relabel", "groups")}), "train"
        )
        assert index.ids[0] == decomposed[0]
        assert index.path(0).is_file()
        assert index.targets.tolist() == [1, 0, 1]
        assert index.groups[0] == index.groups[1]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("a.jpg,7", r"no class: '7' \(row 2\)"),
            ("a.jpg,0\na.jpg,1", "1 ID appears more than once"),
            ("a.jpg,", "blank"),
        ],
    )
    def test_faulty_corrections(self, tmp_path, content, message):
        (tmp_path / "relabel.csv").write_text(f"ID,target\n{content}\n")
        config = competition(tmp_path).model_copy(update={"relabel": str(tmp_path / "relabel.csv")})
        with pytest.raises(InputError, match=message):
            load_index(config, "train")

    def test_groups_from_a_file(self, tmp_path, caplog):
        (tmp_path / "groups.csv").write_text("ID,group\na.jpg,x\nc.jpg,x\n")
        config = competition(tmp_path).model_copy(update={"groups": str(tmp_path / "groups.csv")})
        assert load_index(config, "train").groups.tolist() == ["x", "page b.jpg", "x"]
        assert "1 page without a group" in caplog.text
        assert load_index(config, "test").groups is None

    def test_a_file_beside_the_data_is_pointed_out(self, tmp_path):
        (tmp_path / "groups.csv").write_text("ID,group\na.jpg,x\n")
        config = competition(tmp_path).model_copy(update={"groups": "groups.csv"})
        with pytest.raises(InputError, match=r"no file groups\.csv") as caught:
            load_index(config, "train")
        assert str(tmp_path / "groups.csv") in caught.value.hint


FAULTS = {
    "duplicate": ("a.jpg,0\nb.jpg,1\na.jpg,0\n", r"1 ID appears more than once: 'a.jpg' \(rows 2 and 4\)"),
    "conflicting": (
        "a.jpg,0\nb.jpg,1\na.jpg,1\n",
        r"1 ID has conflicting labels: 'a.jpg' \(rows 2 and 4: '0' and '1'\)",
    ),
    "blank label": ("a.jpg,\nb.jpg,1\n", "1 label is blank: row 2"),
    "blank labels": ("a.jpg, \nb.jpg,\n", "2 labels are blank: row 2, row 3"),
    "unknown label": ("a.jpg,0\nb.jpg,17\n", r"1 label is no class: '17' \(row 3\)"),
    "misspelt label": ("a.jpg,영수정\nb.jpg,1\n", "did you mean '영수증'"),
    "not a whole number": ("a.jpg,0.0\nb.jpg,1\n", "no class: '0.0'"),
    "blank ID": (",0\nb.jpg,1\n", "1 ID is blank: row 2"),
    "parent": ("../secret.jpg,0\nb.jpg,1\n", r"1 ID is no file below the data root: '../secret.jpg' \(row 2\)"),
    "parent inside": ("x/../../y.jpg,0\nb.jpg,1\n", "below the data root"),
    "parent, backslash": ("..\\y.jpg,0\nb.jpg,1\n", "below the data root"),
    "absolute": ("/etc/passwd,0\nb.jpg,1\n", "below the data root"),
    "drive": ("C:\\x.jpg,0\nb.jpg,1\n", "below the data root"),
    "line break": ('"a\nb.jpg",0\nb.jpg,1\n', "below the data root"),
    "too long": (f"{'x' * 600},0\nb.jpg,1\n", "below the data root"),
    "missing": ("a.jpg,0\nno.jpg,1\n", r"1 image is missing in .*, of 2: 'no.jpg' \(row 3\)"),
    "one class": ("a.jpg,0\nb.jpg,0\n", r"all 2 pages are of one class \(영수증\)"),
}


class TestFaults:
    @pytest.mark.parametrize("name", FAULTS)
    def test_each_names_file_rows_and_values(self, tmp_path, name):
        rows, message = FAULTS[name]
        with pytest.raises(InputError, match=message) as caught:
            load_index(competition(tmp_path, rows), "train")
        assert "train.csv" in caught.value.message
        assert "\n" not in caught.value.message

    def test_missing_images_are_counted_and_five_are_named(self, tmp_path):
        rows = "".join(f"{n}.png,0\n" for n in range(12))
        with pytest.raises(
            InputError, match=r"12 images are missing .*'0.png' \(row 2\).*'4.png' \(row 6\), … and 7 more"
        ):
            load_index(competition(tmp_path, rows), "train")

    def test_a_missing_folder_is_named(self, tmp_path):
        (tmp_path / "train.csv").write_text("ID,target\na.jpg,0\n")
        with pytest.raises(InputError, match=f"there is no folder {tmp_path / 'train'}"):
            load_index(DataConfig(root=str(tmp_path)), "train")

    def test_existence_costs_no_question_per_file(self, tmp_path, monkeypatch):
        config = competition(tmp_path, "".join(f"{n}.png,{n % 2}\n" for n in range(500)))
        touch(tmp_path / "train", *(f"{n}.png" for n in range(500)))
        asked = []
        stat = os.stat
        monkeypatch.setattr(os, "stat", lambda *args, **options: (asked.append(args), stat(*args, **options))[1])
        load_index(config, "train")
        assert len(asked) < 50

    @pytest.mark.parametrize(
        ("meta", "message"),
        [
            ("target,class_name\n0,a\n2,b\n", "not 0 to 1"),
            ("target,class_name\n0,a\n0,b\n", "not 0 to 1"),
            ("target,class_name\n0,a\n1,a\n", "'a' appears more than once"),
            ("target,class_name\n0,a\n1, \n", "target 1 is blank"),
            ("target,name\n0,a\n", "no column 'class_name'"),
        ],
    )
    def test_faulty_meta(self, tmp_path, meta, message):
        with pytest.raises(InputError, match=message):
            load_index(competition(tmp_path, meta=meta), "train")

    @pytest.mark.parametrize(
        "make", [lambda root: None, lambda root: (root / "a").mkdir(), lambda root: touch(root, "x.txt")]
    )
    def test_an_empty_folder_says_what_is_missing_and_how_to_try(self, tmp_path, make):
        make(tmp_path)
        with pytest.raises(InputError, match=r"train\.csv") as caught:
            load_index(DataConfig(root=str(tmp_path)), "train")
        assert "docclf train --profile quickstart --data samples" in caught.value.hint

    def test_no_such_root(self, tmp_path):
        with pytest.raises(InputError, match="no such data root") as caught:
            load_index(DataConfig(root=str(tmp_path / "data")), "train")
        assert "--data samples" in caught.value.hint

    def test_images_without_labels_cannot_be_trained_on(self, tmp_path):
        touch(tmp_path, "1.png")
        with pytest.raises(InputError, match="images but no labels"):
            load_index(DataConfig(root=str(tmp_path)), "train")


class TestFingerprint:
    def test_it_follows_what_the_index_says(self, tmp_path):
        index = load_index(competition(tmp_path), "train")
        again = load_index(competition(tmp_path), "train")
        relabelled = load_index(competition(tmp_path, "a.jpg,1\nb.jpg,1\nc.jpg,0\n"), "train")
        assert index.fingerprint() == again.fingerprint()
        assert len({part.fingerprint() for part in (index, relabelled, index.take([0, 1]), index.take([1, 0]))}) == 4

    def test_taking_rows_keeps_the_columns_together(self, tmp_path):
        index = load_index(competition(tmp_path), "train").take([2, 0])
        assert (index.ids.tolist(), index.targets.tolist()) == (["c.jpg", "a.jpg"], [1, 0])
        assert index.path(0).name == "c.jpg"


NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)


@settings(deadline=None)
@given(
    st.dictionaries(NAMES, st.sampled_from("01"), min_size=2, max_size=20).filter(lambda d: len(set(d.values())) == 2)
)
def test_any_names_come_back_in_order(tmp_path_factory, pages):
    root = tmp_path_factory.mktemp("data")
    names = {f"{name}.png": target for name, target in pages.items()}
    assume(len({composed(name) for name in names}) == len(names))
    touch(root / "train", *names)
    index = load_index(competition(root, "".join(f"{name},{target}\n" for name, target in names.items())), "train")
    assert index.ids.tolist() == list(names)
    assert index.targets.tolist() == [int(target) for target in names.values()]
    assert all(index.path(row).is_file() for row in range(len(index)))


CELLS = st.text(max_size=12) | st.sampled_from(
    ["a.jpg", "b.jpg", "c", "0", "1", "영수증", "../x", "/etc/passwd", "C:x", ""]
)
SHAPED = st.lists(st.lists(CELLS, max_size=3), max_size=6).map(lambda rows: "\n".join(map(",".join, rows)).encode())


@settings(deadline=None)
@given(st.binary(max_size=60) | SHAPED | SHAPED.map(lambda content: b"ID,target\n" + content))
def test_any_bytes_are_an_index_or_named_faults(tmp_path_factory, content):
    root = tmp_path_factory.getbasetemp() / "any-bytes"
    config = competition(root)
    (root / "train.csv").write_bytes(content)
    try:
        index = load_index(config, "train")
    except InputError as error:
        assert "train.csv" in error.message
        return
    assert len(set(index.ids.tolist())) == len(index) >= 2
    assert all(index.path(row).resolve().parent == root / "train" for row in range(len(index)))
    assert set(index.targets.tolist()) == {0, 1}


class TestJoined:
    def index(self, root, names, groups=None):
        rows = np.arange(len(names))
        return DocumentIndex(
            root, np.array(names, object), np.array(names, object), rows % 2, ("a", "b"), groups, below="pages"
        )

    def test_pages_of_both_roots_are_found_in_order(self, tmp_path):
        touch(tmp_path, "one/pages/x.png", "two/pages/y.png", "two/pages/z.png")
        joined = self.index(tmp_path / "one", ["x.png"]).joined(self.index(tmp_path / "two", ["y.png", "z.png"]))
        assert joined.ids.tolist() == ["x.png", "y.png", "z.png"]
        assert joined.targets.tolist() == [0, 0, 1]
        assert joined.root == tmp_path
        assert joined.groups is None
        assert all(joined.path(row).is_file() for row in range(3))
        assert joined.path(2) == tmp_path / "two" / "pages" / "z.png"

    def test_pages_without_groups_stand_for_themselves(self, tmp_path):
        grouped = self.index(tmp_path / "one", ["x.png", "w.png"], np.array(["g", "g"]))
        assert grouped.joined(self.index(tmp_path / "two", ["y.png"])).groups.tolist() == ["g", "g", "y.png"]

    def test_a_page_in_both_is_refused(self, tmp_path):
        with pytest.raises(InputError, match=r"1 pages are in both sets, such as pages/x\.png"):
            self.index(tmp_path, ["x.png", "y.png"]).joined(self.index(tmp_path, ["x.png"]))

    def test_a_name_in_both_sets_is_two_pages(self, tmp_path):
        train, val = self.index(tmp_path / "one", ["x.png", "y.png"]), self.index(tmp_path / "two", ["x.png"])
        joined = train.joined(val)
        assert joined.ids.tolist() == ["train/x.png", "train/y.png", "val/x.png"]
        assert joined.path(2) == tmp_path / "two" / "pages" / "x.png"
        alone = replace(train, groups=np.array(["page x.png", "g"])).joined(
            replace(val, groups=np.array(["page x.png"]))
        )
        assert alone.groups.tolist() == ["page train/x.png", "g", "page val/x.png"]

    def test_hangul_in_two_forms_is_one_name(self, tmp_path):
        names = [unicodedata.normalize(form, "영수증.png") for form in ("NFC", "NFD")]
        joined = self.index(tmp_path / "one", names[:1]).joined(self.index(tmp_path / "two", names[1:]))
        assert joined.ids.tolist() == [f"train/{names[0]}", f"val/{names[1]}"]


class TestExcluded:
    def test_excluded_pages_are_neither_trained_on_nor_held_out(self, tmp_path):
        config = competition(tmp_path, "a.jpg,0\nb.jpg,1\nc.jpg,1\nd.jpg,0\n")
        (tmp_path / "apart.csv").write_text("ID\nb.jpg\n")
        index, own_val = load_training_index(config.model_copy(update={"exclude": str(tmp_path / "apart.csv")}))
        assert index.ids.tolist() == ["a.jpg", "c.jpg", "d.jpg"]
        assert index.class_names == ("영수증", "이력서")
        assert own_val == 0

    def test_of_a_validation_set_of_its_own_as_well(self, tmp_path):
        touch(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg", "val/b/4.jpg", "val/b/5.jpg")
        (tmp_path / "apart.csv").write_text("ID\nval/b/5.jpg\n")
        index, own_val = load_training_index(DataConfig(root=str(tmp_path), exclude=str(tmp_path / "apart.csv")))
        assert own_val == 2
        assert len(index) == 4

    @pytest.mark.parametrize(
        ("listed", "fault"), [("x.jpg", "1 ID is not among the training pages"), ("a.jpg", "fewer than two classes")]
    )
    def test_what_cannot_be_left_out_is_said(self, tmp_path, listed, fault):
        (tmp_path / "apart.csv").write_text(f"ID\n{listed}\n")
        config = competition(tmp_path).model_copy(update={"exclude": str(tmp_path / "apart.csv")})
        with pytest.raises(InputError, match=fault):
            load_training_index(config)
