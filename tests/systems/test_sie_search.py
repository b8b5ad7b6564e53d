"""SIE as a user has it: a table of views, an index of them, searches by part and by change, changes of pairs read off."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import brickwork
from brickwork.api import index as indexing
from brickwork.api import predict as predict_api
from brickwork.api import train as training
from brickwork.cli.main import app
from brickwork.core.config import override
from brickwork.core.errors import BrickworkWarning, ConfigError, DataError
from brickwork.index.encoding import Query
from brickwork.systems.sie import changes as known
from brickwork.systems.sie.parts import PartedRepresentation
from brickwork.systems.sie.predictors import HyperLinear
from brickwork.systems.sie.recipes import small, smoke
from vision_checkpoints import image_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::brickwork.core.errors.BrickworkWarning")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Twenty bars in two colours each, six views of each: turned, and more or less light."""
    folder = tmp_path_factory.mktemp("views")
    rng = np.random.default_rng(0)
    rows = []
    for thing in range(20):
        base = np.zeros((16, 16, 3), np.uint8)
        base[7:10, 2:14] = rng.integers(80, 255, 3)
        base[4:10, 11:14] = rng.integers(80, 255, 3)
        for view in range(6):
            angle, light = rng.uniform(0, 360), rng.uniform(0.5, 1)
            image = Image.fromarray(base).rotate(angle, resample=Image.Resampling.BILINEAR)
            name = f"{thing}-{view}.png"
            Image.fromarray((np.asarray(image) * light).astype(np.uint8)).save(folder / name)
            rows.append([f"thing {thing}", name, f"{angle:.1f}", f"{light:.2f}"])
    with open(folder / "views.csv", "w", newline="") as file:
        csv.writer(file).writerows([["object", "image", "angle", "light"], *rows])
    return folder


@pytest.fixture(scope="module")
def run(place, tmp_path_factory):
    model = replace(smoke().model, projector=(32, 16))
    settings = [
        f"data.source={place / 'views.csv'}",
        "data.image_size=16",
        "train.steps=120",
        "train.batch_size=32",
    ]
    config = override(replace(small(), model=model), [*settings, "train.precision=fp32"])
    return training.train(config, tmp_path_factory.mktemp("sie") / "run")


@pytest.fixture(scope="module")
def index(run, place, tmp_path_factory):
    return indexing.build_index(run.folder, place / "views.csv", tmp_path_factory.mktemp("sie") / "index")


def image_of(place, name):
    return np.array(Image.open(place / name))


def names_in(place):
    with open(place / "views.csv") as file:
        return [row["image"] for row in csv.DictReader(file)]


def assert_best(hits, names, cosines):
    """Hits are the best by ``cosines``, to what rounding to bf16 leaves of these."""
    results = [hit.score for hit in hits]
    np.testing.assert_allclose(results, np.sort(cosines)[::-1][: len(hits)], atol=0.01)
    np.testing.assert_allclose(results, [cosines[names.index(hit.id)] for hit in hits], atol=0.01)


def test_vectors_have_two_parts_of_equal_length(run, place):
    system = brickwork.load(run.folder)
    images = np.stack([image_of(place, f"{n}-0.png") for n in range(5)])
    vectors = system.encode(images, precision="fp32")
    assert vectors.shape == (5, 16 + 16)
    np.testing.assert_allclose(np.linalg.norm(vectors[:, :16], axis=1), 0.5**0.5, atol=1e-6)
    with torch.no_grad():
        r = system.r(images)
        z = system.parted.projector(r[:, 16:])
    for part, plain in (("invariant", r[:, :16]), ("equivariant", z)):
        expected = torch.nn.functional.normalize(plain, dim=1).numpy()
        np.testing.assert_allclose(system.encode(images, part=part, precision="fp32"), expected, atol=1e-5)
    with pytest.raises(ConfigError, match="no part 'inv': did you mean 'invariant'"):
        system.encode(images, part="inv")


@pytest.mark.parametrize("part", ["invariant", "equivariant"])
@pytest.mark.parametrize("kind", ["flat", "int8"])
def test_a_search_by_part_is_brute_force_on_that_part(run, place, tmp_path, part, kind):
    """The same order and cosines as of the part alone, which no index knows of."""
    found = indexing.build_index(run.folder, place / "views.csv", tmp_path / "index", kind=kind)
    image = image_of(place, "3-2.png")
    hits = found.search(Query(image=image, part=part), top=5)[0]
    names = names_in(place)
    every = np.stack([image_of(place, name) for name in names])
    system = brickwork.load(run.folder)
    cosines = system.encode(every, part=part) @ system.encode(image[None], part=part)[0]
    assert_best(hits, names, cosines)


