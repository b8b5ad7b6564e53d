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


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "LAB", "I;16"])
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
    elif mode == "LAB":  # of lightness alone, which is no straight line of the grey values
        raw = stored(Image.merge("LAB", [gradient("L"), *[Image.new("L", (8, 8), 128)] * 2]), "TIFF")
        wanted = np.asarray(Image.open(raw).convert("RGB"))[..., 0].astype(int)
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


def noise(width, height):
    """A smooth random image in RGB."""
    small = np.random.default_rng(0).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height))


@pytest.mark.parametrize("side", [16, 64, 224])
@pytest.mark.parametrize("turned", [1, 6])
def test_a_large_jpeg_is_decoded_small_and_looks_the_same(side, turned):
    """A decoder of JPEG leaves out the fine parts that scaling would throw away; PNG has all of them."""
    image = noise(1600, 1200)
    exif = Image.Exif()
    exif[0x0112] = turned
    raw = stored(image, "JPEG", quality=95, exif=exif)
    small = decode(raw, (side, side, 3)).astype(int)
    whole = stored(Image.open(raw), "PNG", exif=exif)
    difference = abs(small - decode(whole, (side, side, 3)))
    assert difference.mean() < 1
    assert difference.max() < 12
    _, thumbnail = decode_with_thumbnail(raw, (side, side, 3))
    assert max(Image.open(io.BytesIO(thumbnail)).size) == 128


def test_a_large_jpeg_never_has_fewer_pixels_than_twice_those_wanted(monkeypatch):
    from PIL import ImageOps

    sizes = []
    fit = ImageOps.fit
    monkeypatch.setattr(ImageOps, "fit", lambda image, size: sizes.append(image.size) or fit(image, size))
    for width, height, side in ((1600, 1200, 16), (1600, 1200, 70), (300, 200, 64), (4000, 300, 32)):
        decode(stored(noise(width, height), "JPEG"), (side, side, 3))
        decoded = sizes.pop()
        assert min(decoded) >= min(2 * side, height)
        assert max(decoded) >= min(256, width)
    decode(stored(noise(1600, 1200), "JPEG"), (16, 16, 3))
    assert sizes == [(400, 300)]


def test_numbers_whose_range_is_not_known_are_refused():
    deep = Image.fromarray(np.full((4, 4), 2**30, np.int32))
    with pytest.raises(DataError, match=r"more than 16 bits.*save it with 8 or 16 bits"):
        decode(stored(deep, "TIFF"), (4, 4, 1))
    with pytest.raises(DataError, match=r"floating-point numbers.*save it with 8 or 16 bits"):
        decode(stored(Image.new("F", (4, 4), 0.5), "TIFF"), (4, 4, 1))
    clear = stored(Image.fromarray(np.full((4, 4), 500, np.uint16)), transparency=500)
    assert (decode(clear, (4, 4, 1)) == 255).all()


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize(
    "raw", [POSTSCRIPT, b"\xc5\xd0\xd3\xc6" + b"\0" * 26 + POSTSCRIPT, b"%PDF-1.4\n", b""]
)
def test_no_other_program_is_started(tmp_path, monkeypatch, raw):
    """Neither for a file, whatever it is called, nor for a cell of a table."""
    from brickwork.data.readers.cells import read_image

    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    (tmp_path / "a.png").write_bytes(raw)
    with pytest.raises(DataError, match="no image, or of a format that is not read"):
        decode(io.BytesIO(raw), (8, 8, 3))
    for cell in (raw, bytearray(raw), {"bytes": raw}, "a.png", tmp_path / "a.png"):
        assert read_image(cell, 8, tmp_path, ReadReport(), "row 0") is None
    assert not (tmp_path / "started").exists()


def test_a_cell_of_a_table_is_read_as_a_file_is(tmp_path):
    from brickwork.data.readers.cells import read_image

    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.tile(np.linspace(0, 65535, 32).astype(np.uint16), (32, 1)))
    palette = Image.new("P", (32, 32), 1)
    palette.putpalette([0, 0, 0, 0, 0, 255])
    files = [
        stored(deep),
        stored(deep, "TIFF"),
        stored(gradient("RGB", 32, 32), "JPEG", exif=exif),
        stored(Image.new("RGBA", (32, 32))),
        stored(Image.new("LA", (32, 32))),
        stored(palette, transparency=1),
        stored(gradient("RGB", 48, 32).convert("CMYK"), "TIFF"),
    ]
    for number, file in enumerate(files):
        raw = file.getvalue()
        (tmp_path / "image").write_bytes(raw)
        wanted = decode(file, (32, 32, 3))
        assert len(np.unique(wanted)) > 1 or wanted.min() == 255, number
        for cell in (raw, "image", {"path": "image", "bytes": None}):
            np.testing.assert_array_equal(read_image(cell, 32, tmp_path, ReadReport(), "x"), wanted)
