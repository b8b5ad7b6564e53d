"""What a model cannot do is said before its data is looked at: data may take minutes to read, or may not be there."""

import json

import pytest

import brickwork
from brickwork.api import evaluate as evaluating
from brickwork.api import index as indexing
from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.representation.export_parquet import encode_to_disk

pytestmark = pytest.mark.filterwarnings("ignore::brickwork.core.errors.BrickworkWarning")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    rows = [{"age": n % 50, "group": "ab"[n % 2], "target": int(n % 50 > 25)} for n in range(60)]
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    wanted = {
        "table": ("multimodn", [f"data.source={folder / 'table.jsonl'}", "data.table.targets=target:class"]),
        "texts": ("matryoshka-2d", ["data.limit=60"]),
        "images": ("matryoshka", ["data.limit=60"]),
    }
    for name, (slug, settings) in wanted.items():
        recipe = brickwork.recipe(slug, "smoke")
        run = brickwork.override(recipe, ["train.steps=2", "train.batch_size=16", *settings])
        brickwork.train(run, folder / name, measure=False)
    return folder


@pytest.mark.parametrize(
    "call",
    [
        lambda model, data, out: indexing.encode_file(model, data, out),
        lambda model, data, out: indexing.build_index(model, data, out),
        lambda model, data, out: evaluating.compatibility([model, model], data),
        lambda model, data, out: (
            brickwork.load(model) and indexing.build_index(brickwork.load(model), data, out)
        ),
    ],
    ids=["encode", "index", "compatibility", "a system in Python"],
)
def test_a_system_without_vectors_is_refused_first(runs, tmp_path, call):
    with pytest.raises(ArtifactError, match="gives no vectors"):
        call(runs / "table", "nowhere.csv", tmp_path / "out")


@pytest.mark.parametrize("command", ["encode", "index"])
def test_the_command_line_looks_at_the_model_first(runs, tmp_path, command, monkeypatch):
    from typer.testing import CliRunner

    from brickwork.cli.main import app

    (tmp_path / "t.csv").write_text("age,weight\n1,2\n")  # no text among these
    out = str(tmp_path / "out")
    for model, words in (("table", "gives no vectors"), ("texts", "none is called like a text")):
        result = CliRunner().invoke(app, [command, str(runs / model), str(tmp_path / "t.csv"), "--out", out])
        assert words in result.stderr
        assert "read as" not in result.stderr
    (tmp_path / "t.csv").write_text("text,weight\na doctor,2\na boat,2\n")
    result = CliRunner().invoke(app, [command, str(runs / "texts"), str(tmp_path / "t.csv"), "--out", out])
    assert result.exit_code == 0
    assert result.stderr.count("read as") == 1


def test_a_model_of_images_encodes_no_texts(runs, tmp_path):
    model = brickwork.load(runs / "images")
    assert model.encoder.kind == "image"
    (tmp_path / "t.csv").write_text("text\na doctor\n")
    for nothing in ("nowhere.csv", tmp_path / "t.csv"):
        with pytest.raises(DataError):
            indexing.encode_file(runs / "images", nothing, tmp_path / "out")
    with pytest.raises(DataError, match="this model reads images, and '0' is a text"):
        encode_to_disk(model, iter(["a doctor"]), tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_sizes_that_the_model_does_not_have(runs, tmp_path):
    for options in ({"dims": [9999]}, {"layers": [99]}):
        with pytest.raises(ConfigError, match="is outside 1 …"):
            brickwork.evaluate(runs / "texts", "nowhere.csv", **options)
        with pytest.raises(ConfigError, match="has no sizes"):
            brickwork.evaluate(runs / "table", "nowhere.csv", **options)
    with pytest.raises(ConfigError, match="dim=9999 is outside"):
        indexing.encode_file(runs / "texts", "nowhere.csv", tmp_path / "out", dim=9999)
    with pytest.raises(ConfigError, match="layers=99 is outside"):
        indexing.build_index(runs / "texts", "nowhere.csv", tmp_path / "out", layers=[99])
    with pytest.raises(ConfigError, match="kind"):
        indexing.build_index(runs / "texts", "nowhere.csv", tmp_path / "out", kind="tree")
    with pytest.raises(DataError, match="nowhere"):
        brickwork.evaluate(runs / "texts", "nowhere.csv")


def test_one_model_is_compared_with_nothing(runs):
    with pytest.raises(ConfigError, match="two models or more"):
        evaluating.compatibility([runs / "texts"], "nowhere.csv")
