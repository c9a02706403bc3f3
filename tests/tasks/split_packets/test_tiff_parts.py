from pathlib import Path

import numpy as np
import pytest
from page_cases import page, write_tiff
from PIL import Image

from docclf_cli.errors import InputError
from docclf_cli.tasks.split_packets.tiff_parts import write_tiff_part


def frames(path: Path) -> list[Image.Image]:
    with Image.open(path) as image:
        found = []
        for number in range(image.n_frames):
            image.seek(number)
            found.append(image.copy())
        return found


@pytest.mark.parametrize("compression", ["tiff_lzw", "raw", "group4"])
def test_the_pixels_are_the_same(tmp_path: Path, compression: str) -> None:
    mode = "1" if compression == "group4" else "RGB"
    first, *others = [page(number).convert(mode) for number in range(5)]
    packet = tmp_path / "packet.tif"
    first.save(
        packet, save_all=True, append_images=others, compression=compression, dpi=(200, 200), description="SECRET"
    )
    write_tiff_part(packet, tmp_path / "part.tif", 2, 4)
    found, expected = frames(tmp_path / "part.tif"), frames(packet)[1:4]
    assert len(found) == 3
    for one, other in zip(found, expected, strict=True):
        assert one.mode == other.mode
        assert np.array_equal(np.asarray(one), np.asarray(other))
        assert one.info["dpi"] == (200, 200)
    assert b"SECRET" not in (tmp_path / "part.tif").read_bytes()


def test_a_turned_page_stays_as_it_is_seen(tmp_path: Path) -> None:
    packet = tmp_path / "packet.tif"
    first, second = (page(number).resize((40, 30)) for number in range(2))
    first.save(packet, save_all=True, append_images=[second], tiffinfo={274: 6})
    write_tiff_part(packet, tmp_path / "part.tif", 1, 1)
    (found,) = frames(tmp_path / "part.tif")
    assert found.size == (30, 40)
    assert np.array_equal(np.asarray(found), np.asarray(frames(packet)[0]))


def test_pages_that_are_not_there(tmp_path: Path) -> None:
    packet = write_tiff(tmp_path / "packet.tif", range(2))
    with pytest.raises(InputError, match="pages 2 to 3"):
        write_tiff_part(packet, tmp_path / "part.tif", 2, 3)
    assert not (tmp_path / "part.tif").exists()
