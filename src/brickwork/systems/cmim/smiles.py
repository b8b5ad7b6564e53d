"""Molecules written as SMILES: into tokens, out of the user's tables, checked before anything is learnt from them.

Weininger 1988; OpenSMILES (opensmiles.org), section 3, for what a token is. What is a molecule, and which spellings
are the same one, rdkit says (extra ``molecules``), when data is read; a trained model takes any string of tokens and
needs no rdkit.
"""

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from brickwork.core.config import nearest
from brickwork.core.errors import DataError, MissingExtraError
from brickwork.data import splits
from brickwork.data.config import DataConfig
from brickwork.data.readers.files import ReadReport, column_names, lines, row_of, rows
from brickwork.data.readers.inside import need_file
from brickwork.data.readers.values import text_value
from brickwork.data.sets.sources import locate
from brickwork.data.types import Examples, TaskData, TextFormat
from brickwork.encoders.tokenization import Notation

POOL = "molecules"
"""The known set: ESOL, FreeSolv and Lipophilicity together, without their properties; each is one by its own name too."""
PROPERTIES = {
    "esol": "measured log solubility in mols per litre",
    "freesolv": "expt",
    "lipophilicity": "exp",
}
USUAL_NAMES = ("smiles", "canonical_smiles", "isomeric_smiles", "mol", "molecule", "structure")
LINES = (".smi", ".smiles", ".txt")
PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
# A bracket atom; Br and Cl before B and C; the organic subset, aromatic and not; ring bonds %(100) …, %10 … and 0 … 9;
# bonds, branches, dots, the wildcard and the marks of reactions.
_TOKEN = r"\[[^\[\]\s]+\]|Br|Cl|[BCNOPSFI]|[bcnops]|%[0-9]{2}|%\([0-9]{1,5}\)|[0-9]|[-=#$:/\\~.()*>]"
_TOKENS = re.compile(_TOKEN)
NOTATION = Notation("SMILES", _TOKEN)
# What every vocabulary has, so that a new molecule of common atoms has no unknown token.
_BASE = (
    "Br",
    "Cl",
    *"BCNOPSFIbcnops",
    *"0123456789",
    *(f"%{number}" for number in range(10, 20)),
    *"-=#:/\\.()",
    "[nH]",
    "[H]",
    "[O-]",
    "[N+]",
    "[C@H]",
    "[C@@H]",
)


def tokens_of(smiles: str) -> list[str]:
    """The tokens of a SMILES string; joined, they are the string.

    Raises:
        DataError: it cannot be tokenised; says at which character, and why.
    """
    text = smiles.strip()
    tokens: list[str] = []
    place = 0
    while place < len(text):
        token = _TOKENS.match(text, place)
        if token is None:
            raise DataError(f"{_quoted(text)} is no SMILES: {_reason(text, place)}")
        tokens.append(token[0])
        place = token.end()
    if not tokens:
        raise DataError("an empty string is no SMILES")
    return tokens


def problem_of(smiles: str) -> str | None:
    """Why a string is no molecule, or ``None``: it has no tokens, or rdkit cannot read it.

    Raises:
        MissingExtraError: rdkit is not installed.
    """
    return _read(smiles)[1]


def canonical_of(smiles: str) -> str:
    """The one spelling of a molecule that rdkit gives all its spellings: ``OCC`` and ``C(O)C`` are ``CCO``.

    Raises:
        DataError: the string is no molecule.
        MissingExtraError: rdkit is not installed.
    """
    canonical, problem = _read(smiles)
    if problem is not None:
        raise DataError(f"{_quoted(smiles)} is no molecule: {problem}")
    return canonical


def _read(smiles: str) -> tuple[str, str | None]:
    """The canonical spelling, or why there is none; of a reaction, that of its parts."""
    try:
        tokens_of(smiles)
    except DataError as error:
        return "", str(error).partition("is no SMILES: ")[2] or "empty"
    chem = _rdkit()
    spellings = []
    for part in re.sub("%0([0-9])", r"\1", smiles.strip()).split(">"):  # rdkit does not know %01, which is 1
        with _messages() as messages:
            molecule = chem.MolFromSmiles(part)
        if molecule is None:
            return "", _reworded(messages)
        spellings.append(chem.MolToSmiles(molecule))
    return ">".join(spellings), None


