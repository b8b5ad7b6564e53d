"""Images with texts as people keep them: folders with a table or a text beside each image, tables, Parquet of files."""

import io
import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from brickwork.core.errors import BrickworkWarning, DataError
from brickwork.data.config import ColumnNames, DataConfig
from brickwork.data.image_text import image_text_task
from brickwork.data.readers.captions import read_captions, read_image_documents
from image_model import write_images

SHAPE = (8, 8, 3)


def grey(shade: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new("RGB", size, (shade, shade, shade))


def content(shade: int) -> bytes:
    out = io.BytesIO()
    grey(shade).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("kind", ["csv", "jsonl", "txt"])
def test_a_folder_with_a_table_or_a_text_beside_each(tmp_path, kind):
    texts = write_images(tmp_path / "photos", 12, captions=kind)
    results = read_captions(tmp_path / "photos", (32, 32, 3))
    assert sorted(results.texts) == sorted(texts)
    by_name = {results.names[number]: text for text, number in zip(results.texts, results.image_of)}
    assert by_name == {f"scene-{row}.png": text for row, text in enumerate(texts)}
    drawn = np.asarray(Image.open(tmp_path / "photos" / "scene-7.png"))
    assert np.array_equal(results.images[results.names.index("scene-7.png")], drawn)


def test_several_texts_of_one_image_share_it(tmp_path):
    for shade in (0, 200):
        grey(shade).save(tmp_path / f"{shade}.png")
    (tmp_path / "captions.csv").write_text("file_name,caption\n0.png,dark\n200.png,light\n0.png,night\n")
    results = read_captions(tmp_path, SHAPE)
    assert (results.names, results.texts, results.image_of) == (
        ["0.png", "200.png"],
        ["dark", "light", "night"],
        [0, 1, 0],
    )
    assert results.sizes == [(8, 8), (8, 8)]
    (tmp_path / "captions.csv").unlink()
    (tmp_path / "captions.jsonl").write_text(
        json.dumps({"image": "0.png", "captions": ["dark", "", "night"]}) + "\n"
    )
    assert read_captions(tmp_path, SHAPE).texts == ["dark", "night"]


@pytest.mark.parametrize("form", ["bytes", "datasets"])
def test_parquet_holds_the_files_themselves(tmp_path, form):
    files = [content(10), content(20)]
    images = files if form == "bytes" else [{"bytes": file, "path": None} for file in files]
    table = pyarrow.table({"image": images, "text": [["ten", "a ten"], ["twenty"]]})
    pyarrow.parquet.write_table(table, tmp_path / "pairs.parquet")
    results = read_captions(tmp_path / "pairs.parquet", SHAPE)
    assert (results.texts, results.image_of) == (["ten", "a ten", "twenty"], [0, 0, 1])
    assert [image[0, 0, 0] for image in results.images] == [10, 20]


def test_columns_can_be_named(tmp_path):
    grey(5).save(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("where,what\na.png,dark\n")
    with pytest.raises(DataError, match=r"where, what: none is called like an image.*--column image=NAME"):
        read_captions(tmp_path / "t.csv", SHAPE)
    with pytest.raises(DataError, match=r"--column text=NAME"):
        read_captions(tmp_path / "t.csv", SHAPE, ColumnNames(image="where"))
    assert read_captions(tmp_path / "t.csv", SHAPE, ColumnNames(image="where", text="what")).texts == ["dark"]


def test_what_cannot_be_used_is_counted_named_and_left_out(tmp_path):
    grey(5).save(tmp_path / "good.png")
    noise = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(noise, "PNG")
    (tmp_path / "torn.png").write_bytes(noise.getvalue()[:1000])
    (tmp_path / "note.png").write_text("no image")
    rows = ["good.png,fine", "torn.png,torn", "note.png,words", "good.png,", ",nothing"]
    gone = [f"gone{number}.png,lost" for number in range(7)]
    (tmp_path / "captions.csv").write_text("image,text\n" + "\n".join(rows + gone) + "\n")
    with pytest.warns(BrickworkWarning) as caught:
        results = read_captions(tmp_path, SHAPE)
    assert sum("7 images are missing" in str(one.message) for one in caught) == 1
    assert results.texts == ["fine"]
    told = "\n".join(results.notes)
    assert "7 images are missing: gone0.png, gone1.png, gone2.png, gone3.png, gone4.png and 2 more" in told
    for part in ("torn.png", "damaged or cut off", "note.png", "'text' is empty", "'image' is empty"):
        assert part in told, part


def test_missing_images_alone_are_told_in_the_error(tmp_path):
    (tmp_path / "captions.csv").write_text("image,text\na.png,lost\n")
    with pytest.raises(DataError, match=r"gives no image with a text: 1 images? (is|are) missing: a.png"):
        read_captions(tmp_path, SHAPE)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_captions(tmp_path / "no", SHAPE)
    with pytest.raises(DataError, match="gives no image with a text"):
        read_captions(tmp_path, SHAPE)
    grey(1).save(tmp_path / "alone.png")
    with pytest.raises(DataError, match="no text beside the image"):
        read_captions(tmp_path, SHAPE)


def test_several_tables(tmp_path):
    grey(1).save(tmp_path / "a.png")
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text(f"image,text\na.png,{name}\n")
    with pytest.raises(DataError, match=r"several tables \(one.csv, two.csv\); call the one .* captions.csv"):
        read_captions(tmp_path, SHAPE)
    (tmp_path / "captions.csv").write_text("image,text\na.png,chosen\n")
    assert read_captions(tmp_path, SHAPE).texts == ["chosen"]


def test_limit_stops_reading(tmp_path):
    write_images(tmp_path, 12)
    assert len(read_captions(tmp_path, SHAPE, limit=5).texts) == 5


def test_documents_know_their_images(tmp_path):
    texts = write_images(tmp_path / "a", 4)
    results = list(read_image_documents(tmp_path / "a", (32, 32, 3)))
    assert [document.text for document in results] == texts
    assert [document.id for document in results] == [f"scene-{row}.png" for row in range(4)]
    assert len({document.meta["picture"] for document in results}) == 4
    assert results[0].image.shape == (32, 32, 3)
    write_images(tmp_path / "b", 4, captions="txt")
    beside = list(read_image_documents(tmp_path / "b", (32, 32, 3)))
    assert [document.text for document in beside] == texts
    (tmp_path / "b" / "scene-0.txt").unlink()
    bare = next(iter(read_image_documents(tmp_path / "b", (32, 32, 3), limit=1)))
    assert (bare.text, bare.meta) == ("scene-0.png", beside[0].meta)


# ---- the learning task


def task_of(folder, **options):
    config = DataConfig(source=str(folder), validation_share=0.25, test_share=0.25)
    return image_text_task(config, 0, image_size=8, **options)


def test_parts_share_neither_a_image_nor_a_text(tmp_path):
    """Also where an image is there under two names, and where a chain of texts and images connects several."""
    lines = ["image,text"]
    for number in range(40):
        grey(number // 2 * 6).save(tmp_path / f"{number}.png")  # each image under two names
        lines += [f"{number}.png,text {number // 3}", f"{number}.png,only {number}"]
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    task = task_of(tmp_path)
    seen = [
        (
            {image.tobytes() for image in part.columns["image"]},
            set(part.columns["text"]),
        )
        for part in (task.train, task.validation, task.test)
    ]
    assert all(len(texts) for _, texts in seen)
    for one in range(3):
        for other in range(one):
            assert not seen[one][0] & seen[other][0]
            assert not seen[one][1] & seen[other][1]
    assert sum(len(part.columns["text"]) for part in (task.train, task.validation, task.test)) == 80


def test_numbers_of_images_and_texts_are_equal_where_those_are(tmp_path):
    for number, shade in enumerate([0, 0, 90, 180]):
        grey(shade).save(tmp_path / f"{number}.png")
    rows = ["0.png,Dark", "1.png,dark ", "2.png,grey", "3.png,light", "3.png,bright"]
    (tmp_path / "captions.csv").write_text("\n".join(["image,text", *rows]))
    config = DataConfig(source=str(tmp_path), validation_share=0.0, test_share=0.0)
    columns = image_text_task(config, 0, image_size=8).train.columns
    assert columns["image_group"] == [0, 0, 1, 2, 2]
    assert columns["text_group"] == [0, 0, 1, 2, 3]


def test_what_is_chosen_by_sizes_and_texts_is_left(tmp_path):
    for name, size in (("wide", (40, 10)), ("good", (20, 20)), ("fair", (30, 20))):
        grey(len(name), size).save(tmp_path / f"{name}.png")
    rows = [f"{name}.png,one two {name}" for name in ("wide", "good", "fair")]
    (tmp_path / "captions.csv").write_text("\n".join(["image,text", *rows]))
    config = DataConfig(source=str(tmp_path), validation_share=0.0, test_share=0.0)

    def choose(texts, numbers, sizes):
        kept = [row for row, number in enumerate(numbers) if sizes[number][0] < 2 * sizes[number][1]]
        return kept, f"{len(texts) - len(kept)} wide"

    task = image_text_task(config, 0, image_size=8, choose=choose)
    assert task.train.columns["text"] == ["one two good", "one two fair"]
    assert task.notes[-1] == "1 wide"
    with pytest.raises(DataError, match=r"1 of 3 pairs are left for training.*nothing good"):
        image_text_task(config, 0, choose=lambda *_: ([0], "nothing good"))


def test_a_table_without_texts_is_documents_with_its_columns(tmp_path):
    for shade in (10, 20, 30):
        grey(shade).save(tmp_path / f"{shade}.png")
    rows = [
        "image,angle,object",
        "10.png,45,a",
        "20.png,,b",
        "30.png,2.5,a",
        "10.png,1,c",
        "40.png,1,c",
        ",1,c",
        "../x.png,1,c",
    ]
    (tmp_path / "views.csv").write_text("\n".join(rows) + "\n")
    with pytest.warns(BrickworkWarning) as told:
        documents = list(read_image_documents(tmp_path / "views.csv", SHAPE))
    assert [d.id for d in documents] == ["10.png", "20.png", "30.png"]
    assert documents[0].meta == {"picture": documents[0].meta["picture"], "angle": 45, "object": "a"}
    assert "angle" not in documents[1].meta
    assert documents[2].meta["angle"] == 2.5
    assert documents[2].image[0, 0].tolist() == [30, 30, 30]
    assert documents[0].thumbnail.startswith(b"\xff\xd8")
    messages = " ".join(str(one.message) for one in told)
    for part in ("1 image is missing: 40.png", "'image' is empty (first: views.csv row 6)", "leads outside"):
        assert part in messages
    # Of a folder with one table, the same; a limit ends the stream before the last rows are looked at.
    assert [d.id for d in read_image_documents(tmp_path, SHAPE, limit=2)] == ["10.png", "20.png"]
    (tmp_path / "views.csv").write_text("image,angle\n40.png,1\n")
    with pytest.raises(DataError, match=r"views.csv gives no image that can be used: 1 image is missing"):
        list(read_image_documents(tmp_path / "views.csv", SHAPE))
