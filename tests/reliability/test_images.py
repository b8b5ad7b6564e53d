"""Images that are bombs, cut off, of strange modes or mutated: limited before decoding, left out with a reason (R8)."""

import io
import os
import random
import struct
import time
import zlib

import numpy as np
import pytest
from faults import in_child, mutate
from PIL import Image

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import BrickworkWarning, DataError
from brickwork.data.readers.files import ReadReport
from brickwork.data.readers.images import decode, read_images
from brickwork.encoders.config import ImageEncoderConfig
from brickwork.encoders.image import ImageEncoder
from brickwork.representation.model import Representation

SHAPE = (8, 8, 3)
MEGABYTES = 50  # a bomb would take 1,200 and more


def stored(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def noise(mode="RGB", size=(40, 30)):
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def png(width, height, content):
    """A PNG of grey pixels whose header says this size, whatever its content is."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def good():
    """Every kind of image that is read, by what it is."""
    frames = [noise(), Image.new("RGB", (40, 30), "red")]
    sixteen = Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50)
    return {
        "rgb.png": stored(noise(), "PNG"),
        "grey.png": stored(noise("L"), "PNG"),
        "one.png": stored(noise("RGB", (1, 1)), "PNG"),
        "line.png": stored(noise("RGB", (1, 20_000)), "PNG"),
        "palette.png": stored(noise("P"), "PNG", transparency=3),
        "signs.png": stored(noise("1"), "PNG"),
        "alpha.png": stored(noise("RGBA"), "PNG"),
        "grey-alpha.png": stored(noise("LA"), "PNG"),
        "sixteen.png": stored(sixteen, "PNG"),
        "sixteen.tif": stored(sixteen, "TIFF"),
        "cmyk.jpg": stored(noise("CMYK"), "JPEG"),
        "cmyk.tif": stored(noise("CMYK"), "TIFF"),
        "lab.tif": stored(noise("RGB").convert("LAB"), "TIFF"),
        "ycc.tif": stored(noise("YCbCr"), "TIFF"),
        "animated.gif": stored(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "animated.png": stored(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "animated.webp": stored(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "pages.tif": stored(frames[0], "TIFF", save_all=True, append_images=frames[1:]),
        "colours.bmp": stored(noise(), "BMP"),
        "colours.ppm": stored(noise(), "PPM"),
        "png called.jpg": stored(noise(), "PNG"),
        "jpeg called.gif": stored(noise(), "JPEG"),
    }


def hostile():
    """What must be left out, and a word of the reason."""
    whole = stored(noise(), "JPEG")
    tall = stored(Image.new("L", (20_000, 20_000)), "PNG")
    floating = stored(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    tiff = bytearray(stored(noise(), "TIFF"))
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/x) (w) file\nshowpage\n"
    return {
        "bomb.png": (tall, "pixels"),
        "bomb of a header.png": (png(2**31 - 1, 2**31 - 1, b""), "pixels"),
        "just over.png": (png(10_000, 5_001, b""), "pixels"),
        "bomb.gif": (b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b";", "damaged|pixels|no image"),
        "bomb.ppm": (b"P6 99999999 99999999 255 ", "pixels"),
        "header without pixels.png": (png(100, 100, b""), "damaged"),
        "fewer pixels.png": (png(100, 100, zlib.compress(bytes(50))), "damaged"),
        "none.png": (png(0, 0, b""), "damaged|no image"),
        "cut.jpg": (whole[: len(whole) // 2], "damaged"),
        "cut at once.jpg": (whole[:20], "damaged|no image"),
        "cut.tif": (bytes(tiff[: len(tiff) // 2]), "damaged|no image"),
        "empty.png": (b"", "no image"),
        "text.png": (b"hello", "no image"),
        "zip.png": (b"PK\x03\x04" + bytes(100), "no image"),
        "pickle.png": (b"\x80\x04cos\nsystem\n(S'touch canary'\ntR.", "no image"),
        "postscript.png": (postscript, "no image"),
        "svg.png": (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', "no image"),
        "floating.tif": (floating, "floating-point"),
    }  # fmt: skip


def test_images_of_every_kind_are_read_and_encoded(tmp_path, tally):
    for name, content in good().items():
        (tmp_path / name).write_bytes(content)
    names, images = read_images(tmp_path, SHAPE)
    assert names == sorted(good())
    assert images.shape == (len(names), *SHAPE)
    encoder = ImageEncoder(ImageEncoderConfig(embedding_dim=8, width=4, depth=1), SHAPE)
    model = Representation(encoder.eval(), ElasticAxes(dims=(8,), layers=(1,)))
    assert np.isfinite(model.encode(images)).all()
    for name in ("cmyk.jpg", "cmyk.tif", "animated.gif", "pages.tif", "png called.jpg", "palette.png"):
        # Not grey or white, as a wrong conversion would make them: near the image that was drawn.
        expected = decode(io.BytesIO(good()["rgb.png"]), SHAPE).astype(int)
        difference = np.abs(images[names.index(name)].astype(int) - expected).mean()
        assert difference < 25, name
    tally("R8", "images of 1 × 1, CMYK, palettes, 16 bits, animations, wrong endings: read", len(names))


def test_images_that_cannot_be_used_are_left_out_with_the_reason(tmp_path, tally):
    cases = hostile()
    for name, (content, _) in cases.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "good.png").write_bytes(good()["rgb.png"])
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone.png")
    for content, word in cases.values():
        with pytest.raises(DataError, match=word):
            decode(io.BytesIO(content), SHAPE)
    report = ReadReport()

    def read():
        names, _ = read_images(tmp_path, SHAPE, report=report)
        return {"names": names, "skipped": sum(report.skipped.values())}

    def told():
        with pytest.warns(BrickworkWarning):
            return read()

    child = in_child(told, memory=4 * MEGABYTES, seconds=60)
    assert child.status == 0, child.error
    assert child.value == {"names": ["good.png"], "skipped": len(cases) + 2}  # the pipe and the link
    assert not list(tmp_path.glob("canary*"))
    tally(
        "R8",
        "bombs, cut, empty, other formats, pipes, broken links: left out with the reason",
        len(cases) + 2,
    )
    tally("R8", "MB that a folder of bombs took", round(child.grown), limit=MEGABYTES)


def test_mutated_images(tally, long):
    """Read, or refused: no other error, no long time, no memory."""
    count = 5000 if long else 200
    contents = list(good().values())
    rng = random.Random(8)

    def fuzz():
        refused, slowest = 0, 0.0
        for number in range(count):
            raw = io.BytesIO(mutate(rng.choice(contents), rng))
            began = time.perf_counter()
            try:
                assert decode(raw, SHAPE).shape == SHAPE
            except DataError:
                refused += 1
            except BaseException as error:
                raise AssertionError(f"case {number}") from error
            slowest = max(slowest, time.perf_counter() - began)
        return {"refused": refused, "slowest": slowest}

    child = in_child(fuzz, seconds=600)
    assert child.status == 0, child.error
    assert count / 10 < child.value["refused"] < count
    assert child.value["slowest"] < 5
    tally("R8", "mutated images: read or refused", count)
