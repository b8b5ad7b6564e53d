"""The user's own images as arrays: modes, turns, proportions; what is left out is counted and told."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from brickwork.core.errors import BrickworkWarning, DataError
from brickwork.data.readers.files import ReadReport
from brickwork.data.readers.images import decode, decode_with_thumbnail, read_images


def stored(image, form="PNG", **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    out.seek(0)
    return out


def gradient(mode="RGB", width=8, height=8):
    """Grey from 0 at the left to 255 at the right."""
    row = np.linspace(0, 255, width).round().astype(np.uint8)
    return Image.fromarray(np.tile(row, (height, 1))).convert(mode)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_keeps_its_values(mode, channels):
    """Images of the size that is asked for are not scaled: the values are those that were drawn."""
    wanted = np.asarray(gradient("L"))
    if mode == "1":
        wanted = np.where(wanted > 127, 255, 0)
        raw = stored(Image.fromarray(wanted.astype(np.uint8)).convert("1"))
    elif mode == "I;16":
        raw = stored(Image.fromarray(wanted.astype(np.uint16) * 257))
    elif mode == "CMYK":
        raw = stored(gradient("RGB").convert("CMYK"), "TIFF")
    else:
        raw = stored(gradient(mode))
    results = decode(raw, (8, 8, channels))
    assert results.dtype == np.uint8
    assert results.shape == (8, 8, channels)
    for channel in range(channels):
        np.testing.assert_allclose(results[..., channel].astype(int), wanted, atol=1)


def test_what_is_transparent_becomes_white():
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.putpixel((0, 0), (255, 0, 0, 255))
    results = decode(stored(image), (4, 4, 3))
    assert results[0, 0].tolist() == [255, 0, 0]
    assert results[3, 3].tolist() == [255, 255, 255]
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 0, 0, 255])
    assert decode(stored(palette, transparency=1), (4, 4, 3))[0, 0].tolist() == [255, 255, 255]


def test_the_middle_is_cut_out_and_scaled():
    """Twice as wide as high: a quarter is lost on each side, but for what smooth scaling takes from neighbours."""
    values = np.full((16, 32), 255, np.uint8)
    values[:, 8:24] = 100
    for drawn in (values, values.T.copy()):
        np.testing.assert_allclose(
            decode(stored(Image.fromarray(drawn)), (4, 4, 1)).astype(int), 100, atol=15
        )
    wide = decode(stored(gradient("L", width=256, height=64)), (4, 16, 1))[..., 0]
    np.testing.assert_allclose(wide[0].astype(int), np.arange(16) * 16 + 8, atol=4)


def test_a_image_stands_upright_as_the_camera_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees, clockwise
    results = decode(stored(gradient("RGB"), "PNG", exif=exif), (8, 8, 1))[..., 0]
    np.testing.assert_array_equal(results, np.rot90(np.asarray(gradient("L")), -1))


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    raw = stored(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(raw, (4, 4, 3))[0, 0].tolist() == [255, 0, 0]


def test_a_folder_is_read_in_order_and_what_is_left_out_is_told(tmp_path):
    (tmp_path / "deep").mkdir()
    gradient().save(tmp_path / "deep" / "b.PNG", "PNG")
    gradient().save(tmp_path / "a.jpg", "PNG")  # a wrong ending does not matter
    (tmp_path / "c.png").write_bytes((tmp_path / "a.jpg").read_bytes()[:50])
    (tmp_path / "d.gif").write_text("hello")
    (tmp_path / "notes.txt").write_text("not meant")
    (tmp_path / ".hidden.png").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.png")
    report = ReadReport()
    with pytest.warns(BrickworkWarning) as told:
        names, images = read_images(tmp_path, (8, 8, 3), report=report)
    assert names == ["a.jpg", "deep/b.PNG"]
    np.testing.assert_array_equal(images, np.stack([np.asarray(gradient())] * 2))
    assert report.skipped == {
        "damaged or cut off": 1,
        "no image, or of a format that is not read": 1,
        "not a regular file": 1,
    }
    assert report.quiet == {"hidden": 1, "type .txt": 1}
    assert "1 skipped: damaged or cut off (first: c.png)" in {str(one.message) for one in told}
    assert read_images(tmp_path, (8, 8, 3), limit=1)[0] == ["a.jpg"]
    assert read_images(tmp_path / "a.jpg", (2, 2, 1))[1].shape == (1, 2, 2, 1)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("nix", (8, 8, 3), "does not exist"),
        ("empty", (8, 8, 3), "no image that can be used .*there are no files"),
        ("broken", (8, 8, 3), "no image that can be used .*1 skipped: no image.*first: x.png"),
        ("pipe.png", (8, 8, 3), "neither a file nor a folder"),
        ("a.png", (8, 8, 4), r"\(height, width, 1\)"),
    ],
)
def test_nothing_to_read_says_why(tmp_path, name, shape, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.png").write_text("x")
    os.mkfifo(tmp_path / "pipe.png")
    gradient().save(tmp_path / "a.png")
    with pytest.raises(DataError, match=message):
        read_images(tmp_path / name, shape)


@pytest.mark.parametrize(
    ("size", "wanted"), [((300, 200), (128, 85)), ((60, 40), (60, 40)), ((3, 4000), (1, 128))]
)
def test_a_thumbnail_is_the_whole_image_small_and_bare(size, wanted):
    exif = Image.Exif()
    exif[0x010E] = "where it was taken"
    raw = stored(gradient("RGB", *size), "JPEG", exif=exif, comment=b"who took it", quality=95)
    image, small = decode_with_thumbnail(raw, (8, 8, 3))
    np.testing.assert_array_equal(image, decode(raw, (8, 8, 3)))
    results = Image.open(io.BytesIO(small))
    assert (results.format, results.size) == ("JPEG", wanted)
    assert not results.getexif()
    assert b"taken" not in small
    assert b"who took it" not in small
    values = np.asarray(results.convert("L"), dtype=float)[0]
    np.testing.assert_allclose(values[[0, -1]], [0, 255] if wanted[0] > 1 else values[[0, -1]], atol=12)
