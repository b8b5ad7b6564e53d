"""SMILES: tokens against known counts, bad strings with their reasons, tables of all kinds."""

import sys
import warnings

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from brickwork.core.errors import BrickworkWarning, DataError, MissingExtraError
from brickwork.data.config import ColumnNames, DataConfig
from brickwork.systems.cmim.smiles import (
    NOTATION,
    canonical_of,
    problem_of,
    smiles_task,
    smiles_tokenizer,
    tokens_of,
)

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
        ("C1CC", "ring bond is not closed"),
        ("C%11CC", "ring bond is not closed"),
        ("C%(123)CC%(124)", "ring bond is not closed"),
        ("C(C)(C)(C)(C)C", "valence for atom # 0 C, 5"),
        ("c1cccc1", "kekulize"),
        ("[Xx]", "syntax error"),
        ("CCO>>C1", "ring bond"),
        ("日本", "character 1"),
    ],
)
def test_what_is_no_smiles_has_a_reason(smiles, reason):
    assert reason in problem_of(smiles)


SPELLINGS = {
    "CCO": ["OCC", "C(O)C", "[CH3][CH2][OH]", " CCO "],
    "C1CC1": ["C0CC0", "C%12CC%12", "C%(123)CC%(123)", "C%01CC1", "C%10CC%10"],
    "c1ccccc1": ["C1=CC=CC=C1", "c%99ccccc%99"],
    "[Cl-].[Na+]": ["[Na+].[Cl-]"],
    "CCO>>CC=O": ["OCC>>C(C)=O"],
}


@pytest.mark.parametrize("canonical", SPELLINGS)
def test_all_spellings_of_a_molecule_are_one(canonical, capfd):
    assert {canonical_of(spelling) for spelling in [canonical, *SPELLINGS[canonical]]} == {canonical}
    assert canonical_of("C[C@H](N)C(=O)O") != canonical_of("C[C@@H](N)C(=O)O")
    with pytest.raises(DataError, match="'C1CC' is no molecule: a ring bond is not closed"):
        canonical_of("C1CC")
    assert capfd.readouterr() == ("", "")  # rdkit would write to standard error


@pytest.mark.parametrize("seed", range(5))
def test_spellings_of_one_molecule_are_on_one_side_of_the_split(tmp_path, seed):
    from rdkit import Chem

    several = []
    for carbons in range(1, 25):
        molecule = Chem.MolFromSmiles("C" * carbons + "(=O)OCC")
        several += [Chem.MolToSmiles(molecule, rootedAtAtom=atom, canonical=False) for atom in range(3)]
    path = tmp_path / "m.smi"
    path.write_text("\n".join(several))
    task = smiles_task(DataConfig(source=str(path), validation_share=0.2, test_share=0.2), seed)
    sides = [
        {canonical_of(s) for s in part.columns["input"]} for part in (task.train, task.validation, task.test)
    ]
    assert all(sides)
    assert sum(map(len, sides)) == len(set().union(*sides))
    assert sum(map(len, (task.train, task.validation, task.test))) == len(set(several))


def test_without_rdkit_molecules_are_not_read_and_a_model_still_takes_them(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    path = tmp_path / "m.smi"
    path.write_text("CCO\nCCN\n")
    with pytest.raises(
        MissingExtraError, match=r"reading molecules needs the package 'rdkit'.*brickwork\[molecules\]"
    ):
        smiles_task(DataConfig(source=str(path)), 0)
    NOTATION.check(MOLECULES)


def test_ring_bonds_of_a_new_molecule_are_known():
    tokens = smiles_tokenizer(["CC"]).encode("C%10CC%10C0CC0").tokens
    assert "[UNK]" not in tokens
    assert tokens.count("%10") == tokens.count("0") == 2


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
    assert "1 skipped: is no molecule (first: some.csv row 2, 'C1CC': a ring bond is not closed)" in warned
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
