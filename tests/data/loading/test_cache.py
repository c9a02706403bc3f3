import multiprocessing
import os
import pickle
import shutil
import signal
import stat
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from docclf_cli.data.images import decode
from docclf_cli.data.images.decode import CRASHES, UnreadablePage, read_page
from docclf_cli.data.images.preprocess import Preprocess
from docclf_cli.data.index.documents import DocumentIndex
from docclf_cli.data.loading import cache as cache_module
from docclf_cli.data.loading import pages as pages_module
from docclf_cli.data.loading import worker_pool as worker_pool_module
from docclf_cli.data.loading.cache import Usage, cache_folder, clear, open_or_build, usage
from docclf_cli.data.loading.cache_file import cache_files, open_cache_file
from docclf_cli.errors import ResourceError
from docclf_cli.events import Progress
from docclf_cli.files import TEMP_PREFIX
from docclf_cli.profile.schema import DataConfig
from docclf_cli.stop import StopFlag

PREPROCESS = Preprocess(24)
PAGES = 7


def draw(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=95)


def index_of(root, names):
    ids = np.array(names, dtype=object)
    return DocumentIndex(root, ids, ids, None, ())


@pytest.fixture
def pages(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    for number in range(PAGES):
        draw(root / f"{number}.jpg", number)
    (root / "broken.jpg").write_bytes(b"<html>")
    return index_of(root, [*(f"{number}.jpg" for number in range(PAGES)), "broken.jpg", "missing.jpg"])


@pytest.fixture
def config(tmp_path):
    return DataConfig(cache=str(tmp_path / "cache"))


@pytest.fixture
def reads(monkeypatch):
    """Files that were decoded in this process."""
    read = []
    monkeypatch.setattr(
        pages_module, "read_page", lambda path, **options: (read.append(path.name), read_page(path, **options))[1]
    )
    return read


def direct(index, row):
    return read_page(index.path(row), PREPROCESS, max_pixels=10**8, root=index.root)


@pytest.mark.parametrize("workers", [0, 3])
def test_pixels_are_those_of_the_files(pages, config, workers):
    cache = open_or_build(pages, PREPROCESS, config, workers=workers)
    assert len(cache) == len(pages)
    for row in range(PAGES):
        assert cache.reason(row) == ""
        assert (cache[row] == direct(pages, row)).all()


def test_unreadable_pages_keep_their_reason(pages, config):
    for cache in (open_or_build(pages, PREPROCESS, config, workers=2), open_or_build(pages, PREPROCESS, config)):
        for row in (PAGES, PAGES + 1):
            with pytest.raises(UnreadablePage) as stored:
                cache[row]
            with pytest.raises(UnreadablePage) as fresh:
                direct(pages, row)
            assert cache.reason(row) == stored.value.reason == fresh.value.reason


def test_a_second_opening_decodes_nothing(pages, config, reads):
    open_or_build(pages, PREPROCESS, config)
    assert len(reads) == len(pages)
    reads.clear()
    rows = [5, 2, 7]
    part = open_or_build(pages.take(rows), PREPROCESS, config)
    assert reads == []
    assert (part[1] == direct(pages, 2)).all()
    open_or_build(pages, Preprocess(24, mean=(0.5, 0.5, 0.5)), config)
    assert reads == []


@pytest.mark.parametrize("other", [Preprocess(25), Preprocess(24, "squash"), Preprocess(24, interpolation="bicubic")])
def test_other_pixels_are_other_pages(pages, config, other):
    open_or_build(pages, PREPROCESS, config)
    cache = open_or_build(pages, other, config)
    assert (cache[0] == read_page(pages.path(0), other, max_pixels=10**8)).all()


def test_the_pixel_limit_is_part_of_the_key(pages, config):
    open_or_build(pages, PREPROCESS, config)
    cache = open_or_build(pages, PREPROCESS, config.model_copy(update={"max_pixels": 1000}))
    assert "max_pixels" in cache.reason(0)


def test_only_what_changed_is_decoded_again(pages, config, reads):
    open_or_build(pages, PREPROCESS, config)
    reads.clear()
    before = pages.path(3).stat()
    content = bytearray(pages.path(3).read_bytes())
    draw(pages.path(3), 99)
    size = len(content)
    pages.path(3).write_bytes(pages.path(3).read_bytes()[:size].ljust(size, b"\0"))
    os.utime(pages.path(3), ns=(before.st_atime_ns, before.st_mtime_ns))  # same size and time, still another file
    draw(pages.root / "new.jpg", 100)
    grown = index_of(pages.root, [*pages.ids, "new.jpg"])
    cache = open_or_build(grown, PREPROCESS, config)
    assert sorted(reads) == ["3.jpg", "new.jpg"]
    assert all((cache[row] == direct(grown, row)).all() for row in (0, 3, len(pages)))


def test_a_file_that_appears_is_noticed(pages, config):
    open_or_build(pages, PREPROCESS, config)
    draw(pages.root / "missing.jpg", 5)
    assert open_or_build(pages, PREPROCESS, config).reason(PAGES + 1) == ""


def test_older_cache_files_that_hold_nothing_more_are_deleted(pages, config):
    open_or_build(pages.take([0, 1]), PREPROCESS, config)
    open_or_build(pages, PREPROCESS, config)
    assert usage(Path(config.cache)).cache_files == 1


def test_pages_are_copies(pages, config):
    cache = open_or_build(pages, PREPROCESS, config)
    cache[0][:] = 0
    assert (cache[0] == direct(pages, 0)).all()


def test_a_damaged_page_is_read_from_its_file(pages, config):
    open_or_build(pages, PREPROCESS, config)
    pixels = next(Path(config.cache).glob("*.u8"))
    content = bytearray(pixels.read_bytes())
    content[100] ^= 1
    pixels.write_bytes(content)
    cache = open_or_build(pages, PREPROCESS, config)
    assert (cache[0] == direct(pages, 0)).all()


@pytest.mark.parametrize("corruption", ["cut pixels", "no pixels", "cut description", "other description"])
def test_a_damaged_cache_file_is_built_again(pages, config, corruption):
    open_or_build(pages, PREPROCESS, config)
    folder = Path(config.cache)
    pixels, description = next(folder.glob("*.u8")), next(folder.glob("*.npz"))
    if corruption == "cut pixels":
        os.truncate(pixels, 1000)
    elif corruption == "no pixels":
        pixels.unlink()
    else:
        description.write_bytes(b"PK" if corruption == "other description" else description.read_bytes()[:-50])
    assert open_cache_file(description) is None
    cache = open_or_build(pages, PREPROCESS, config)
    assert (cache[0] == direct(pages, 0)).all()


def test_the_cache_may_be_deleted_while_it_is_in_use(pages, config):
    cache = open_or_build(pages, PREPROCESS, config)
    shutil.rmtree(config.cache)
    assert (cache[0] == direct(pages, 0)).all()


def test_the_cache_is_private(pages, config):
    open_or_build(pages, PREPROCESS, config)
    folder = Path(config.cache)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(next(folder.glob("*.u8")).stat().st_mode) == 0o600


def test_another_process_that_is_not_forked_maps_the_pages_itself(pages, config):
    cache = open_or_build(pages, PREPROCESS, config)
    content = pickle.dumps(cache)
    assert len(content) < PAGES * 24 * 24 * 3
    assert (pickle.loads(content)[0] == direct(pages, 0)).all()


class TestStops:
    def test_pages_already_read_are_kept(self, pages, config, reads):
        stop = StopFlag()

        def stop_after_three(event):
            if event.done == 3:
                stop.signal_number = signal.SIGINT

        assert open_or_build(pages, PREPROCESS, config, emit=stop_after_three, stop=stop) is None
        assert len(reads) == 3
        cache = open_or_build(pages, PREPROCESS, config)
        assert len(reads) == len(pages)
        assert (cache[0] == direct(pages, 0)).all()
        assert usage(Path(config.cache)).cache_files == 1

    def test_progress_counts_to_the_end(self, pages, config):
        seen = []
        open_or_build(pages, PREPROCESS, config, workers=2, emit=seen.append)
        assert seen == [Progress("reading pages", number, len(pages)) for number in range(1, len(pages) + 1)]

    @pytest.mark.timeout(20)
    def test_a_process_that_dies_is_named_with_its_page(self, pages, config, monkeypatch):
        def crash(path, **options):
            if path.name == "4.jpg":
                os.kill(os.getpid(), signal.SIGKILL)
            return read_page(path, **options)

        monkeypatch.setattr(pages_module, "read_page", crash)
        with pytest.raises(ResourceError, match=r"died \(exit -9\) at .*4\.jpg"):
            open_or_build(pages, PREPROCESS, config, workers=2)
        assert not list(Path(config.cache).glob(f"{TEMP_PREFIX}*"))

    @pytest.mark.timeout(20)
    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_page_that_crashes_its_decoder_is_unreadable_and_the_others_are_read(
        self, pages, config, monkeypatch, workers
    ):
        crashing = pages.ids[3]

        def crash(path, **options):
            if path.name == crashing:
                os.kill(os.getpid(), signal.SIGSEGV)
            return read_page(path, **options)

        monkeypatch.setattr(pages_module, "read_page", crash)
        monkeypatch.setattr(
            worker_pool_module, "is_paged", lambda name: True
        )  # one process is used even for one worker
        cache = open_or_build(pages, PREPROCESS, config, workers=workers)
        assert cache.reason(3) == CRASHES
        assert (cache[4] == direct(pages, 4)).all()
        assert (cache[2] == direct(pages, 2)).all()

    @pytest.mark.timeout(20)
    def test_a_builder_that_was_killed_leaves_nothing_for_long(self, pages, config, monkeypatch):
        monkeypatch.setattr(
            pages_module, "read_page", lambda path, **options: time.sleep(0.1) or read_page(path, **options)
        )
        builder = multiprocessing.get_context("fork").Process(
            target=open_or_build, args=(pages, PREPROCESS, config), kwargs={"workers": 2}
        )
        builder.start()
        while not list(Path(config.cache).glob(f"{TEMP_PREFIX}*")):
            time.sleep(0.01)
        builder.kill()
        builder.join()
        cache = open_or_build(pages, PREPROCESS, config)
        assert (cache[0] == direct(pages, 0)).all()
        assert not list(Path(config.cache).glob(f"{TEMP_PREFIX}*"))

    @pytest.mark.timeout(20)
    def test_of_two_processes_one_builds_and_both_read(self, pages, config, tmp_path, monkeypatch):
        counter = tmp_path / "reads"
        counter.touch()

        def counted(path, **options):
            with counter.open("a") as file:
                file.write("x")
            time.sleep(0.02)
            return read_page(path, **options)

        monkeypatch.setattr(pages_module, "read_page", counted)
        context = multiprocessing.get_context("fork")
        results = context.SimpleQueue()

        def build():
            results.put((open_or_build(pages, PREPROCESS, config)[0] == direct(pages, 0)).all())

        builders = [context.Process(target=build) for _ in range(3)]
        for process in builders:
            process.start()
        assert all(results.get() for _ in builders)
        for process in builders:
            process.join()
        assert len(counter.read_text()) == len(pages)


class TestNoCache:
    def test_off(self, pages):
        assert open_or_build(pages, PREPROCESS, DataConfig(cache="off")) is None

    def test_a_folder_that_cannot_be_made(self, pages, tmp_path, caplog):
        (tmp_path / "file").touch()
        assert open_or_build(pages, PREPROCESS, DataConfig(cache=str(tmp_path / "file" / "cache"))) is None
        assert "decoded each time" in caplog.text

    def test_no_room(self, pages, config, caplog, monkeypatch):
        monkeypatch.setattr(cache_module, "MAX_BYTES", 1000)
        assert open_or_build(pages, PREPROCESS, config) is None
        assert "GiB are allowed" in caplog.text

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_full_disk_is_said_and_leaves_nothing(self, pages, config, caplog, workers):
        def limited(send):
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
            cache = open_or_build(pages, PREPROCESS, config, workers=workers)
            send.put((cache, caplog.text, os.listdir(config.cache)))  # noqa: PTH208

        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        process = context.Process(target=limited, args=(queue,))
        process.start()
        cache, said, left = queue.get()
        process.join()
        assert cache is None
        assert "File too large" in said
        assert left == [".lock"]

    def test_least_recently_used_cache_files_make_room(self, pages, config, monkeypatch):
        monkeypatch.setattr(cache_module, "MAX_BYTES", 2 * len(pages) * 26 * 26 * 3)
        folder = Path(config.cache)
        open_or_build(pages, Preprocess(24), config)
        open_or_build(pages, Preprocess(25), config)
        oldest_first = cache_files(folder)
        for number, path in enumerate(oldest_first):
            os.utime(path, ns=(number, number))
        open_or_build(pages, Preprocess(24), config)  # used again
        open_or_build(pages, Preprocess(26), config)
        sizes = {open_cache_file(path).pixels.shape[1] for path in cache_files(folder)}
        assert sizes == {24, 26}


class TestFolder:
    def test_auto_is_in_the_users_cache(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_folder("auto") == tmp_path / "docclf" / "pages"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache_folder("auto") == tmp_path / ".cache" / "docclf" / "pages"

    def test_off_and_a_path(self):
        assert cache_folder("off") is None
        assert cache_folder("some/where") == Path("some/where")

    def test_clearing_deletes_pages_and_nothing_else(self, pages, config):
        open_or_build(pages, PREPROCESS, config)
        folder = Path(config.cache)
        (folder / "mine.npz").touch()
        (folder / f"{TEMP_PREFIX}dead.u8").touch()
        held = usage(folder)
        assert held.cache_files == 1
        assert held.bytes > len(pages) * 24 * 24 * 3
        assert clear(folder) == held
        assert usage(folder) == Usage(0, 0)
        assert sorted(path.name for path in folder.iterdir()) == [".lock", "mine.npz"]

    def test_clearing_nothing(self, tmp_path):
        assert clear(tmp_path / "none") == Usage(0, 0)


def test_rules_of_decoding_are_part_of_the_key(pages, config, reads, monkeypatch):
    open_or_build(pages, PREPROCESS, config)
    reads.clear()
    monkeypatch.setattr(cache_module, "RULES", decode.RULES + 1)
    open_or_build(pages, PREPROCESS, config)
    assert len(reads) == len(pages)