def _rdkit() -> Any:
    try:
        from rdkit import Chem
    except ImportError as error:
        raise MissingExtraError("rdkit", "molecules", "reading molecules") from error
    return Chem


@contextlib.contextmanager
def _messages() -> Iterator[list[str]]:
    """What rdkit says, which goes to standard error otherwise."""
    from rdkit import rdBase

    held: list[str] = []
    logger, handler = logging.getLogger("rdkit"), logging.Handler()
    handler.emit = lambda record: held.append(record.getMessage())  # type: ignore[method-assign]
    rdBase.LogToPythonLogger()
    before, logger.handlers = logger.handlers, [handler]
    propagate, logger.propagate = logger.propagate, False
    try:
        yield held
    finally:
        logger.handlers, logger.propagate = before, propagate
        rdBase.LogToCppStreams()


def _reworded(messages: Sequence[str]) -> str:
    """The first reason that rdkit gave, in one line."""
    known = {
        "unclosed ring": "a ring bond is not closed",
        "extra open parentheses": "a branch '(' is not closed",
        "extra close parentheses": "a branch is closed that was not opened",
    }
    text = " ".join(" ".join(messages).split())
    for sign, words in known.items():
        if sign in text:
            return words
    text = re.sub(r"^(\[[0-9:]+\] *)?(SMILES Parse Error: )?", "", text)
    return (
        re.split(r" (?:for input|while parsing|Failed parsing)|\[[0-9]+:", text)[0].strip()[:120]
        or "rdkit cannot read it"
    )


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")


def _reason(text: str, place: int) -> str:
    if text[place] == "[":
        return f"the bracket at character {place + 1} is not closed or is empty"
    return f"character {place + 1}, {text[place]!r}, is none of the notation"


def smiles_tokenizer(smiles: Iterable[str]) -> Tokenizer:
    """A tokenizer of the tokens of ``smiles`` and the common ones; the same set gives the same tokenizer."""
    seen = set(_BASE)
    for text in smiles:
        seen.update(tokens_of(text))
    names = [PAD, UNKNOWN, START, END, *sorted(seen)]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Strip()
    tokenizer.pre_tokenizer = _split()
    tokenizer.decoder = decoders.Fuse()
    ends = [(mark, names.index(mark)) for mark in (START, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ends)
    return tokenizer


def _split() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(_TOKEN), "isolated")


def smiles_task(config: DataConfig, seed: int) -> TaskData:
    """Molecules to learn from without labels: of the user's table or list of lines, or a known set.

    A table has its SMILES in a column called like one (:data:`USUAL_NAMES`) or named by ``columns.text``; a ``.smi`` file
    has one molecule a line, a name may follow after white space. What rdkit cannot read is counted, reported once for
    each reason, and left out; so is what came before, letter by letter. Spellings of one molecule are in one part.

    Raises:
        MissingExtraError: rdkit is not installed.
        DataError: nothing there, no such column, or fewer than two different molecules.
    """
    report = ReadReport()
    if config.source in (POOL, *PROPERTIES):
        names = list(PROPERTIES) if config.source == POOL else [config.source]
        molecules = [smiles for name in names for smiles in load_property(name)[0]]
        read: Iterator[tuple[str, str]] = ((f"row {i}", smiles) for i, smiles in enumerate(molecules, 1))
    else:
        read = _strings(Path(config.source).expanduser(), config, report)
    good = list(_molecules(islice(read, config.limit), report))
    key_of = dict(
        good
    )  # letter by letter: other spellings of a molecule are kept, and stay on its side of the split
    report.used(len(good))
    kept = list(key_of)
    report.duplicates += len(good) - len(kept)
    if len(kept) < 2:
        reasons = "; ".join(report.notes())
        raise DataError(
            f"{config.source} gives {len(kept)} different molecules that can be read; training needs 2 or more"
            f"{': ' + reasons if reasons else ''}"
        )
    report.warn()
    parts = splits.split(
        list(key_of.values()),
        validation_share=config.validation_share,
        test_share=config.test_share,
        max_held_out=config.max_held_out,
        seed=seed,
    )
    train, validation, test = splits.select(Examples({"input": kept}), parts)
    return TaskData(
        name=Path(config.source).name,
        kind="inputs",
        modality="molecule",
        train=train,
        validation=validation,
        test=test,
        notes=tuple(report.notes()),
    )