def test_a_search_by_change_asks_for_the_moved_vector(run, index, place):
    """By the matrix W(g) written out, on the equivariant part; with both parts, it is their mean cosine."""
    system = brickwork.load(run.folder)
    image = image_of(place, "5-1.png")
    assert isinstance(system.predictor, HyperLinear)
    g = torch.tensor(known.of(system.changes, {"angle": 90.0}), dtype=torch.float32)
    with torch.no_grad():
        z = torch.from_numpy(
            system.encode(image[None], part="equivariant")[0]
        )  # in the precision of a search
        moved = torch.nn.functional.normalize(system.predictor.matrix(g) @ z, dim=0).numpy()
    names = names_in(place)
    every = np.stack([image_of(place, name) for name in names])
    along = system.encode(every, part="equivariant") @ moved
    alike = system.encode(every, part="invariant") @ system.encode(image[None], part="invariant")[0]
    for part, cosines in (("equivariant", along), (None, (along + alike) / 2)):
        for change in ("angle=90", {"angle": 90}):
            hits = index.search(Query(image=image, change=change, part=part), top=3)[0]
            assert_best(hits, names, cosines)


def test_an_index_filters_by_what_the_table_says(index, place):
    hits = index.search(Query(image=image_of(place, "2-0.png")), top=10, where="object=thing 7")[0]
    assert {hit.meta["object"] for hit in hits} == {"thing 7"}
    assert len(hits) == 6
    assert isinstance(hits[0].meta["angle"], float)


def test_the_index_keeps_what_follows_changes(run, index):
    """The copy of the model in an index is the whole system; its fingerprint is that of the run."""
    copy = brickwork.open_index(index.folder)
    assert isinstance(copy.representation, PartedRepresentation)
    assert copy.representation.fingerprint == run.representation.fingerprint == index.model
    vector = run.representation.encode(np.zeros((1, 16, 16, 3), np.uint8))[0]
    np.testing.assert_allclose(
        copy.representation.asked(vector, None, "angle=30"),
        run.representation.asked(vector, None, "angle=30"),
        atol=1e-6,
    )


def test_the_command_line(run, index, place, tmp_path):
    query = [str(index.folder), "--image", str(place / "3-2.png"), "--json", "--top", "2"]
    runner = CliRunner()
    for options in (
        ["--part", "invariant"],
        ["--change", "angle=30"],
        ["--change", "angle=30", "--part", "equivariant"],
    ):
        result = runner.invoke(app, ["search", *query, *options])
        assert result.exit_code == 0, result.output
        assert len(json.loads(result.stdout)["results"]) == 2
    for options, message in (
        (["--part", "pose"], "no part 'pose'"),
        (["--change", "angel=30"], "did you mean 'angle'"),
        (["--change", "30"], "is no change"),
        (["--change", "angle=30", "--part", "invariant"], "ignores changes"),
    ):
        result = runner.invoke(app, ["search", *query, *options])
        assert result.exit_code != 0
        assert message in result.output


def test_the_change_between_two_images(run, place, tmp_path):
    pairs = [["5-0.png", "5-1.png"], ["6-2.png", "6-3.png"]]
    path = place / "pairs.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["first", "second"], *pairs])
    answers = predict_api.predict(run.folder, path, tmp_path / "out.csv")
    assert list(answers) == ["id", "first", "second", "angle", "light", "fit"]
    assert list(zip(answers["first"], answers["second"])) == [tuple(pair) for pair in pairs]
    system = brickwork.load(run.folder)
    x, y = (system.r(np.stack([image_of(place, pair[side]) for pair in pairs])) for side in (0, 1))
    g, fit = (found.numpy() for found in system.solve(x, y))
    np.testing.assert_allclose(answers["angle"], np.rad2deg(np.arctan2(g[:, 1], g[:, 0])), rtol=1e-4)
    np.testing.assert_allclose(answers["fit"], fit, rtol=1e-4)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 3
    arrays = {"first": [image_of(place, "5-0.png")], "second": [image_of(place, "5-1.png")]}
    np.testing.assert_allclose(system.predict(arrays)["angle"], answers["angle"][:1], rtol=1e-4)


