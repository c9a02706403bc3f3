"""Labels that were added later: corrected pages, new pages, and those of them that are never trained on."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import TONES, draw_pages

from docclf_cli.data.index.added import HELD_OUT_SHARE, draw_held_out
from docclf_cli.data.index.index import load_training_index, load_training_pages
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import DataConfig

HEADER = "ID,target,path,group,suggested\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pages(tmp_path_factory.mktemp("pages") / "data", 4)


def _page(path: Path, tone: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 30), (tone % 256, tone // 256, 9)).save(path)
    return path


def _table(path: Path, *rows: tuple[object, ...]) -> str:
    path.write_text(HEADER + "".join(",".join([*map(str, row), *[""] * (5 - len(row))]) + "\n" for row in rows))
    return str(path)


def test_rows_about_pages_of_the_data_correct_their_labels(data: Path, tmp_path: Path) -> None:
    own = data / "form" / "form-0.png"
    table = _table(tmp_path / "a.csv", ("form/form-0.png", "letter", own), ("form/form-1.png", "receipt"))
    pages = load_training_pages(DataConfig(root=str(data), add=(table,)))
    labels = dict(zip(pages.index.ids, pages.index.labels, strict=True))
    assert [pages.index.class_names[labels[f"form/form-{number}.png"]] for number in range(3)] == ["letter", "receipt", "form"]  # fmt: skip
    assert len(pages.added) == 0
    assert (pages.base.labels == load_training_index(DataConfig(root=str(data)))[0].labels).all()


def test_other_rows_are_new_pages_of_known_and_of_new_classes(data: Path, tmp_path: Path) -> None:
    first, second = _page(tmp_path / "scans" / "a.png", 1), _page(tmp_path / "scans" / "b.png", 2)
    # The second has the name of a page of the data, and is another file.
    table = _table(tmp_path / "a.csv", ("a.png", "certificate", first, "g"), ("form/form-0.png", "letter", second))
    pages = load_training_pages(DataConfig(root=str(data), add=(table,)))
    assert pages.index.class_names == (*TONES, "certificate")
    assert pages.index.ids[pages.added].tolist() == ["a.png", "added/form/form-0.png"]
    assert [pages.index.path(row).resolve() for row in pages.added] == [first, second]
    assert pages.index.groups is not None
    assert pages.index.groups[pages.added].tolist() == ["g", "page added/form/form-0.png"]
    assert pages.base_rows.tolist() == list(range(12))
    assert all(pages.index.path(row).is_file() for row in range(len(pages.index)))


def test_the_last_row_about_a_page_counts(data: Path, tmp_path: Path) -> None:
    page = _page(tmp_path / "scans" / "a.png", 1)
    tables = [_table(tmp_path / f"{label}.csv", ("a.png", label, page)) for label in ("form", "letter")]
    pages = load_training_pages(DataConfig(root=str(data), add=tuple(tables)))
    assert [pages.index.class_names[label] for label in pages.index.labels[pages.added]] == ["letter"]


def test_a_validation_set_of_ones_own_stays_at_the_end(data: Path, tmp_path: Path) -> None:
    val = draw_pages(tmp_path / "val", 1)
    table = _table(tmp_path / "a.csv", ("a.png", "form", _page(tmp_path / "a.png", 1)))
    pages = load_training_pages(DataConfig(root=str(data), val=str(val), add=(table,)))
    assert pages.own_val == 3
    assert pages.added.tolist() == [12]
    assert {str(pages.index.path(row).resolve().parents[1]) for row in range(13, 16)} == {str(val)}


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (("a.png", "form", "nowhere.png"), "no file for 1 of its pages: 'a.png'"),
        (("a.png", "form"), "no file for 1 of its pages"),
        (("a.png", " ", "a.png"), "a label is blank"),
    ],
)
def test_faulty_rows_are_named(data: Path, tmp_path: Path, row: tuple[str, ...], text: str) -> None:
    with pytest.raises(InputError, match=text):
        load_training_pages(DataConfig(root=str(data), add=(_table(tmp_path / "a.csv", row),)))


def test_a_trained_class_axis_does_not_grow(data: Path, tmp_path: Path) -> None:
    table = _table(tmp_path / "a.csv", ("a.png", "certificate", _page(tmp_path / "a.png", 1)))
    with pytest.raises(InputError, match="'certificate' is no class of the model"):
        load_training_pages(DataConfig(root=str(data), add=(table,)), tuple(TONES))


def test_a_fifth_is_held_out_by_group_and_stays_held_out(data: Path, tmp_path: Path) -> None:
    rows = [
        (f"{number}.png", "form", _page(tmp_path / "scans" / f"{number}.png", number), f"g{number // 2}")
        for number in range(160)
    ]
    rows.append(("copy.png", "form", _page(tmp_path / "scans" / "copy.png", 500)))
    few = load_training_pages(DataConfig(root=str(data), add=(_table(tmp_path / "few.csv", *rows[:80]),)))
    many = load_training_pages(DataConfig(root=str(data), add=(_table(tmp_path / "many.csv", *rows),)))
    held_few = set(few.index.ids[draw_held_out(few.index, few.added, 0, np.arange(80) // 2)])
    sets = np.arange(161) // 2
    held_many = set(many.index.ids[draw_held_out(many.index, many.added, 0, sets)])
    assert held_few == {name for name in held_many if name in set(few.index.ids)}
    assert abs(len(held_many) / 161 - HELD_OUT_SHARE) < 0.12
    # Neither do more pages of the data move the draw.
    larger = load_training_pages(
        DataConfig(root=str(draw_pages(tmp_path / "larger", 5)), add=(str(tmp_path / "many.csv"),))
    )
    assert set(larger.index.ids[draw_held_out(larger.index, larger.added, 0, sets)]) == held_many
    for number in range(0, 160, 2):
        assert (f"{number}.png" in held_many) == (f"{number + 1}.png" in held_many)
    sets[-1] = sets[0]  # the last page, in no group, is a near duplicate of the first
    together = set(many.index.ids[draw_held_out(many.index, many.added, 0, sets)])
    assert ("copy.png" in together) == ("0.png" in together) == ("0.png" in held_many)
    other = set(many.index.ids[draw_held_out(many.index, many.added, 1, sets)])
    assert other != held_many


def test_a_copy_of_a_page_of_the_data_is_trained_on(data: Path, tmp_path: Path) -> None:
    rows = []
    for number in range(40):
        path = tmp_path / "scans" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((data / "form" / "form-0.png").read_bytes())
        rows.append((path.name, "form", path))
    pages = load_training_pages(DataConfig(root=str(data), add=(_table(tmp_path / "a.csv", *rows),)))
    assert draw_held_out(pages.index, pages.added, 0, np.arange(40)).tolist() == []
    assert np.array_equal(pages.added, np.arange(12, 52))
