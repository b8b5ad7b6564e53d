"""Views for SIE: rendered with known values, made of images, and the user's own table; bad tables are named."""

import numpy as np
import pytest
import torch
from PIL import Image

from brickwork.core.errors import ConfigError, DataError
from brickwork.data.augment import Augmentation
from brickwork.representation.contract import build_system
from brickwork.systems.sie import changes as known
from brickwork.systems.sie import renderer
from brickwork.systems.sie.data import Data, TableOptions, load_data
from brickwork.systems.sie.objects import KINDS, Part
from brickwork.systems.sie.recipes import smoke
from brickwork.systems.sie.renderer import Thing, draw_values, make_thing, render, render_turned, rotation

pytestmark = pytest.mark.filterwarnings("ignore::brickwork.core.errors.BrickworkWarning")
LIGHTS = np.array([[0.3, 20.0, 100.0, 0.6]])


# ---- the renderer --------------------------------------------------------------------------------------------------------


def things(count=1):
    rng = np.random.default_rng(0)
    return [make_thing(kind, rng) for kind in KINDS for _ in range(count)]


def test_the_same_values_give_the_same_bytes_in_any_company():
    rows = things(2)
    values = draw_values(len(rows), np.random.default_rng(1))
    whole = render(rows, values, 16)
    order = np.random.default_rng(2).permutation(len(rows))[:7]
    assert np.array_equal(render([rows[i] for i in order], values[order], 16), whole[order])
    assert len({image.tobytes() for image in whole}) == len(rows)


def test_turning_there_and_back_gives_the_first_image():
    rows = things()
    rng = np.random.default_rng(3)
    start, turn = (rotation(rng.uniform(-90, 90, (len(rows), 3))) for _ in range(2))
    lights = np.repeat(LIGHTS, len(rows), 0)
    first = render_turned(rows, start, lights, 16)
    there = render_turned(rows, turn @ start, lights, 16)
    back = render_turned(rows, np.swapaxes(turn, 1, 2) @ (turn @ start), lights, 16)
    assert (first != there).reshape(len(rows), -1).any(1).all()
    # A ray that just grazes an edge may fall on its other side: less than one pixel in a hundred.
    assert (np.abs(first.astype(int) - back).max(-1) > 1).mean() < 0.01


def test_no_kind_looks_the_same_after_a_turn():
    """Any of 23 turns of a cube that map its axes on themselves."""
    rows = things()
    turns = [np.eye(3)] + [r for x in range(4) for y in range(4) for r in _quarter(x, y)]
    for thing in rows:
        images = render_turned([thing] * len(turns), np.stack(turns), np.repeat(LIGHTS, len(turns), 0), 16)
        differs = [(np.abs(image.astype(int) - images[0]).max(-1) > 8).mean() for image in images[1:]]
        assert min(d for d, turn in zip(differs, turns[1:]) if not np.allclose(turn, np.eye(3))) > 0.01, (
            thing.kind
        )


def _quarter(x, y):
    for z in range(4):
        yield np.round(rotation(np.array([[90.0 * x, 90.0 * y, 90.0 * z]]))[0])


@pytest.mark.parametrize("shape", ["box", "ellipsoid", "cylinder"])
def test_rays_meet_shapes_where_marching_does(shape):
    """Against small steps along each ray until a point is inside; the normal by differences of the distance function."""
    half = (0.5, 0.5, 0.3) if shape == "cylinder" else (0.5, 0.4, 0.3)
    generator = torch.Generator().manual_seed(0)
    origin = torch.nn.functional.normalize(torch.randn(400, 3, generator=generator), dim=1) * 2
    aim = torch.randn(400, 3, generator=generator) * 0.3
    direction = torch.nn.functional.normalize(aim - origin, dim=1)
    o, d = (tuple(x[:, axis][None] for axis in range(3)) for x in (origin, direction))
    h = tuple(torch.tensor([[value]]) for value in half)
    near, normal = renderer._HITS[shape](o, d, h)

    def inside(p):
        scaled = p / torch.tensor(half)
        if shape == "box":
            return scaled.abs().amax(-1) < 1
        if shape == "ellipsoid":
            return scaled.square().sum(-1) < 1
        return (scaled[..., :2].square().sum(-1) < 1) & (scaled[..., 2].abs() < 1)

    steps = torch.arange(0, 4, 0.002)
    points = origin[:, None] + steps[None, :, None] * direction[:, None]
    hits = inside(points)
    marched = torch.where(hits.any(1), steps[hits.float().argmax(1)], torch.inf)
    hit = near[0] < 1e5
    grazing = hits.sum(1) < 5
    assert torch.equal(hit[~grazing], marched.isfinite()[~grazing])
    sure = hit & ~grazing
    assert 100 < sure.sum() < 400
    torch.testing.assert_close(near[0][sure], marched[sure], atol=0.003, rtol=0)
    n = torch.stack([part[0] for part in normal], 1)[sure]
    torch.testing.assert_close(n.norm(dim=1), torch.ones(len(n)))
    surface = origin[sure] + near[0][sure, None] * direction[sure]
    assert inside(surface - 0.01 * n).float().mean() > 0.95
    assert not inside(surface + 0.01 * n).any()