def test_a_change_that_the_training_could_not_tell_is_named(run, place):
    """However well the fit is: least squares always has one."""
    arrays = {"first": [image_of(place, "5-0.png")], "second": [image_of(place, "5-1.png")]}
    system = brickwork.load(run.folder)
    assert list(system.predict(arrays)) == ["angle", "light", "fit"]  # of images without names
    system.card["scores"] |= {"r2_angle_solved": -0.15, "r2_light_solved": 0.5}
    with pytest.warns(BrickworkWarning, match=r"could not tell angle \(R² -0\.15\): no better than a guess"):
        system.predict(arrays)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("first,second\n5-0.png,\n", r"pairs.csv.*row 1, 'second' is empty"),
        ("first,second\n5-0.png,no.png\n", r"row 1, 'second'.*no.png.*every row needs two images"),
        ("u,v\n5-0.png,5-1.png\n5-0.png,views.csv\n", r"row 2, 'v'"),
        (
            "u,w,v\n5-0.png,5-0.png,5-1.png\n",
            r"call the two with the images 'first' and 'second' \(3 columns",
        ),
        ("u,v\n1,2\n", "call the two with the images 'first' and 'second'"),
        ("first,second\n5-0.png,../x.png\n", "leads outside"),
    ],
)
def test_bad_pairs_are_named(run, place, text, message):
    (place / "bad-pairs.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        predict_api.predict(run.folder, place / "bad-pairs.csv")


def test_the_report_shows_what_is_steered(run, place):
    page = (run.folder / "report.html").read_text()
    assert "Steered by a change" in page
    assert "What each part holds of each change" in page
    assert "data:image/png" in page
    assert run.scores["steering_mrr"] > run.scores["chance_mrr"]


@pytest.mark.parametrize("split", [0.0, 0.5])
def test_a_pretrained_encoder_is_taken_with_its_own_preprocessing(place, tmp_path, split):
    image_checkpoint("dinov2", tmp_path / "dinov2")
    run = training.recipe("sie", "vision")
    encoder = replace(run.model.encoder, backbone=str(tmp_path / "dinov2"))
    model = replace(run.model, encoder=encoder, split=split, projector=(8, 8), readout=8)
    short = [
        f"data.source={place / 'views.csv'}",
        "train.steps=3",
        "train.batch_size=8",
        "train.precision=fp32",
    ]
    summary = training.train(override(replace(run, model=model), short), tmp_path / "run")
    system = brickwork.load(tmp_path / "run")
    image = image_of(place, "0-0.png")
    whole = summary.representation.encode(image[None], precision="fp32")
    assert whole.shape == (1, (16 if split == 0 else 8) + 8)
    np.testing.assert_allclose(system.encode(image[None], precision="fp32"), whole, atol=1e-5)
    found = indexing.build_index(tmp_path / "run", place / "views.csv", tmp_path / "index")
    hits = found.search(Query(image=image, change="angle=20", part="equivariant"), top=2)[0]
    assert len(hits) == 2


def test_models_without_parts_or_without_a_predictor_say_so(place, tmp_path):
    plain = replace(smoke().model, covariance=None, predictor="none", split=0.0)
    config = override(replace(smoke(), model=plain), ["train.steps=2", "data.limit=40", "data.views=2"])
    summary = training.train(config, tmp_path / "run")
    assert summary.representation.parts == ("invariant",)
    vector = np.ones(32, np.float32)
    with pytest.raises(ConfigError, match=r"cannot follow a change|no part 'equivariant'"):
        summary.representation.asked(vector, None, "angle=30")


def test_few_views_and_nothing_held_out_are_trained_on_all_the_same(place, tmp_path):
    """Two views an object, and no object to measure on: no picture of neighbours, no scores, a report all the same."""
    with open(place / "views.csv") as file:
        header, *rows = csv.reader(file)
    with open(place / "two.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *(row for row in rows if row[1][-5] in "01")])
    short = [f"data.source={place / 'two.csv'}", "data.image_size=16", "train.steps=2", "train.batch_size=8"]
    config = override(replace(small(), model=replace(smoke().model, readout=8)), short)
    some = training.train(override(config, ["data.test_share=0.2"]), tmp_path / "some")
    assert "steering_mrr" not in some.scores
    assert "r2_angle_whole" in some.scores
    assert "Steered by a change" not in (tmp_path / "some" / "report.html").read_text()
    none = training.train(
        override(config, ["data.test_share=0", "data.validation_share=0"]), tmp_path / "none"
    )
    assert none.scores == {}
    assert (tmp_path / "none" / "report.html").is_file()
