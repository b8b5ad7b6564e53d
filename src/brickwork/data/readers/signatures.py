"""Files that are not what their name says: told by their first bytes, before rubbish is read from them."""

from pathlib import Path

from brickwork.core.errors import DataError

# First bytes, what they begin, and what to do with it in place of reading it as a table of texts.
_KINDS = (
    (
        b"PK\x03\x04",
        "a zip file or a workbook of a spreadsheet (.xlsx, .ods)",
        "save its table as CSV, or unpack it",
    ),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a workbook of an old spreadsheet (.xls)", "save its table as CSV"),
    (b"PAR1", "a Parquet file", "give it the ending .parquet"),
    (b"\x1f\x8b\x08", "compressed by gzip", "add the ending .gz"),
    (b"ARROW1", "an Arrow file", "write it as Parquet"),
    (b"ORC", "an ORC file", "write it as Parquet"),
    (b"BZh", "compressed by bzip2", "unpack it"),
    (b"\xfd7zXZ\x00", "compressed by xz", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z file", "unpack it"),
    (b"%PDF-", "a PDF", "write its tables as CSV"),
    (b"SQLite format 3\x00", "a SQLite database", "write its table as CSV"),
    (b"\x89HDF\r\n", "an HDF5 file", "write its table as CSV or Parquet"),
    (b"\x93NUMPY", "an array of NumPy", "give it the ending .npy"),
    (b"\x89PNG\r\n", "an image", "give its folder"),
    (b"\xff\xd8\xff", "an image", "give its folder"),
)


def refuse_other_kinds(path: Path, start: bytes) -> None:
    """Refuses a table of texts whose first bytes (unpacked, of a ``.gz``) are those of another kind of file.

    Raises:
        DataError: says what it is and what to do.
    """
    for signature, kind, advice in _KINDS:
        if start.startswith(signature) and not _is_text(signature, start):
            raise DataError(f"{path} is called like a table of texts and is {kind}; {advice}")


def _is_text(signature: bytes, start: bytes) -> bool:
    """Whether a signature of letters alone begins a text: nothing behind it is binary either."""
    return signature.isalnum() and not any(byte < 9 or 13 < byte < 32 for byte in start)
