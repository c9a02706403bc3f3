"""`predict --part` and `--join`: the bytes of one call, and nothing but the parts of one call."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_cases import write_checkpoint, write_images, write_tiff

from docclf_cli.data.index.file_list import FileList, Found
from docclf_cli.engine.inference.ensemble_spec import EnsembleSpec
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import RuntimeConfig
from docclf_cli.results.prediction import PartResult
from docclf_cli.tasks.predict import parts
from docclf_cli.tasks.predict.parts import Share, join_parts
from docclf_cli.tasks.predict.predict import PredictOptions, predict, predict_share

HERE = RuntimeConfig(workers=0, precision="fp32")
HOLD = """
import pathlib, sys
from docclf_cli.engine.checkpoints.run_folder import RunFolder
with RunFolder(pathlib.Path(sys.argv[1])).writing():
    print("locked", flush=True)
    sys.stdin.read()
"""
TABLES = ("predictions.csv", "documents.csv", "quarantine.csv", "summary.json")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, and a folder of pages, documents and one page that cannot be read."""
    folder = tmp_path_factory.mktemp("parts")
    write_checkpoint(folder / "best.ckpt", ("form", "=letter", "영수증"))
    write_images(folder / "in", 140)
    for number in range(9):
        write_tiff(folder / "in" / f"t{number}.tif", range(number, 3 * number + 2))
    (folder / "in" / "p0070.png").write_text("<html>")
    return folder


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def options(output: Path, **others: object) -> PredictOptions:
    return PredictOptions(inputs=("in",), output=output, min_confidence=0.9, **others)  # type: ignore[arg-type]


def make(output: Path, part: str, **others: object) -> PartResult:
    spec = EnsembleSpec.of_checkpoint(Path("best.ckpt"))
    return predict_share(spec, options(output, **others), Share.parse(part), stdin=io.BytesIO(), runtime_config=HERE)


def test_joined_parts_are_the_bytes_of_one_call(place: Path, tmp_path: Path) -> None:
    spec = EnsembleSpec.of_checkpoint(Path("best.ckpt"))
    whole = predict(spec, options(tmp_path / "whole"), stdin=io.BytesIO(), runtime_config=HERE)
    made = [make(tmp_path / "out", f"{number}/3") for number in (2, 3, 1)]
    assert sum(part.pages for part in made) == whole.pages
    assert sum(part.unreadable for part in made) == whole.unreadable == 1
    assert all(0 < part.pages < whole.pages for part in made)
    joined = join_parts(tmp_path / "out", tmp_path / "out", copy_to=tmp_path / "sorted")
    for name in TABLES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert (joined.classes, joined.needs_review, joined.inputs) == (whole.classes, whole.needs_review, whole.inputs)
    assert joined.copied == whole.inputs
    with pytest.raises(InputError, match=r"predictions\.csv exists"):
        join_parts(tmp_path / "out", tmp_path / "out")


def test_more_parts_than_work_and_a_part_that_is_done(tmp_path: Path) -> None:
    made = [make(tmp_path, f"{number}/8") for number in range(1, 9)]
    assert min(part.pages for part in made) == 0
    again = make(tmp_path, "8/8")
    assert again.resumed_pages == again.pages == made[7].pages > 0
    assert join_parts(tmp_path, tmp_path / "a.jsonl").pages == sum(part.pages for part in made)


def test_any_takes_the_parts_that_no_other_process_makes(tmp_path: Path) -> None:
    first = make(tmp_path, "1/3")
    busy = Share(2, 3).folder
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / busy)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"locked\n"
    free = make(tmp_path, "any/3")
    assert (free.parts, free.left) == ((3,), (2,))
    holder.kill()
    holder.communicate()
    last = make(tmp_path, "any/3")
    assert (last.parts, last.left) == ((2,), ())
    assert make(tmp_path, "any/3").parts == ()
    assert join_parts(tmp_path, tmp_path).pages == first.pages + free.pages + last.pages
    with pytest.raises(InputError, match="is a part of another call: other options"):
        make(tmp_path, "any/3", top_k=1)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no parts"):
        join_parts(tmp_path, tmp_path)
    make(tmp_path, "2/3")
    with pytest.raises(InputError, match="missing or not complete: part 1/3, 3/3") as raised:
        join_parts(tmp_path, tmp_path)
    assert raised.value.hint == "run the same command again with --part 1/3"
    for part in ("1/3", "3/3"):
        make(tmp_path, part)
    next((tmp_path / "part-2-of-3").glob("part-*.npz")).unlink()
    with pytest.raises(InputError, match="part-2-of-3 is not complete"):
        join_parts(tmp_path, tmp_path)
    assert not list(tmp_path.glob("*.csv"))
    make(tmp_path, "2/3")
    assert join_parts(tmp_path, tmp_path).pages > 0
    make(tmp_path, "1/2")
    with pytest.raises(InputError, match="parts of 2 and of 3"):
        join_parts(tmp_path, tmp_path, overwrite=True)


def test_parts_of_other_calls_and_machines_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "1/2")
    make(tmp_path, "2/2", top_k=2)
    with pytest.raises(InputError, match="part-2-of-2 was made with other options than part-1-of-2"):
        join_parts(tmp_path, tmp_path)
    with pytest.raises(InputError, match="is a part of another call: other options"):
        make(tmp_path, "2/2")
    monkeypatch.setattr(parts, "machine_kind", lambda runtime: ["another processor"])
    make(tmp_path, "2/2", overwrite=True)
    with pytest.raises(InputError, match="other machine") as raised:
        join_parts(tmp_path, tmp_path)
    assert "another processor: make all parts on machines of one kind" in raised.value.hint


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/1000000"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(InputError, match="is not I/N"):
        Share.parse(text)


@given(
    paged=st.lists(st.sampled_from(["p", "t", "t#"]), max_size=120), parts=st.integers(1, 9), size=st.integers(1, 70)
)
def test_each_file_is_in_one_share_and_documents_stay_whole(paged: list[str], parts: int, size: int) -> None:
    found = []
    for number, kind in enumerate(paged):
        pages = {"p": [0], "t": [0], "t#": [1, 2]}[kind]
        name = f"{number}.png" if kind == "p" else f"{number}.tif"
        found += [Found("", name, name, page=page) for page in pages]
    files = FileList(found)
    blocks = files.blocks(size)
    shares = [Share(number, parts).of_files(files, blocks) for number in range(1, parts + 1)]
    assert [share[row] for share in shares for row in range(len(share))] == [files[row] for row in range(len(files))]
    assert all(next(share.first_of_document(), True) for share in shares)
    names = [{share[row].name for row in range(len(share))} for share in shares]
    assert sum(map(len, names)) == len(set().union(*names))
    assert (blocks[0], blocks[-1]) == (0, len(files))
    assert (np.diff(blocks) > 0).all()
