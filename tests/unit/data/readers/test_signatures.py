"""Files with the wrong ending: one clear error in place of rows of rubbish."""

import gzip
import io
import zipfile

import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from brickwork.core.errors import DataError
from brickwork.data.config import DataConfig
from brickwork.data.inputs import read_inputs
from brickwork.data.load import load_task, read_documents
from brickwork.systems.multimodn.data import Data
from brickwork.systems.multimodn.tables import multitask_table


def workbook() -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("[Content_Types].xml", "<Types/>")
        file.writestr("xl/worksheets/sheet1.xml", "<worksheet>" + "<row/>" * 500 + "</worksheet>")
    return raw.getvalue()


def parquet() -> bytes:
    raw = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"text": ["a", "b"]}), raw)
    return raw.getvalue()


def image(kind: str) -> bytes:
    raw = io.BytesIO()
    Image.new("RGB", (8, 8)).save(raw, kind)
    return raw.getvalue()


KINDS = {
    "workbook": (workbook(), r"a zip file or a workbook of a spreadsheet \(\.xlsx.*save its table as CSV"),
    "old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), r"old spreadsheet \(\.xls\)"),
    "parquet": (parquet(), r"a Parquet file; give it the ending \.parquet"),
    "gzip": (gzip.compress(b"a,b\n1,2\n"), r"compressed by gzip; add the ending \.gz"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\n" + bytes(100), "a PDF"),
    "sqlite": (b"SQLite format 3\0" + bytes(500), "a SQLite database"),
    "png": (image("PNG"), "an image"),
    "jpeg": (image("JPEG"), "an image"),
}


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".csv.gz"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_reader_refuses_another_kind_of_file_by_name(tmp_path, kind, ending):
    raw, words = KINDS[kind]
    path = tmp_path / f"t{ending}"
    path.write_bytes(gzip.compress(raw) if ending.endswith(".gz") else raw)
    reads = (
        lambda: load_task(DataConfig(source=str(path)), 0),
        lambda: list(read_documents(path)),
        lambda: read_inputs(path, "columns"),
        lambda: multitask_table(path, Data(source=str(path)), 0),
    )
    for read in reads:
        with pytest.raises(DataError, match=rf"t{ending} is called like a table of texts and is .*{words}"):
            read()


@pytest.mark.parametrize("header", ["PAR1,text", "ORC,text", "BZh,text", "PK,text", "\ufeffid,text"])
def test_tables_whose_first_letters_are_a_signature_are_read(tmp_path, header):
    path = tmp_path / "t.csv"
    path.write_text(f"{header}\n1,caf\u00e9 one\n2,two\n", encoding="utf-8")
    assert [document.text for document in read_documents(path)] == ["caf\u00e9 one", "two"]