def test_a_floor_and_the_sky_have_the_colours_that_are_said():
    """A tiny object: what is seen is floor of hue 0 (red), lit by light from everywhere alone, beyond the spot."""
    dot = Thing("box", (Part("box", (0.01, 0.01, 0.01), (0.0, 0.0, 0.0)),), np.ones((1, 3)))
    image = render_turned([dot], np.eye(3)[None], np.array([[0.0, 0.0, 0.0, 0.5]]), 32)[0]
    corner = image[-1, 0].astype(int)
    assert corner[0] == round(255 * 0.6 * 0.55)  # value 0.6, light 0.55
    assert corner[1] == corner[2] == round(255 * 0.24 * 0.55)  # saturation 0.6


def test_rendered_views_are_split_by_object_and_their_values_are_those_drawn():
    data = load_data(Data(objects=4, views=3, image_size=8), 0)
    parts = [set(part.columns["object"].tolist()) for part in (data.train, data.validation, data.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 40
    assert data.class_names == tuple(KINDS)
    values = data.train.columns["values"]
    assert np.abs(values[:, :3]).max() <= 90
    assert np.ptp(values[:, 0]) > 100
    for row in (0, 5, 17):
        member = data.train.columns["member"][row]
        assert np.array_equal(member.of.images[member.place], data.train.columns["input"][row])
        assert np.array_equal(member.of.values[member.place], values[row])
        assert len(member.of) == 3


# ---- views of images -----------------------------------------------------------------------------------------------------


def test_views_of_images_are_turned_by_what_is_said():
    from brickwork.data.augment import augmented
    from brickwork.data.sets.images import load_images

    data = load_data(Data(source="digits", limit=30, views=4, augmentation=Augmentation(rotate=60.0)), 0)
    assert [change.describe() for change in data.details.changes] == ["angle (on a circle of 360)"]
    digits = {image.tobytes(): image for image in load_images("digits", "all", 30).columns["input"]}
    # The first 30 digits are known; each view is one of them turned by its angle.
    row = 7
    angle = torch.tensor(data.train.columns["values"][row])
    seen = data.train.columns["input"][row]
    pixels = torch.from_numpy(np.stack(list(digits.values()))).permute(0, 3, 1, 2).float() / 255
    turned = augmented(pixels, {"angle": angle.expand(len(pixels))}).permute(0, 2, 3, 1) * 255
    assert (turned.round().to(torch.uint8).numpy() == seen).all(axis=(1, 2, 3)).any()


def test_folders_of_images_and_arrays_become_views_too(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "flat").mkdir(exist_ok=True)
        (tmp_path / "classes" / name).mkdir(parents=True)
        for number in range(6):
            image = Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8))
            image.save(tmp_path / "flat" / f"{name}{number}.png")
            image.save(tmp_path / "classes" / name / f"{number}.png")
    np.save(tmp_path / "x.npy", rng.integers(0, 255, (9, 12, 12), dtype=np.uint8))
    for source, count, channels in (("flat", 12, 3), ("classes", 12, 3), ("x.npy", 9, 1)):
        data = load_data(Data(source=str(tmp_path / source), views=3), 0)
        assert sum(map(len, (data.train, data.validation, data.test))) == 3 * count
        assert data.train.columns["input"].shape[-1] == channels
    assert load_data(Data(source=str(tmp_path / "classes"), views=3), 0).class_names == ("a", "b")
    colours = Augmentation(brightness=0.4, hue=90.0)
    data = load_data(Data(source=str(tmp_path / "flat"), views=3, augmentation=colours, changes=("hue",)), 0)
    assert data.details.columns == ("hue", "brightness")
    assert [change.name for change in data.details.changes] == ["hue"]
    with pytest.raises(ConfigError, match="changes nothing that can be told: set one of rotate"):
        load_data(Data(source=str(tmp_path / "flat"), augmentation=Augmentation(flip=0.5)), 0)
    with pytest.raises(ConfigError, match=r"are .* GiB; set data.limit, or data.views"):
        load_data(Data(source=str(tmp_path / "x.npy"), views=10**8), 0)


# ---- the user's table ----------------------------------------------------------------------------------------------------