def load_property(name: str) -> tuple[list[str], np.ndarray]:
    """The molecules and the measured property of a set of :data:`PROPERTIES` (MoleculeNet; Wu et al. 2018).

    Raises:
        DataError: there is no such set, or it is not on this machine.
    """
    if name not in PROPERTIES:
        raise DataError(f"'{name}' is no set of molecules with a property: {nearest(name, list(PROPERTIES))}")
    path = locate(POOL) / POOL / f"{name}.parquet"
    column = PROPERTIES[name]
    read = [row for _, row in rows(path, ReadReport(), ["smiles", column])]
    return [row["smiles"].strip() for row in read], np.asarray([float(row[column]) for row in read])


def _molecules(read: Iterator[tuple[str, str]], report: ReadReport) -> Iterator[tuple[str, str]]:
    """(the spelling that was read, the canonical one) of each molecule."""
    for where, text in read:
        if not text:
            report.skip("no SMILES", where)
            continue
        canonical, problem = _read(text)
        if problem is None:
            yield text, canonical
        else:
            kind, why = _refusal(text, problem)
            report.skip(kind, f"{where}, {why}")


def refuse(text: str) -> tuple[str, str] | None:
    """Why a text is no molecule: the kind of trouble and what it is; ``None`` for a molecule.

    Raises:
        MissingExtraError: rdkit is not installed.
    """
    problem = problem_of(text)
    return None if problem is None else _refusal(text, problem)


def _refusal(text: str, problem: str) -> tuple[str, str]:
    kind = "cannot be tokenised as SMILES" if "character" in problem else "is no molecule"
    return kind, f"{_quoted(text)}: {problem}"


def _strings(path: Path, config: DataConfig, report: ReadReport) -> Iterator[tuple[str, str]]:
    """(where, SMILES) of each row or line."""
    need_file(path, f"a table with a column of SMILES, a .smi file, or the set '{POOL}'")
    if path.suffix.lower() in LINES:
        report.files += 1
        for number, (line, _) in enumerate(lines(path), start=1):
            words = line.split()
            if words:
                report.rows += 1
                yield f"{path.name} line {number}", text_value(words[0], report, path.name)
        return
    column = column_of(column_names(path), config.columns.text, str(path))
    for number, row in rows(path, report, [column]):
        where = row_of(path.name, number)
        yield where, text_value(row.get(column), report, where)


def column_of(names: Sequence[str], chosen: str | None, where: str) -> str:
    """The column of SMILES: the chosen one, else one of :data:`USUAL_NAMES`.

    Raises:
        DataError: there is none.
    """
    if chosen is not None:
        if chosen not in names:
            raise DataError(f"{where} has no column '{chosen}': {nearest(chosen, names)}")
        return chosen
    by_lower = {name.strip().lower(): name for name in reversed(names)}
    for usual in USUAL_NAMES:
        if usual in by_lower:
            return by_lower[usual]
    raise DataError(
        f"{where} has the columns {', '.join(names)}: none is called like SMILES ({', '.join(USUAL_NAMES)}). Say which it "
        "is: --column text=NAME"
    )


TEXTS = TextFormat(endings=LINES, column=column_of, refuse=refuse)
"""How ``index``, ``encode`` and ``predict`` read molecules: as training does."""
