import os
import threading
import tracemalloc

import numpy as np
import pytest
from hostile_pages import BAD, quadrants, truncated
from PIL import Image, ImageFile

from docclf_cli.data.images.decode import UnreadablePage, flattened, open_page, read_page
from docclf_cli.data.images.preprocess import Preprocess

SQUARE = Preprocess(32, "squash", interpolation="nearest")
LIMIT = 100_000_000


def read(path, preprocess=SQUARE, **options):
    return read_page(path, preprocess, **{"max_pixels": LIMIT, **options})


class TestMeaningOfFiles:
    @pytest.mark.parametrize(
        ("suffix", "options"),
        [("png", {}), ("bmp", {}), ("tiff", {}), ("webp", {"lossless": True}), ("jp2", {}), ("j2k", {})],
    )
    def test_lossless_formats_give_their_pixels(self, tmp_path, suffix, options):
        path = tmp_path / f"page.{suffix}"
        Image.fromarray(quadrants()).save(path, **options)
        assert (read(path) == quadrants()).all()

    # EXIF 2.32, tag 0x0112: which transformation shows the picture upright.
    @pytest.mark.parametrize(
        ("orientation", "upright"),
        [
            (1, lambda p: p),
            (2, lambda p: p[:, ::-1]),
            (3, lambda p: p[::-1, ::-1]),
            (4, lambda p: p[::-1]),
            (5, lambda p: p.transpose(1, 0, 2)),
            (6, lambda p: np.rot90(p, -1)),
            (7, lambda p: p[::-1, ::-1].transpose(1, 0, 2)),
            (8, lambda p: np.rot90(p, 1)),
        ],
    )
    @pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp", "avif"])
    def test_exif_orientation_is_applied_once(self, tmp_path, orientation, upright, suffix):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"page.{suffix}"
        lossless = {"webp": {"lossless": True}, "jpg": {"quality": 100}, "avif": {"quality": 100}}.get(suffix, {})
        Image.fromarray(quadrants()).save(path, exif=exif, **lossless)
        corners = np.ix_((4, 27), (4, 27))
        assert np.abs(read(path)[corners].astype(int) - upright(quadrants())[corners]).max() < 12

    def test_damaged_exif_is_no_orientation(self, tmp_path):
        path = tmp_path / "page.jpg"
        Image.fromarray(quadrants()).save(path, exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff" + b"\0" * 20)
        assert read(path).shape == (32, 32, 3)

    def test_what_pillow_does_not_read_says_what_it_is(self, tmp_path):
        for brand, name in ((b"heic", "AVIF or HEIC"), (b"isom", "a film")):
            path = tmp_path / "photo.heic"
            path.write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0" * 300)
            with pytest.raises(UnreadablePage, match=f"is {name}, which is not read here; convert it to JPEG or PNG"):
                read(path)

    @pytest.mark.parametrize("mode", ["1", "L"])
    def test_grey_has_the_same_value_in_all_channels(self, tmp_path, mode):
        path = tmp_path / "page.png"
        Image.new("L", (8, 8), 255).convert(mode).save(path)
        assert (read(path) == 255).all()

    @pytest.mark.parametrize(("value", "shown"), [(0, 0), (257, 1), (32768, 128), (65535, 255)])
    @pytest.mark.parametrize("suffix", ["png", "tiff"])
    def test_sixteen_bits_are_scaled_not_clipped(self, tmp_path, value, shown, suffix):
        path = tmp_path / f"page.{suffix}"
        Image.fromarray(np.full((8, 8), value, np.uint16)).save(path)
        assert (read(path) == shown).all()

    def test_sixteen_bit_tiff_with_white_at_zero_is_inverted(self, tmp_path):
        path = tmp_path / "page.tiff"
        Image.fromarray(np.full((8, 8), 65535, np.uint16)).save(path, tiffinfo={262: 0})
        assert (read(path) == 0).all()

    def test_big_endian_sixteen_bit_tiff(self, tmp_path):
        path = tmp_path / "page.tiff"
        Image.frombytes("I;16B", (2, 2), bytes.fromhex("0000 0101 8080 ffff")).save(path)
        assert read(path, Preprocess(2, "squash", interpolation="nearest"))[..., 0].tolist() == [[0, 1], [128, 255]]

    def test_floating_point_is_stretched(self, tmp_path):
        path = tmp_path / "page.tiff"
        Image.fromarray(np.array([[-1, 0], [0, 1]], np.float32)).save(path)
        assert read(path, Preprocess(2, "squash", interpolation="nearest"))[..., 0].tolist() == [[0, 128], [128, 255]]

    def test_not_a_number_is_unreadable(self, tmp_path):
        path = tmp_path / "page.tiff"
        Image.fromarray(np.array([[np.nan, 0]], np.float32)).save(path)
        with pytest.raises(UnreadablePage, match="finite"):
            read(path)

    def test_cmyk_paper_is_white(self, tmp_path):
        path = tmp_path / "page.jpg"
        Image.new("CMYK", (16, 16), (0, 0, 0, 0)).save(path)
        assert (read(path) >= 253).all()

    @pytest.mark.parametrize(
        ("mode", "colour", "shown"),
        [
            ("RGBA", (0, 0, 0, 0), 255),
            ("RGBA", (0, 0, 0, 255), 0),
            ("RGBA", (0, 0, 0, 128), 127),
            ("LA", (0, 0), 255),
            ("LA", (0, 255), 0),
        ],
    )
    def test_alpha_lies_over_white(self, tmp_path, mode, colour, shown):
        path = tmp_path / "page.png"
        Image.new(mode, (8, 8), colour).save(path)
        assert (read(path) == shown).all()

    @pytest.mark.parametrize("mode", ["P", "L", "RGB"])
    def test_a_transparent_colour_shows_the_paper(self, tmp_path, mode):
        path = tmp_path / "page.png"
        Image.new(mode, (8, 8), 0).save(path, transparency=(0, 0, 0) if mode == "RGB" else 0)
        assert (read(path) == 255).all()

    def test_palette_colours(self, tmp_path):
        path = tmp_path / "page.gif"
        image = Image.new("P", (8, 8), 1)
        image.putpalette([0, 0, 0, 10, 20, 30])
        image.save(path)
        assert (read(path) == (10, 20, 30)).all()

    @pytest.mark.parametrize("suffix", ["tiff", "gif", "webp", "png"])
    def test_of_several_pages_or_frames_the_first_is_read(self, tmp_path, suffix):
        path = tmp_path / f"page.{suffix}"
        first, second = (Image.new("RGB", (8, 8), grey) for grey in ("black", "white"))
        first.save(path, save_all=True, append_images=[second])
        assert read(path).max() < 3

    def test_flattened_gives_rgb_of_the_same_size(self):
        assert flattened(Image.new("LA", (5, 7), (0, 0))).tobytes() == b"\xff" * 105


class TestResizing:
    def test_letterbox_centres_on_white(self, tmp_path):
        path = tmp_path / "page.png"
        Image.new("RGB", (40, 20), "black").save(path)
        page = read(path, Preprocess(16, "letterbox"))
        assert (page[:4] == 255).all()
        assert (page[4:12] == 0).all()
        assert (page[12:] == 255).all()

    def test_letterbox_enlarges_small_pages(self, tmp_path):
        path = tmp_path / "page.png"
        Image.new("RGB", (2, 4), "black").save(path)
        assert (read(path, Preprocess(16, "letterbox"))[:, 4:12] == 0).all()

    def test_squash_fills_the_square(self, tmp_path):
        path = tmp_path / "page.png"
        Image.new("RGB", (40, 20), "black").save(path)
        assert (read(path, Preprocess(16, "squash")) == 0).all()

    def test_crop_takes_the_central_square(self, tmp_path):
        pixels = np.full((20, 60, 3), 255, np.uint8)
        pixels[:, 20:40] = 0
        path = tmp_path / "page.png"
        Image.fromarray(pixels).save(path)
        page = read(path, Preprocess(10, "crop"))
        assert (page[:, 1:-1] == 0).all()  # the filter of the outermost pixels reaches over the edge
        assert (page < 128).all()

    @pytest.mark.parametrize("mode", ["letterbox", "squash", "crop"])
    @pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
    def test_extreme_aspect_ratios(self, tmp_path, mode, size):
        path = tmp_path / "page.png"
        Image.new("L", size, 0).save(path)
        page = read(path, Preprocess(384, mode))
        assert page.shape == (384, 384, 3)
        assert page[191, 191].tolist() == [0, 0, 0]

    def test_a_fine_pattern_becomes_grey_not_moire(self, tmp_path):
        stripes = np.zeros((640, 640), np.uint8)
        stripes[:, ::2] = 255
        path = tmp_path / "page.png"
        Image.fromarray(stripes).save(path)
        page = read(path, Preprocess(30)).astype(int)
        assert np.abs(page - 128).max() < 16

    def test_scaling_while_decoding_changes_nothing_that_shows(self, tmp_path, monkeypatch):
        rng = np.random.default_rng(0)
        rough = Image.fromarray(rng.integers(0, 256, (80, 60, 3), np.uint8)).resize((1654, 2339))
        path = tmp_path / "page.jpg"
        rough.save(path, quality=90)
        fast = read(path, Preprocess(384)).astype(int)
        monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.draft", lambda *_: None)
        slow = read(path, Preprocess(384)).astype(int)
        assert np.abs(fast - slow).mean() < 1
        assert np.abs(fast - slow).max() < 16

    def test_scaling_while_decoding_never_falls_below_the_pixels_needed(self, tmp_path, monkeypatch):
        path = tmp_path / "page.jpg"
        Image.new("RGB", (1654, 2339), "white").save(path)
        sizes = []
        load = ImageFile.ImageFile.load
        monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: (sizes.append(self.size), load(self))[1])
        read(path, Preprocess(384))
        assert sizes[0] == (827, 1170)