def table(folder, header="object,image,angle,light", rows=None):
    for number in range(8):
        Image.new("RGB", (12, 10), (30 * number, 90, 20)).save(folder / f"{number}.png")
    if rows is None:
        rows = [f"thing {n // 2},{n}.png,{45 * n},{0.1 * n}" for n in range(8)]
    (folder / "views.csv").write_text("\n".join([header, *rows]) + "\n")
    return str(folder / "views.csv")


def test_a_table_of_views_is_read_as_it_seems_and_says_so(tmp_path):
    data = load_data(Data(source=table(tmp_path), image_size=16), 0)
    assert [(c.name, c.kind, round(c.size, 3)) for c in data.details.changes] == [
        ("angle", "circle", 360.0),
        ("light", "line", 0.1),  # between views of one object; .7 between objects
    ]
    assert "changes: angle (on a circle of 360), light (differences up to 0.1)" in data.notes
    everything = [part.columns for part in (data.train, data.validation, data.test)]
    assert sum(len(columns["object"]) for columns in everything) == 8
    member = data.train.columns["member"][0]
    number = round(member.of.values[member.place][0] / 45)
    assert member.of.images[member.place][0, 0].tolist() == [30 * number, 90, 20]
    assert member.of.images.shape == (2, 16, 16, 3)


@pytest.mark.parametrize(
    ("values", "size"),
    [((0.0, 0.9), 1.0), ((0.0, 6.1), 2 * np.pi), ((0.0, 6.0), 360.0), ((-90.0, 90.0), 360.0)],
)
def test_a_whole_turn_is_guessed_by_the_values(tmp_path, values, size):
    rows = [f"{n // 2},{n}.png,{values[n % 2]}" for n in range(8)]
    data = load_data(Data(source=table(tmp_path, "object,image,hue", rows)), 0)
    assert data.details.changes[0].size == pytest.approx(size)


@pytest.mark.parametrize(
    ("name", "values", "size"),
    [("angle", (-0.9, 0.9), 2 * np.pi), ("hue", (-0.5, 0.4), 1.0), ("yaw", (-0.5, 2.9), 2 * np.pi)],
)
def test_radians_about_zero_are_no_whole_turns(tmp_path, name, values, size):
    rows = [f"{n // 2},{n}.png,{values[n % 2]}" for n in range(8)]
    path = table(tmp_path, f"object,image,{name}", rows)
    assert load_data(Data(source=path), 0).details.changes[0].size == pytest.approx(size)
    told = Data(source=path, table=TableOptions(turn=24.0))
    assert load_data(told, 0).details.changes[0].size == 24.0
    with pytest.raises(DataError, match="turn=24 has no effect"):
        load_data(Data(source=path, table=TableOptions(turn=24.0, circular=())), 0)


def test_what_differs_between_objects_only_is_no_change(tmp_path):
    """Such a number is the same for every pair of views: a matrix that is made from it ignores the change."""
    rows = [f"{n // 2},{n}.png,{45 * n},{10 + n // 2}" for n in range(8)]
    path = table(tmp_path, "object,image,angle,price", rows)
    data = load_data(Data(source=path), 0)
    assert [change.name for change in data.details.changes] == ["angle"]
    assert "the same in all views of each object, so no changes: price" in data.notes
    with pytest.raises(ConfigError, match="no change 'price'"):
        load_data(Data(source=path, changes=("price",)), 0)
    only = table(tmp_path, "object,image,price", [f"{n // 2},{n}.png,{n // 2}" for n in range(8)])
    with pytest.raises(DataError, match=r"no column of numbers.*the same in all views of each object: price"):
        load_data(Data(source=only), 0)
    with pytest.raises(DataError, match="rotation names u, v, w, which are the same"):
        rows = [f"{n // 2},{n}.png,{n},1,{n // 2},3" for n in range(8)]
        path = table(tmp_path, "object,image,angle,u,v,w", rows)
        load_data(Data(source=path, table=TableOptions(rotation=("u", "v", "w"))), 0)


