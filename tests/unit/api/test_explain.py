"""What vectors hold: the table that a user brings, the page and the numbers."""

import csv
import random
import warnings

import numpy as np
import pytest
from typer.testing import CliRunner

from brickwork.api import explain as explaining
from brickwork.api import predict as predict_api
from brickwork.cli.main import app
from brickwork.core.config import override
from brickwork.core.errors import ArtifactError, BrickworkWarning, ConfigError, DataError
from image_model import tiny_image_model
from running_server import tiny_model

ROWS = 400


class Planted:
    """Vectors that are known: at ``late`` 3·topic + 1·mood (as ±1) along two axes, at ``early`` noise."""

    input_kind = "texts"

    def layer_vectors(self, texts):
        noise = np.random.default_rng(0).normal(size=(len(texts), 6))
        topic = np.array([2 * text.startswith("sport") - 1 for text in texts])
        mood = np.array([2 * text.endswith("glad") - 1 for text in texts])
        late = np.zeros((len(texts), 6))
        late[:, 0], late[:, 1] = 3 * topic, mood
        return {"early": noise, "late": late}


@pytest.fixture
def table(tmp_path):
    """Texts with the topic and mood that they say, a coin that they do not, and a section that is nearly the topic."""
    draw = random.Random(0)
    path = tmp_path / "items.csv"
    with path.open("w", newline="") as file:
        write = csv.writer(file)
        write.writerow(["key", "text", "topic", "mood", "coin", "section"])
        for row in range(ROWS):
            topic, mood = draw.choice(["sport", "art"]), draw.choice(["glad", "sad"])
            section = topic if draw.random() > 0.1 else draw.choice(["sport", "art"])
            write.writerow([f"k{row}", f"{topic} makes me {mood}", topic, mood, draw.choice("ht"), section])
    return path


def quiet_explain(*arguments, **options):
    with pytest.warns(BrickworkWarning, match="'key' is different in every row"):
        return explaining.explain(*arguments, **options)


def test_planted_shares_come_out_and_what_is_not_there_is_not_computed(table):
    made = quiet_explain(Planted(), table)
    early, late = made.layers
    assert late.shares.alone["topic"].value == pytest.approx(0.9, abs=0.01)
    assert late.shares.alone["mood"].value == pytest.approx(0.1, abs=0.02)
    assert [late.decoded[name].above_chance for name in ("topic", "mood", "coin")] == [True, True, False]
    assert not any(one.above_chance for one in early.decoded.values())
    # The section says what the topic says: alone it explains much, added to the topic nothing.
    assert late.shares.alone["section"].value > 0.6
    assert late.shares.added["section"].value == pytest.approx(0, abs=0.01)
    assert late.shares.joint > 0.6
    assert "'key' is different" in made.left_out


def test_page_and_numbers(table, tmp_path):
    made = quiet_explain(Planted(), table)
    page = explaining.write_explanation(made, tmp_path / "x.html", "Planted <b>").read_text()
    assert "Planted &lt;b&gt;" in page
    assert (
        "At the end (late), &#39;topic&#39; explains most: 9" in page
        or "At the end (late), &#39;topic&#39; explains most: 8" in page
    )
    assert page.count("not computed") > 4
    assert "<script src" not in page
    written = explaining.write_explanation(made, tmp_path / "x.csv", "")
    rows = list(csv.DictReader(written.open()))
    assert len(rows) == 2 * 4
    found = next(row for row in rows if (row["layer"], row["property"]) == ("late", "topic"))
    assert float(found["alone"]) == made.layers[1].shares.alone["topic"].value
    assert found["computed"] == "True"


def test_only_properties_that_are_asked_for(table):
    made = explaining.explain(Planted(), table, properties=["mood"], limit=100)
    assert [one.name for one in made.properties] == ["mood"]
    assert (made.used, made.rows) == (100, ROWS)
    one = made.layers[1].shares
    assert one.added["mood"].value == pytest.approx(one.alone["mood"].value)


