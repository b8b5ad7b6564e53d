"""Images in a folder for each class: classes, sizes, parts, and what is left out."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from brickwork.core.errors import BrickworkWarning, DataError
from brickwork.data.config import ImageDataConfig
from brickwork.data.load import load_task
from brickwork.data.readers.images import image_size


def put(folder, name, value=0, size=(6, 4), mode="RGB"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for number in range(10):
        put(folder, f"dog/{number}.png", (number, 0, 0))
        put(folder, f"cat/deeper/{number}.jpg", (0, 200, number))
    return folder


def task(folder, **options):
    return load_task(ImageDataConfig(source=str(folder), **options), seed=0)


def test_classes_are_folders_and_values_are_kept(photos):
    data = task(photos)
    assert (data.kind, data.modality, data.class_names, data.num_classes) == (
        "labelled",
        "image",
        ("cat", "dog"),
        2,
    )
    parts = (data.train, data.validation, data.test)
    assert [len(part) for part in parts] == [17, 1, 2]
    images = np.concatenate([part.columns["input"] for part in parts])
    labels = np.concatenate([part.columns["label"] for part in parts])
    assert images.shape == (20, 4, 6, 3)
    np.testing.assert_array_equal(labels == 0, images[:, 0, 0, 1] > 100)
    assert data.notes[0] == "images as 6 × 4 RGB"


def test_sizes_that_differ_become_one(photos):
    put(photos, "dog/large.png", size=(20, 30))
    data = task(photos)
    assert data.train.columns["input"].shape[1:] == (64, 64, 3)
    assert "2 different sizes" in data.notes[0]
    assert task(photos, image_size=5).train.columns["input"].shape[1:] == (5, 5, 3)


def test_photos_that_lie_on_their_side_keep_their_whole(tmp_path):
    """Upright as Pillow turns them, and nothing is cut off; beside upright ones there are two sizes."""
    pixels = np.random.default_rng(0).integers(0, 255, (10, 20, 3), dtype=np.uint8)
    notes = Image.Exif()
    notes[0x0112] = 6
    for number in range(3):
        for name in "ab":
            (tmp_path / "x" / name).mkdir(parents=True, exist_ok=True)
            lying = Image.fromarray(np.roll(pixels, number + (name == "a"), axis=1))
            lying.save(tmp_path / "x" / name / f"{number}.png", exif=notes)
    data = task(tmp_path / "x", validation_share=0.0, test_share=0.0)
    expected = [ImageOps.exif_transpose(Image.open(path)) for path in sorted((tmp_path / "x").glob("*/*"))]
    np.testing.assert_array_equal(data.train.columns["input"], np.stack(expected))
    with Image.open(tmp_path / "x" / "a" / "0.png") as first, open(first.filename, "rb") as raw:
        assert image_size(raw) == expected[0].size == (10, 20)
    Image.fromarray(pixels).save(tmp_path / "x" / "a" / "upright.png")
    assert "2 different sizes" in task(tmp_path / "x").notes[0]


def test_grey_stays_grey(tmp_path):
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        put(tmp_path / "x", name, 7, mode="L")
    assert task(tmp_path / "x").train.columns["input"].shape[1:] == (4, 6, 1)


def test_equal_images_stay_together(tmp_path):
    for number in range(40):
        put(tmp_path / "x", f"a/{number}.png", (number % 4, 0, 0))
        put(tmp_path / "x", f"b/{number}.png", (9, 0, number % 4))
    data = task(tmp_path / "x", test_share=0.4)
    seen = {bytes(image) for image in data.train.columns["input"]}
    assert len(data.test)
    assert not seen & {bytes(image) for image in data.test.columns["input"]}


def test_what_cannot_be_used_is_told(photos):
    put(photos, "beside.png")
    (photos / "dog" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    with pytest.warns(BrickworkWarning, match="no image, or of a format"):
        data = task(photos)
    assert any("1 images beside the folders" in note for note in data.notes)
    assert len(data.train) + len(data.validation) + len(data.test) == 20


def test_limit_takes_from_all_classes(photos):
    data = task(photos, limit=10)
    labels = np.concatenate([part.columns["label"] for part in (data.train, data.validation, data.test)])
    assert len(labels) == 10
    assert len(set(labels.tolist())) == 2


def test_one_class_is_refused(tmp_path):
    put(tmp_path / "x", "only/1.png")
    with pytest.raises(DataError, match="images of 1 class"):
        task(tmp_path / "x")


def test_documents_beside_images_are_documents(photos):
    (photos / "guide.md").write_text(
        "# A\n\n" + "one two three. " * 30 + "\n\n# B\n\n" + "four five six. " * 30
    )
    assert task(photos, max_passage_words=20).modality == "text"


def test_a_note_beside_many_images_is_told_and_left_out(photos):
    for number in range(40):
        put(photos, f"bird/{number}.png", (0, number, 9))
    (photos / "dog" / "notes.txt").write_text("taken in spring")
    with pytest.warns(BrickworkWarning, match=r"documents \(1\) beside images \(60\) are left out"):
        assert task(photos).class_names == ("bird", "cat", "dog")
    for number in range(3):
        text = "one two three. " * 30
        (photos / f"{number}.md").write_text(f"# A\n\n{text}\n\n# B{number}\n\n{text}{number}")
    assert task(photos, max_passage_words=20).modality == "text"