def test_other_views_are_read_in_the_columns_and_units_that_were_learnt(tmp_path):
    """Columns in another order, and angles that would be taken for turns or left out."""
    rows = [f"{n // 2},{n}.png,{45 * n},{n % 2 / 4 + n}" for n in range(8)]
    data = load_data(Data(source=table(tmp_path, "object,image,angle,zoom", rows)), 0)
    system = build_system("sie", smoke().model, data, 0)
    rows = [f"{n // 2},{n}.png,{n % 2 / 4},{n % 2 / 2}" for n in range(8)]
    other = Data(
        source=table(tmp_path, "object,image,zoom,angle", rows), test_share=0.0, validation_share=0.0
    )
    members = system.load_data(other, 0).train.columns["member"]
    g = system.change(members, system.partners(members)).numpy()
    sign = np.array([1 if member.place == 0 else -1 for member in members])
    expected = known.between(
        data.details.changes, np.zeros((8, 2)), np.stack([sign * 0.5, sign * 0.25], axis=1)
    )
    np.testing.assert_allclose(g, expected, atol=1e-6)
    still = Data(
        source=table(tmp_path, "object,image,zoom,angle", [f"{n // 2},{n}.png,{n},3" for n in range(8)])
    )
    assert system.load_data(still, 0).details == data.details
    with pytest.raises(DataError, match="no column 'zoom', whose changes the model has learnt"):
        system.load_data(
            Data(source=table(tmp_path, "object,image,angle", [f"0,{n}.png,{n}" for n in range(8)])), 0
        )
    images = np.zeros((6, 12, 10, 3), np.uint8)
    np.save(tmp_path / "x.npy", images + np.arange(6, dtype=np.uint8)[:, None, None, None])
    with pytest.raises(
        DataError, match="does not tell of 'zoom', which the model has learnt; it tells of angle"
    ):
        system.load_data(Data(source=str(tmp_path / "x.npy"), views=2), 0)


def test_a_row_that_comes_twice_is_one_view(tmp_path):
    rows = [f"{n // 4},{n // 2}.png,{n // 2}" for n in range(16)]
    data = load_data(Data(source=table(tmp_path, "object,image,angle", rows)), 0)
    assert "8 duplicates left out" in data.notes
    assert len(data.train) + len(data.validation) + len(data.test) == 8
    assert {len(member.of) for member in data.train.columns["member"]} == {2}


def test_what_the_user_says_of_columns_holds(tmp_path):
    rows = [f"{n // 2},{n}.png,{n},{2 * n},{3 * n},{n % 3},{'ab'[n // 4]}" for n in range(8)]
    path = table(tmp_path, "case,image,u,v,w,step,label", rows)
    options = {"object": "case", "rotation": ("u", "v", "w"), "circular": ("step",)}
    data = load_data(Data(source=path, table=TableOptions(**options)), 0)
    assert [(c.name, c.kind, c.columns) for c in data.details.changes] == [
        ("rotation", "rotation", ("u", "v", "w")),
        ("step", "circle", ("step",)),
    ]
    assert data.class_names == ("a", "b")
    only = load_data(Data(source=path, table=TableOptions(**options), changes=("step",)), 0)
    assert [c.name for c in only.details.changes] == ["step"]
    for wrong, message in (
        ({"object": "caze"}, "no column 'caze'.*did you mean 'case'"),
        ({"object": "case", "rotation": ("u", "v", "x")}, "rotation names 'x'"),
        ({"object": "case", "circular": ("stepp",)}, "circular names 'stepp'.*did you mean 'step'"),
    ):
        with pytest.raises(DataError, match=message):
            load_data(Data(source=path, table=TableOptions(**wrong)), 0)
    assert "three" in TableOptions(rotation=("u", "v")).validate()[0]


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("thingy,image,angle", ["a,0.png,1"], r"none is called like an object.*data.table.object=NAME"),
        ("object,what,angle", ["a,0.png,1"], r"none is called like an image.*--column image=NAME"),
        ("object,image", ["a,0.png", "a,1.png"], "no column of numbers that says what changed"),
        ("object,image,angle", ["a,0.png,1", "a,1.png,1"], "no column of numbers that says what changed"),
        (
            "object,image,angle",
            ["a,0.png,1", "b,1.png,2"],
            "no object in two views.*2 objects with a single view",
        ),
        (
            "object,image,angle",
            ["a,0.png,1", "a,none.png,2"],
            r"images cannot be read.*views.csv row 2 none.png",
        ),
        ("object,image,angle", ["a,0.png,1", "a,1.png,x", "a,2.png,2", "a,,3"], None),
        ("object,image,angle", ["a,0.png,1", "a,../secret.png,2"], "leads outside the folder"),
        ("object,image,angle", ["a,0.png,1", "a,1.png,2", 'a,2.png,"2,5"'], "decimal"),
    ],
)
def test_bad_tables_are_refused_or_their_rows_told(tmp_path, header, rows, message):
    path = table(tmp_path, header, rows)
    if message is None:
        data = load_data(Data(source=path, test_share=0.0, validation_share=0.0), 0)
        assert len(data.train) == 2
        assert any(
            "1 skipped: 'angle' is not a number (first: views.csv row 2)" in note for note in data.notes
        )
        assert any("1 skipped: 'image' is empty (first: views.csv row 4)" in note for note in data.notes)
        return
    with pytest.raises(DataError, match=f"(?s){message}"):
        load_data(Data(source=path), 0)