def test_the_command_line_on_a_folder_of_a_model_of_texts(table, tmp_path):
    tiny_model().save(tmp_path / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("always", BrickworkWarning)
        result = CliRunner().invoke(app, ["inspect", str(tmp_path / "model"), str(table), "-q"])
    assert result.exit_code == 0, result.output
    assert "'key' is different in every row" in result.stderr
    page = tmp_path / "model" / "inspect-items.html"
    assert result.stdout.strip() == str(page)
    text = page.read_text()
    assert "model on items.csv" in text
    assert "topic" in text


def test_every_layer_is_that_of_the_encoder(table):
    """The last layer's vectors are those of ``encode`` without scaling."""
    model = tiny_model()
    made = quiet_explain(model, table)
    assert [one.layer for one in made.layers] == [f"layer {depth}" for depth in model.encoder.depths]
    texts = [row["text"] for row in csv.DictReader(table.open())]
    vectors = np.asarray(model.encode(texts, normalize=False), dtype=np.float64)
    assert made.layers[-1].shares.variance == pytest.approx(vectors.var(axis=0).sum(), rel=0.01)


def test_a_model_of_images_and_texts_reads_what_the_table_has(table, tmp_path):
    from PIL import Image

    model = tiny_image_model()
    with pytest.warns(BrickworkWarning, match="were cut there"):
        assert len(explaining.explain(model, table, properties=["topic"]).layers) == 1
    with (tmp_path / "photos.csv").open("w") as file:
        file.write("image,bright\n")
        for row in range(40):
            Image.new("RGB", (8, 8), (row * 6, row * 3, 0)).save(tmp_path / f"{row}.png")
            file.write(f"{row}.png,{'yes' if row > 20 else 'no'}\n")
    made = explaining.explain(model, tmp_path / "photos.csv")
    assert made.layers[0].shares.alone["bright"].value > 0.2


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ("text\none\n", {}, "no column with a property"),
        ("text,c\none,a\ntwo,b\nthree,a\n" + "x,a\n" * 3, {}, "no column with a property|gives 6 rows"),
        ("text,c\n" + "one,a\ntwo,b\n" * 30, {"properties": ["d"]}, "no column 'd' to measure"),
    ],
)
def test_tables_that_cannot_be_used_are_named(tmp_path, rows, options, message):
    (tmp_path / "t.csv").write_text(rows)
    with pytest.raises(DataError, match=message):
        explaining.explain(Planted(), tmp_path / "t.csv", **options)


def test_without_a_table_it_says_what_to_give(tmp_path):
    tiny_model().save(tmp_path / "model")
    with pytest.raises(ConfigError, match=r"give a table .* inspect .* items.csv"):
        predict_api.inspect(tmp_path / "model")
    with pytest.raises(ConfigError, match="--property names columns of a table"):
        predict_api.inspect(tmp_path / "model", properties=["x"])
    with pytest.raises(ConfigError, match=r"end the name with \.html"):
        predict_api.inspect(tmp_path / "model", "t.csv", tmp_path / "x.txt")
    assert not (tmp_path / "x.txt").exists()


def test_a_model_without_vectors_is_refused(table):
    with pytest.raises(ArtifactError, match="no vectors of its inputs"):
        explaining.explain(object(), table)


def test_vectors_that_are_not_finite_are_refused(table, monkeypatch):
    monkeypatch.setattr(Planted, "layer_vectors", lambda self, texts: {"l": np.full((len(texts), 2), np.nan)})
    with pytest.raises(DataError, match="at l that are not finite"), pytest.warns(BrickworkWarning):
        explaining.explain(Planted(), table)


def test_many_columns_of_noise_are_said_to_be_too_many_for_few_rows(tmp_path):
    draw = random.Random(1)
    path = tmp_path / "few.csv"
    with path.open("w", newline="") as file:
        write = csv.writer(file)
        write.writerow(["text", "topic", *(f"noise {n}" for n in range(15))])
        for _ in range(60):
            topic = draw.choice(["sport", "art"])
            write.writerow(
                [
                    f"{topic} makes me {draw.choice(['glad', 'sad'])}",
                    topic,
                    *(draw.random() for _ in range(15)),
                ]
            )
    with pytest.warns(
        BrickworkWarning, match=r"at late all properties together explain .* less than 'topic' alone"
    ):
        made = explaining.explain(Planted(), path)
    assert "60 rows are too few for 17 columns" in made.doubts[0]
    page = explaining.write_explanation(made, tmp_path / "x.html", "few").read_text()
    assert "At late all properties together explain" in page
    alone = explaining.explain(Planted(), path, properties=["topic"])
    assert alone.doubts == ()


def test_a_run_without_a_table_is_looked_at_by_its_own_labels(tmp_path):
    from brickwork.api import train as training

    run = override(
        training.recipe("stationary-compat", "smoke"),
        ["train.steps=2", "train.validate_every=0", "train.save_every=0"],
    )
    folder = training.train(run, tmp_path / "run").folder
    made = explaining.explain_own(folder)
    page = predict_api.inspect(folder)
    assert page == folder / "inspect.html"
    assert "run on its own labels" in page.read_text()
    assert [one.name for one in made.properties] == ["label"]
    held = training.build(training.read_run(folder))[1].test
    assert made.used == made.rows == len(held) > 100
    assert made.properties[0].classes.tolist() == [int(label) for label in held.columns["label"]]
    tiny_model().save(tmp_path / "model")
    with pytest.raises(ConfigError, match="give a table of inputs"):
        explaining.explain_own(tmp_path / "model")
