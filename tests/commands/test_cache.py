"""`docclf cache`: what is kept, and only that, is shown and deleted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_process import Outcome

from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.index import load_index
from docclf_cli.data.loading.cache import open_or_build
from docclf_cli.engine.runtime.caches import DESCRIPTIONS, cache_usage, clear_caches
from docclf_cli.errors import InputError
from docclf_cli.profile.schema import DataConfig


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: Path) -> Path:
    """A cache of the test's own with pages, numerics and a checkpoint from S3 in it, and a file of someone else."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = DataConfig(root=str(pages))
    assert open_or_build(load_index(config, "test"), Preprocess(32), config) is not None
    home = tmp_path / "cache" / "docclf"
    for name, size in (("numerics/a.json", 30), ("s3/model/checkpoint.ckpt", 500), ("samples-v2/a.png", 70)):
        (home / name).parent.mkdir(parents=True)
        (home / name).write_bytes(bytes(size))
    (home / "pages" / "mine.txt").write_text("mine")
    return home


def test_sizes_of_each_kind(home: Path) -> None:
    shown = cache_usage()
    sizes = {row.name: (row.files, row.bytes) for row in shown.rows}
    assert sizes["pages"][0] == 1
    assert sizes["pages"][1] >= 20 * 32 * 32 * 3  # two test pages of ten classes
    assert (sizes["numerics"], sizes["s3"], sizes["samples"]) == ((1, 30), (1, 500), (1, 70))
    assert shown.bytes == sum(row.bytes for row in shown.rows)


def test_clearing_leaves_what_was_not_named(home: Path) -> None:
    before = cache_usage().bytes
    cleared = clear_caches()
    assert {row.name for row in cleared.rows} == {"pages", "features", "numerics", "texts"}
    assert cleared.bytes == before - 570
    assert cache_usage().bytes == 570
    assert (home / "pages" / "mine.txt").read_text() == "mine"
    assert clear_caches(["samples"]).bytes == 70
    assert not (home / "samples-v2").exists()
    assert (home / "s3" / "model" / "checkpoint.ckpt").exists()


def test_open_pages_outlive_the_clearing(home: Path, pages: Path) -> None:
    config = DataConfig(root=str(pages))
    cache = open_or_build(load_index(config, "test"), Preprocess(32), config)
    assert cache is not None
    page = np.array(cache[0])
    clear_caches(["pages"])
    assert (cache[0] == page).all()


def test_a_cache_elsewhere(home: Path, pages: Path, tmp_path: Path) -> None:
    config = DataConfig(root=str(pages), cache=str(tmp_path / "other"))
    open_or_build(load_index(config, "test"), Preprocess(32), config)
    usual = cache_usage().bytes
    assert clear_caches(["pages"], str(tmp_path / "other")).bytes > 0
    assert cache_usage().bytes == usual
    assert {path.name for path in (tmp_path / "other").iterdir()} == {".lock"}


def test_a_kind_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="'pgaes', did you mean 'pages'"):
        clear_caches(["pgaes"])


def test_the_command(docclf: Callable[..., Outcome], tmp_path: Path) -> None:
    own = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    shown = docclf("cache", "show", env=own)
    assert shown.code == 0, shown.stderr
    assert all(name in shown.stdout for name in DESCRIPTIONS)
    assert docclf("cache", "clear", "--json", env=own).json["bytes"] == 0
    wrong = docclf("cache", "clear", "nothing", env=own)
    assert (wrong.code, wrong.stdout) == (2, "")
