"""SMILES: tokens against known counts, bad strings with their reasons, tables of all kinds."""

import json
import re
import sys
import warnings

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import brickwork
from brickwork.api.index import encode_file
from brickwork.core.errors import BrickworkWarning, DataError, MissingExtraError
from brickwork.data.config import ColumnNames, DataConfig
from brickwork.data.readers.files import ReadReport
from brickwork.systems.cmim.smiles import (
    NOTATION,
    TEXTS,
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
    with pytest.raises(DataError, match=r"^None is not a text"):
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
    assert "2 skipped: cannot be tokenised as SMILES (first: some.csv row 2, 'foo!'" in warned
    assert "1 skipped: is no molecule (first: some.csv row 3, 'C1CC': a ring bond is not closed)" in warned
    assert any("1 duplicate " in note for note in task.notes)


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
    with pytest.raises(DataError, match="is not a file"):
        smiles_task(DataConfig(source=str(tmp_path / "none.csv")), 0)


BAD = ["CCO", "C(C)(C)(C)(C)C", "foo!", "", "c1ccccc1O", "CC(=O"]  # rows 1, 2, 3 and 5 are no molecules


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder of a model of molecules, untrained."""
    from brickwork.representation.contract import build_system
    from brickwork.representation.kept import save_system

    folder = tmp_path_factory.mktemp("cmim")
    (folder / "train.smi").write_text("CCO\nCCC\nCCN\nc1ccccc1O\nCC(=O)O\nCCCl\n")
    run = brickwork.override(
        brickwork.recipe("cmim", "molecules"),
        ["model.encoder.num_layers=1", "model.encoder.width=32", "model.decoder.width=16"],
    )
    data = smiles_task(DataConfig(source=str(folder / "train.smi")), 0)
    save_system(build_system("cmim", run.model, data, 0), folder / "model")
    return folder / "model"


@pytest.mark.parametrize("kind", ["smi", "csv", "jsonl"])
def test_a_bad_row_is_left_out_and_told_wherever_a_file_is_read(model, tmp_path, kind):
    """What training skips and counts, index, encode and predict skip and count."""
    path = tmp_path / f"new.{kind}"
    if kind == "smi":
        path.write_text("\n".join(f"{text} name {i}" if text else "" for i, text in enumerate(BAD)))
    elif kind == "csv":
        path.write_text("name,smiles\n" + "".join(f"name {i},{text}\n" for i, text in enumerate(BAD)))
    else:
        path.write_text(
            "".join(json.dumps({"smiles": text, "name": f"name {i}"}) + "\n" for i, text in enumerate(BAD))
        )

    def told(call):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", BrickworkWarning)
            result = call()
        texts = "\n".join(str(warning.message) for warning in caught)
        assert re.search(r"2 skipped: is no molecule \(first: new\.\w+ (row|line) \d, 'C\(C\)\(C\)", texts), (
            texts
        )
        assert re.search(r"1 skipped: cannot be tokenised as SMILES \(first: new\.\w+ (row|line) \d", texts)
        return result

    answers = told(lambda: brickwork.predict(model, path))
    assert len(answers["id"]) == len(answers["nll"]) == 2
    assert told(lambda: encode_file(model, path, tmp_path / "vectors"))["documents"] == 2
    index = told(lambda: brickwork.build_index(model, path, tmp_path / "index", kind="flat"))
    held = index.get(answers["id"])
    assert [(d.text, d.meta["name"]) for d in held] == [("CCO", "name 0"), ("c1ccccc1O", "name 4")]


def test_parts_of_a_data_set_are_read_by_the_same_rule(tmp_path):
    from brickwork.representation.parts import parts_of, read_part

    path = tmp_path / "new.jsonl"
    path.write_text("".join(json.dumps({"mol": text, "title": "a name"}) + "\n" for text in BAD))
    (part,) = parts_of(path, 0, "", ColumnNames(), 100, TEXTS)
    report = ReadReport()
    documents = read_part(path, part, report, TEXTS)
    assert [(d.title, d.text) for d in documents] == [("", "CCO"), ("", "c1ccccc1O")]
    assert report.skipped == {"is no molecule": 2, "cannot be tokenised as SMILES": 1, "'mol' is empty": 1}


def test_prose_is_refused_where_molecules_are_read(model, tmp_path):
    (tmp_path / "page.md").write_text("# A heading\n\nSome prose.\n")
    with pytest.raises(DataError, match=r"page.md is read as prose.*one text a line \(\.smi"):
        brickwork.predict(model, tmp_path / "page.md")


def test_a_column_of_molecules_needs_no_name_of_prose(model, tmp_path):
    """What the commands tell of a table of prose is not asked of one of molecules."""
    path = tmp_path / "new.csv"
    path.write_text("mol,note\nCCO,a\nCCC,b\n")
    told = []
    index = brickwork.build_index(model, path, tmp_path / "index", kind="flat", tell=told.append)
    assert index.statistics().modes == ("dense",), "a formula has no words"
    assert len(index) == 2
    assert not told
    assert encode_file(model, path, tmp_path / "vectors", tell=told.append)["documents"] == 2
