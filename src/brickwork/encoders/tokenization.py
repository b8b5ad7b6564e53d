"""Texts to token ids: reading a tokenizer, training one, cutting long texts without reading all of them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Int64
from tokenizers import (
    Encoding,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import Tensor

from brickwork.core.errors import ArtifactError, DataError
from brickwork.core.text import clean_text

PAD, UNKNOWN, START, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
# Ordinary text has 3 to 6 characters a token, so 20 hold more than enough of them in almost every text.
_CHARACTERS_PER_TOKEN = 20


def read_tokenizer(text: str, source: str) -> Tokenizer:
    """The tokenizer in a ``tokenizer.json``.

    Raises:
        ArtifactError: it is not one; the message names ``source``.
    """
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises plain Exception
        raise ArtifactError(f"{source} is not a tokenizer ({error}); use a good copy of the file") from error


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a file."""
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; check the path, or make the folder again")
    try:
        return read_tokenizer(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path} is not UTF-8 text; the file is damaged, use a good copy") from error


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A lower-casing byte-level BPE tokenizer for ``texts``; the same texts give the same tokenizer.

    Byte-level, so no text has unknown tokens; BPE rather than WordPiece, whose trainer numbers its tokens in
    an order that changes from run to run. Runs of white space count as one space: indentation in code would
    fill the tokens.

    Raises:
        DataError: there is no text at all.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, UNKNOWN, START, END, MASK],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    seen = 0

    def cleaned() -> Iterator[str]:
        nonlocal seen
        for text in texts:
            seen += bool(text.strip())
            yield clean_text(text)

    tokenizer.train_from_iterator(cleaned(), trainer)
    if not seen:
        raise DataError("a tokenizer cannot be trained: the training data holds no text")
    ends = [(mark, tokenizer.token_to_id(mark)) for mark in (START, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ends)
    return tokenizer


def train_text_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer that gives every text back as it was: case, spaces, line ends and all.

    ``vocab_size=256`` has one token for each byte. There are no special tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((clean_text(text) for text in texts), trainer)
    return tokenizer


def token_windows(
    tokenizer: Tokenizer, texts: Sequence[str], context: int
) -> tuple[Int64[Tensor, "windows tokens"], Bool[Tensor, "windows targets"], list[int]]:
    """Windows of at most ``context`` + 1 tokens for next-token prediction: ids, which next tokens exist, whose text.

    The windows of a text overlap by one token, so that each token but its first is predicted once. Padding (0) is last.
    A text of less than two tokens has one window without a next token.
    """
    rows: list[list[int]] = []
    owners: list[int] = []
    for number, encoding in enumerate(_encode(tokenizer, list(texts), False)):
        ids = encoding.ids
        for start in range(0, max(len(ids) - 1, 1), context):
            rows.append(ids[start : start + context + 1])
            owners.append(number)
    length = max((len(row) for row in rows), default=0)
    padded = torch.zeros(len(rows), max(length, 2), dtype=torch.int64)
    mask = torch.zeros(len(rows), max(length, 2) - 1, dtype=torch.bool)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[place, : max(len(row) - 1, 0)] = True
    return padded, mask, owners


@dataclass(frozen=True)
class Notation:
    """What texts of a formal language consist of: ``pattern`` is a regular expression of one token of it.

    For an encoder of such texts, whose unknown parts would otherwise all become one token.
    """

    name: str
    pattern: str

    def check(self, texts: Sequence[object]) -> None:
        """Refuses the first text that is not of this notation.

        Raises:
            DataError: row, where there are several, character and remedy.
        """
        token = re.compile(self.pattern)
        for row, text in enumerate(texts):
            where = f"row {row}: " if len(texts) > 1 else ""
            if not isinstance(text, str):
                raise DataError(f"{where}{text!r:.60} is not a text; give {self.name} strings")
            place, written = 0, text.strip()
            while place < len(written) and (match := token.match(written, place)) and match[0]:
                place = match.end()
            excerpt = repr(written if len(written) <= 60 else written[:57] + "…")
            if place < len(written):
                raise DataError(
                    f"{where}{excerpt} is no {self.name}: character {place + 1}, {written[place]!r}, is none of the "
                    "notation; correct it or leave it out"
                )
            if not written:
                raise DataError(f"{where}an empty string is no {self.name}; leave it out")


def encode_texts(
    tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int, marks: bool
) -> tuple[list[list[int]], int]:
    """The token ids of each text, and how many texts were cut to ``max_tokens``.

    ``tokenizer`` must truncate at ``max_tokens``. ``marks`` adds the start and end tokens; they survive cuts.
    Only the first characters of a long text are looked at; where they turn out to hold too few tokens (a long
    run of spaces, a word of a thousand letters), more are, so the result is that of the whole text.
    """
    rows: list[list[int]] = [[] for _ in texts]
    truncated = 0
    pending = list(range(len(texts)))
    limit = max_tokens * _CHARACTERS_PER_TOKEN
    while pending:
        encodings = _encode(tokenizer, [_head(texts[row], limit) for row in pending], marks)
        unfinished = []
        for row, encoding in zip(pending, encodings):
            if encoding.overflowing:
                truncated += 1
            elif len(texts[row]) > limit:
                unfinished.append(row)
                continue
            rows[row] = encoding.ids
        pending, limit = unfinished, limit * 8
    return rows, truncated


def _head(text: str, limit: int) -> str:
    """About the first ``limit`` characters, ending between words so that no token changes."""
    if len(text) <= limit:
        return text
    for end in range(limit, max(limit - 200, 0), -1):
        if text[end].isspace():
            return text[:end]
    return text[:limit]


def _encode(tokenizer: Tokenizer, texts: list[str], marks: bool) -> list[Encoding]:
    try:
        return tokenizer.encode_batch_fast(texts, add_special_tokens=marks)
    except (TypeError, ValueError):  # a lone surrogate; looking for one in every text would cost more
        return tokenizer.encode_batch_fast([clean_text(text) for text in texts], add_special_tokens=marks)