class TestHostileFiles:
    @pytest.mark.timeout(20)
    @pytest.mark.parametrize("name", BAD)
    def test_bad_files_are_named_in_one_line_within_bounded_memory(self, tmp_path, name):
        make, reason = BAD[name]
        path = tmp_path / "page.png"
        make(path)
        tracemalloc.start()
        with pytest.raises(UnreadablePage, match=reason) as caught:
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert "\n" not in caught.value.reason
        assert peak < 4_000_000

    def test_other_code_cannot_loosen_the_rules(self, tmp_path, monkeypatch):
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        truncated(tmp_path / "page.jpg")
        with pytest.raises(UnreadablePage, match="truncated"):
            read(tmp_path / "page.jpg")
        assert ImageFile.LOAD_TRUNCATED_IMAGES is True
        assert Image.MAX_IMAGE_PIXELS is None

    def test_a_higher_limit_lets_larger_pages_in(self, tmp_path):
        path = tmp_path / "page.png"
        Image.new("1", (14_000, 14_000), 1).save(path)
        with pytest.raises(UnreadablePage, match="max_pixels"):
            read(path)
        assert (read(path, max_pixels=200_000_000) == 255).all()

    def test_links_may_not_leave_the_root_unless_allowed(self, tmp_path):
        root, outside = tmp_path / "root", tmp_path / "outside.png"
        root.mkdir()
        Image.new("L", (8, 8)).save(outside)
        (root / "link.png").symlink_to(outside)
        (root / "folder").symlink_to(tmp_path)
        for path in (root / "link.png", root / "folder" / "outside.png", root / ".." / "outside.png"):
            with pytest.raises(UnreadablePage, match="leaves the data root"):
                read(path, root=root)
            assert read(path, root=root, allow_symlinks=True).shape == (32, 32, 3)

    def test_a_folder_whose_name_starts_like_the_root_is_outside(self, tmp_path):
        (tmp_path / "data").mkdir()
        (tmp_path / "data2").mkdir()
        Image.new("L", (8, 8)).save(tmp_path / "data2" / "page.png")
        with pytest.raises(UnreadablePage, match="leaves"):
            open_page(tmp_path / "data2" / "page.png", tmp_path / "data")

    def test_links_inside_the_root_are_followed(self, tmp_path):
        Image.new("L", (8, 8)).save(tmp_path / "page.png")
        (tmp_path / "link.png").symlink_to("page.png")
        assert read(tmp_path / "link.png", root=tmp_path).shape == (32, 32, 3)

    def test_a_pipe_with_a_writer_is_refused_as_well(self, tmp_path):
        path = tmp_path / "page.png"
        os.mkfifo(path)
        writer = threading.Thread(target=lambda: path.open("wb").close(), daemon=True)
        writer.start()
        with pytest.raises(UnreadablePage, match="regular"):
            read(path)
