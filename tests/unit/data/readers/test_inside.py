"""Nothing outside the folder that was given is read, wherever names and links in the data lead, unless it is allowed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brickwork.core.errors import BrickworkWarning, DataError
from brickwork.data.config import DataConfig
from brickwork.data.inputs import read_inputs
from brickwork.data.load import load_task, read_documents
from brickwork.data.readers.captions import read_captions, read_image_documents
from brickwork.data.readers.cells import located, read_image
from brickwork.data.readers.files import ReadReport
from brickwork.data.readers.image_classes import is_class_folder
from brickwork.data.readers.images import read_images
from brickwork.data.readers.inside import OUTSIDE, files_below, inside
from brickwork.data.sets.language import text_task
from brickwork.representation.parts import table_files

SHAPE = (8, 8, 3)


@pytest.fixture
def given(tmp_path):
    """A folder, and beside it a private one."""
    for name in ("given", "private"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / name / f"{name}.png")
    (tmp_path / "private" / "diary.txt").write_text("a private line")
    (tmp_path / "given" / "own.txt").write_text("a line of its own")
    return tmp_path / "given"


def told(caught):
    return "\n".join(str(one.message) for one in caught)


NAMES = [
    "../private/private.png",
    "deep/../../private/private.png",
    "./../private/./private.png",
    "{absolute}",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_in_tables_do_not_lead_out(given, name):
    name = name.format(absolute=given.parent / "private" / "private.png")
    assert inside(given, name) is None
    assert inside(given, name, allow_outside=True) == given.parent / "private" / "private.png"
    (given / "captions.csv").write_text(f"image,text\ngiven.png,x\n{name},y\n")
    with pytest.warns(BrickworkWarning) as caught:
        documents = list(read_image_documents(given, SHAPE))
    assert [document.id for document in documents] == ["given.png"]
    assert f"1 skipped: {OUTSIDE} (first: captions.csv row 2, {name})" in told(caught)
    assert "--allow-outside" in OUTSIDE
    assert "allow_outside=True" in OUTSIDE
    assert len(list(read_image_documents(given, SHAPE, allow_outside=True))) == 2

    report = ReadReport()
    assert read_image(name, 8, given, report, "row 0") is None
    assert report.skipped == {OUTSIDE: 1}
    assert read_image(name, 8, given, report, "row 0", allow_outside=True) is not None
    # Rows to predict for are read when the table is no longer at hand: their texts know where it lay.
    cells = [name, "given.png", {"path": name, "bytes": None}, {"path": "given.png", "bytes": None}, 3]
    for allowed, count in ((False, 2), (True, 4)):
        texts = located(cells, given, allow_outside=allowed)
        assert texts == cells
        for folder in (None, given.parent, given.parent / "private"):
            images = [read_image(cell, 8, folder, ReadReport(), "row") for cell in texts[:4]]
            assert sum(image is not None for image in images) == count


def test_images_to_predict_for_are_not_looked_for_in_the_working_folder(given, monkeypatch):
    """Neither by names nor by whole paths; names without an ending are found beside the table as well."""
    private = given.parent / "private"
    shutil.copy(given / "given.png", given / "photo")
    names = ["private.png", str(private / "private.png"), "given.png", "photo"]
    (given / "rows.csv").write_text("\n".join(["image", *names]) + "\n")
    for working in (private, given.parent):
        monkeypatch.chdir(working)
        _, columns = read_inputs(given / "rows.csv", "columns")
        images = [read_image(cell, 8, Path(), ReadReport(), "row") for cell in columns["image"]]
        assert [image is not None for image in images] == [False, False, True, True]


@pytest.mark.parametrize(
    "name", ["~/x.png", "file:///etc/hostname", "..\\private\\private.png", "a\0b.png", "x" * 5000]
)
def test_names_that_are_no_paths_are_names(given, name):
    """They are names of files that are not there."""
    (given / "captions.jsonl").write_text('{"image": "given.png", "text": "x"}\n')
    with open(given / "captions.jsonl", "a") as file:
        file.write(json.dumps({"image": name, "text": "y"}) + "\n")
    with pytest.warns(BrickworkWarning):
        assert read_captions(given, SHAPE).texts == ["x"]
    assert read_image(name, 8, given, ReadReport(), "row 0") is None


def links(given):
    """Links to a file and a folder outside, links to links, and one that stays inside."""
    private = given.parent / "private"
    (given / "chain").symlink_to(private / "diary.txt")
    (given / "linked.txt").symlink_to(private / "diary.txt")
    (given / "twice.txt").symlink_to(given / "chain")
    (given / "relative.txt").symlink_to("../private/diary.txt")
    (given / "linked.png").symlink_to(private / "private.png")
    (given / "folder").symlink_to(private, target_is_directory=True)
    (given / "folder2").symlink_to(given / "folder", target_is_directory=True)
    (given / "same.txt").symlink_to(given / "own.txt")
    (given / "loop").symlink_to(given, target_is_directory=True)


def test_links_in_folders_do_not_lead_out(given):
    links(given)
    with pytest.warns(BrickworkWarning) as caught:
        texts = [document.text for document in read_documents(given)]
    assert texts == ["a line of its own"] * 2
    assert f"5 skipped: {OUTSIDE} (first: linked.txt)" in told(caught)
    with pytest.warns(BrickworkWarning) as caught:
        assert read_images(given, SHAPE)[0] == ["given.png"]
    assert f"3 skipped: {OUTSIDE} (first: linked.png)" in told(caught)
    assert "more than half of the images are lost: 1 of 4 can be used" in told(caught)
    allowed = {document.source for document in read_documents(given, allow_outside=True)}
    assert allowed == {"linked.txt", "own.txt", "relative.txt", "same.txt", "twice.txt", "folder/diary.txt"}
    assert read_images(given, SHAPE, allow_outside=True)[0] == [
        "given.png",
        "linked.png",
        "folder/private.png",
    ]


def test_a_folder_within_a_linked_one(given):
    """A real folder on the way to a link, and a table below a link."""
    (given / "deep").mkdir()
    (given / "deep" / "up").symlink_to("../../private", target_is_directory=True)
    assert inside(given, "deep/up/private.png") is None
    assert inside(given, "deep/../own.txt") == given / "own.txt"
    report = ReadReport()
    assert [path.name for path in files_below(given, (".png",), report)] == ["given.png"]
    assert report.skipped == {OUTSIDE: 1}
    assert report.first == {OUTSIDE: "deep/up"}


def test_the_given_path_may_be_a_link(given):
    link = given.parent / "link"
    link.symlink_to(given, target_is_directory=True)
    (link / "captions.csv").write_text("image,text\ngiven.png,x\n")
    assert [document.id for document in read_image_documents(link, SHAPE)] == ["given.png"]
    assert [document.text for document in read_documents(link)] == ["a line of its own"]
    (given.parent / "one.txt").symlink_to(given / "own.txt")
    assert [document.text for document in read_documents(given.parent / "one.txt")] == ["a line of its own"]


def test_texts_beside_images_and_captions_tables_that_are_links(given):
    private = given.parent / "private"
    (given / "given.txt").symlink_to(private / "diary.txt")
    with pytest.raises(DataError, match=r"the text beside an image leads outside .*given\.txt"):
        read_captions(given, SHAPE)
    with pytest.warns(
        BrickworkWarning, match=r"1 skipped: the text beside an image leads outside .*given\.txt"
    ):
        (only,) = read_image_documents(given, SHAPE)
    assert only.text == "given.png"
    (private / "captions.csv").write_text("image,text\ngiven.png,private words\n")
    (given / "captions.csv").symlink_to(private / "captions.csv")
    with pytest.raises(DataError, match="leads outside"):
        read_captions(given, SHAPE)
    (given / "prices.csv").write_text("image,text\ngiven.png,not the captions\n")
    with pytest.raises(DataError, match=r"captions\.csv leads outside"):
        read_captions(given, SHAPE)
    assert read_captions(given, SHAPE, allow_outside=True).texts == ["private words"]


@pytest.mark.parametrize("text", ["a red square", "caf\u00e9", b"caf\xe9"])
def test_the_text_beside_an_image_is_clean(given, text):
    (given / "given.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    if isinstance(text, str):
        assert [document.text for document in read_image_documents(given, SHAPE)] == [text]
        return
    with pytest.warns(BrickworkWarning, match=r"1 texts held invalid UTF-8.*given\.txt"):
        (only,) = read_image_documents(given, SHAPE)
    assert only.text == "caf\ufffd"


@pytest.mark.parametrize("place", ["/", "/..", "link"])
def test_the_whole_machine_is_no_folder_of_data(tmp_path, place):
    (tmp_path / "link").symlink_to("/", target_is_directory=True)
    with pytest.raises(DataError, match=r"is the root of the file system.*give the folder of the data"):
        load_task(DataConfig(source=place if place != "link" else str(tmp_path / "link")), 0)


def test_a_walk_through_files_of_other_types_ends(given, monkeypatch):
    """A wrong folder is told and not walked through for an hour; one with many documents is read."""
    monkeypatch.setattr("brickwork.data.readers.inside.MOST_OTHERS", 3)
    for number in range(4):
        (given / f"{number}.bin").write_bytes(b"x")
    with pytest.raises(
        DataError, match=r"holds 4 files of other types so far and 0 of those.*right folder\?"
    ):
        list(files_below(given, (".txt",), ReadReport()))
    with pytest.raises(DataError, match="right folder"):
        load_task(DataConfig(source=str(given)), 0)
    for number in range(9):
        (given / f"{number}.aa.txt").write_text(f"the line number {number}")
    assert len(list(files_below(given, (".txt",), ReadReport()))) == 10
    monkeypatch.setattr("brickwork.data.readers.folders.MANY", 9)
    with pytest.warns(BrickworkWarning, match="has 10 documents, which takes a while to read"):
        assert len(list(read_documents(given))) == 10


def test_class_folders_corpora_and_tables_in_parts(given):
    for name in ("cat", "dog"):
        (given / name).mkdir()
        for number in range(4):
            Image.fromarray(np.full((8, 8, 3), 9 + number, np.uint8)).save(given / name / f"{number}.png")
    (given / "own.txt").unlink()
    (given / "private").symlink_to(given.parent / "private", target_is_directory=True)
    assert is_class_folder(given, (".txt",))
    with pytest.warns(BrickworkWarning, match="leads outside"):
        task = load_task(DataConfig(source=str(given)), 0)
    assert task.class_names == ("cat", "dog")
    assert not is_class_folder(given, (".txt",), allow_outside=True)  # the diary is seen

    for name in ("cat", "dog"):
        shutil.rmtree(given / name)
    (given / "tale.txt").write_text("once upon a time " * 300)
    with pytest.warns(BrickworkWarning, match="leads outside"):
        texts = text_task(DataConfig(source=str(given.parent / "given")), 0)
    assert not any("private" in text for text in texts.train.columns["input"])

    (given.parent / "private" / "rows.jsonl").write_text('{"text": "private"}\n')
    (given / "rows.jsonl").write_text('{"text": "own"}\n')
    report = ReadReport()
    assert table_files(given, report) == ["rows.jsonl"]
    assert report.skipped == {OUTSIDE: 1}
    assert table_files(given, report, allow_outside=True) == ["private/rows.jsonl", "rows.jsonl"]


def test_columns_to_predict_for(given):
    (given / "rows.csv").write_text("scan,age\ngiven.png,1\n../private/private.png,2\n")
    _, columns = read_inputs(given / "rows.csv", "columns")
    assert columns["scan"] == ["given.png", "../private/private.png"]
    own, private = (read_image(cell, 8, None, ReadReport(), "row") for cell in columns["scan"])
    assert own is not None
    assert private is None
    _, columns = read_inputs(given / "rows.csv", "columns", allow_outside=True)
    assert read_image(columns["scan"][1], 8, None, ReadReport(), "row") is not None


def test_only_links_that_lead_out_say_so(given):
    (given / "own.txt").unlink()
    (given / "linked.txt").symlink_to(given.parent / "private" / "diary.txt")
    with pytest.raises(DataError, match=r"1 skipped: leads outside .*--allow-outside"):
        list(read_documents(given))
