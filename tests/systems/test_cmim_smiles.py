"""SMILES: tokens against known counts, bad strings with their reasons, tables of all kinds."""

import warnings

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from brickwork.core.errors import BrickworkWarning, DataError
from brickwork.data.config import ColumnNames, DataConfig
from brickwork.systems.cmim.smiles import NOTATION, problem_of, smiles_task, smiles_tokenizer, tokens_of

CAFFEINE = "CN1C=NC2=C1C(=O)N(C(=O)N2C)C"
MOLECULES = ["CCO", "c1ccccc1O", "CC(=O)O", "[Na+].[Cl-]", "C[C@H](N)C(=O)O", "BrCCCl", "C%10CC%10", "CCN"]


@pytest.mark.parametrize(
    ("smiles", "tokens"),
    [
        ("BrCCl", ["Br", "C", "Cl"]),
        ("[nH]1cc[13C@@H2]1", ["[nH]", "1", "c", "c", "[13C@@H2]", "1"]),
        ("C%12=C/C\\C%12", ["C", "%12", "=", "C", "/", "C", "\\", "C", "%12"]),
        (" CCO ", ["C", "C", "O"]),
    ],
)
def test_tokens(smiles, tokens):
    assert tokens_of(smiles) == tokens


@pytest.mark.parametrize("smiles", [CAFFEINE, *MOLECULES])
def test_tokens_joined_are_the_string_and_the_tokenizer_agrees(smiles):
    assert "".join(tokens_of(smiles)) == smiles
    tokenizer = smiles_tokenizer([CAFFEINE, *MOLECULES])
    encoded = tokenizer.encode(smiles)
    assert encoded.tokens == ["[CLS]", *tokens_of(smiles), "[SEP]"]
    assert tokenizer.decode(encoded.ids[1:-1]) == smiles
    assert problem_of(smiles) is None


def test_the_tokenizer_depends_on_the_set_alone():
    assert smiles_tokenizer(MOLECULES).to_str() == smiles_tokenizer(MOLECULES[::-1]).to_str()


def test_an_atom_that_was_never_seen_is_one_unknown_token():
    assert smiles_tokenizer(["CC"]).encode("C[Pt+2]C").tokens == ["[CLS]", "C", "[UNK]", "C", "[SEP]"]


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("CCX", "character 3, 'X'"),
        ("C[NH", "bracket at character 2"),
        ("hello world", "character 1, 'h'"),
        ("C C", "character 2, ' '"),
        ("", "empty"),
        ("C(C", "not closed"),
        ("CC)", "was not opened"),
        ("C1CC", "ring bond 1 is not closed"),
        ("C%11CC", "ring bond 11 is not closed"),
        ("日本", "character 1"),
    ],
)
def test_what_is_no_smiles_has_a_reason(smiles, reason):
    assert reason in problem_of(smiles)


def test_check_names_the_row():
    NOTATION.check(MOLECULES)
    with pytest.raises(DataError, match=r"row 1: 'C\?' .*character 2"):
        NOTATION.check(["C", "C?"])
    with pytest.raises(DataError, match="row 0: None is not a text"):
        NOTATION.check([None])


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl", "smi"])
def test_tables(tmp_path, kind):
    path = tmp_path / f"molecules.{kind}"
    if kind == "csv":
        path.write_text("id,SMILES\n" + "".join(f"{i},{s}\n" for i, s in enumerate(MOLECULES)))
    elif kind == "parquet":
        pq.write_table(pa.table({"smiles": MOLECULES, "y": list(range(len(MOLECULES)))}), path)
    elif kind == "jsonl":
        path.write_text("".join(f'{{"smiles": "{s}"}}\n' for s in MOLECULES))
    else:
        path.write_text("".join(f"{s} name {i}\n" for i, s in enumerate(MOLECULES)))
    task = smiles_task(DataConfig(source=str(path), validation_share=0.2, test_share=0.2), 0)
    parts = [part.columns["input"] for part in (task.train, task.validation, task.test)]
    assert sorted(parts[0] + parts[1] + parts[2]) == sorted(MOLECULES)
    assert (task.kind, task.modality) == ("inputs", "molecule")


def test_bad_rows_are_counted_reported_once_and_left_out(tmp_path):
    path = tmp_path / "some.csv"
    path.write_text('smiles\nCCO\nfoo!\nC1CC\nCCO\nqq\nCCN\n""\n')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BrickworkWarning)
        task = smiles_task(DataConfig(source=str(path), validation_share=0.0, test_share=0.0), 0)
    assert task.train.columns["input"] == ["CCO", "CCN"]
    warned = " ".join(str(w.message) for w in caught)
    assert "2 skipped: cannot be tokenised as SMILES (first: some.csv row 1, 'foo!'" in warned
    assert (
        "1 skipped: is no well-formed SMILES (first: some.csv row 2, 'C1CC': ring bond 1 is not closed)"
        in warned
    )
    assert any("1 duplicates" in note for note in task.notes)


@pytest.mark.filterwarnings("ignore::brickwork.core.errors.BrickworkWarning")
def test_files_that_give_nothing_say_what_to_do(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("smiles\n!!\n??\n")
    with pytest.raises(DataError, match=r"0 different molecules.*2 skipped: cannot be tokenised"):
        smiles_task(DataConfig(source=str(path)), 0)
    path.write_text("structures,y\nC,1\nN,2\n")
    with pytest.raises(DataError, match=r"none is called like SMILES.*--column text=NAME"):
        smiles_task(DataConfig(source=str(path)), 0)
    chosen = DataConfig(source=str(path), columns=ColumnNames(text="structures"), validation_share=0.0)
    assert len(smiles_task(chosen, 0).train) == 2
    with pytest.raises(DataError, match="no column 'structure'"):
        smiles_task(DataConfig(source=str(path), columns=ColumnNames(text="structure")), 0)
    with pytest.raises(DataError, match="is no file"):
        smiles_task(DataConfig(source=str(tmp_path / "none.csv")), 0)
