"""Stationary representations: the loss written out, what a successor takes over, and a series as a user makes it."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import brickwork
from brickwork.api import evaluate as evaluating
from brickwork.api import index as indexing
from brickwork.api import train as api
from brickwork.core.config import from_dict
from brickwork.core.errors import ArtifactError, BrickworkWarning, ConfigError, DataError
from brickwork.data.types import Document
from brickwork.encoders.config import ImageEncoderConfig, TextEncoderConfig
from brickwork.index.build import build_index
from brickwork.index.index import open_index
from brickwork.modules.simplex import SlotRegistry
from brickwork.representation.contract import build_system
from brickwork.systems.stationary_compat.objective import higher_order
from brickwork.systems.stationary_compat.system import Config
from brickwork.training.run import run_to_dict

STATIC = TextEncoderConfig(backbone="static", width=15, vocab_size=300)
IMAGE = ImageEncoderConfig(architecture="mlp", embedding_dim=7, width=16, depth=1)
WORDS = {
    "fruit": ["apple", "pear", "plum", "cherry", "melon", "grape"],
    "tool": ["hammer", "saw", "drill", "file", "chisel", "vice"],
    "sky": ["cloud", "rain", "sun", "storm", "wind", "haze"],
    "sea": ["wave", "tide", "foam", "reef", "salt", "coral"],
    "late": ["dusk", "night", "moon"],
}


def config(**options):
    return Config(encoder=IMAGE, **options)


def build(config, data, seed=0):
    return build_system("stationary-compat", config, data, seed)


def batch_of(system, data, rows=range(12)):
    return {**system.collate(data.train.take(list(rows))), "step": 0, "indices": list(rows)}


def kept(system, folder, run=None):
    """The model as a training leaves it, with the record of the run where one is given."""
    system.representation().save(folder)
    if run is not None:
        (folder / "config.json").write_text(json.dumps(run_to_dict(run)))
    return str(folder)


# ---- the equations ---------------------------------------------------------------------------------------------


def test_the_first_model_learns_by_cross_entropy_on_the_simplex(images):
    system = build(config(logit_scale=3.0), images)
    batch = batch_of(system, images)
    output = system.loss(batch)
    z = system.encoder(batch["input"])[1]
    expected = F.cross_entropy(
        3.0 * z @ system.classifier.corners.T, batch["label"]
    )  # slots 0, 1, 2 in order
    torch.testing.assert_close(output.total, expected)
    assert set(output.terms) == {"cross_entropy"}
    assert system.classifier.slots == 8


def test_a_successor_adds_hoc_towards_the_frozen_model(images, tmp_path):
    """Equation 3: λ·CE + (1 − λ)·HOC, anchors old and queries new."""
    first = build(config(), images)
    system = build(config(previous=kept(first, tmp_path / "v1"), ce_weight=0.3, hoc_scale=5.0), images)
    with torch.no_grad():
        for parameter in system.encoder.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    batch = batch_of(system, images)
    output = system.loss(batch)
    z, old = system.encoder(batch["input"])[1], first.encoder(batch["input"])[1]
    ce = F.cross_entropy(z @ system.classifier.corners.T, batch["label"])
    hoc = higher_order(old.detach(), z, batch["label"], scale=5.0)
    torch.testing.assert_close(output.total, 0.3 * ce + 0.7 * hoc)
    output.total.backward()
    assert all(p.grad is None for p in system.anchor.parameters())
    assert all(p.grad is not None for p in system.encoder.parameters())


def test_the_anchor_never_drops_out(labelled_texts, tiny_text, tmp_path):
    encoder = replace(tiny_text, dropout=0.5)
    first = build(Config(encoder=encoder), labelled_texts)
    system = build(Config(encoder=encoder, previous=kept(first, tmp_path / "v1")), labelled_texts)
    system.train()
    assert system.encoder.training
    assert not system.anchor.training


def test_a_successor_starts_as_its_predecessor_or_fresh(images, tmp_path):
    first = build(config(), images)
    folder = kept(first, tmp_path / "v1")
    inputs = images.train.columns["input"][:5]
    warm, fresh = (
        build(config(previous=folder), images),
        build(config(previous=folder, warm_start=False), images, seed=1),
    )
    np.testing.assert_allclose(warm.encode(inputs, precision="fp32"), first.encode(inputs, precision="fp32"))
    assert not np.allclose(
        fresh.encode(inputs, precision="fp32"), first.encode(inputs, precision="fp32"), atol=0.1
    )
    alone = build(config(previous=folder, ce_weight=1.0), images)
    assert alone.anchor is None
    assert alone.representation().lineage["replaces"] == [first.representation().fingerprint]


def test_a_server_model_is_base_and_the_deployed_one_stays_the_predecessor(images, tmp_path):
    """The paper's replacement: weights and anchor from the server, corners from both, from both ends."""
    server = build(config(), replace(images, class_names=("x", "y", "z")), seed=1)
    client = build(config(slots_from="back"), images)
    paths = {"previous": kept(client, tmp_path / "client"), "base": kept(server, tmp_path / "server")}
    system = build(config(**paths, slots_from="back"), images)
    inputs = images.train.columns["input"][:5]
    np.testing.assert_allclose(
        system.encode(inputs, precision="fp32"), server.encode(inputs, precision="fp32")
    )
    assert system.registry.taken == {"a": 7, "b": 6, "c": 5, "x": 0, "y": 1, "z": 2}
    assert system.representation().lineage["replaces"] == [
        client.representation().fingerprint,
        server.representation().fingerprint,
    ]
    with pytest.raises(ConfigError, match="'x' has slot 0 in one model, where the other has 'a'"):
        build(config(previous=kept(build(config(), images), tmp_path / "front"), base=paths["base"]), images)


# ---- memory ----------------------------------------------------------------------------------------------------


def smoke(**model):
    run = api.recipe("stationary-compat", "smoke")
    return replace(run, model=replace(run.model, **model), train=replace(run.train, steps=2))


def of_digits(data, digits):
    rows = np.flatnonzero(np.isin(data.train.columns["label"], digits)).tolist()
    chosen = data.train.select(rows)
    chosen.columns["label"] = np.searchsorted(digits, chosen.columns["label"])
    return replace(data, train=chosen, class_names=tuple(map(str, digits)), num_classes=len(digits))


def test_half_of_a_batch_are_old_examples_of_classes_that_the_new_data_lacks(tmp_path):
    run = smoke()
    first, data = api.build(run)
    folder = kept(first, tmp_path / "v1", run)
    new = of_digits(data, [3, 8])
    system = build(replace(run.model, previous=folder, rehearsal=5), new)
    assert len(system.memory) == 8 * 5
    old = {bytes(image) for image in data.train.columns["input"]}
    assert {bytes(image) for image in system.memory.columns["input"]} <= old
    assert set(system.memory.columns["slot"]) == {0, 1, 2, 4, 5, 6, 7, 9}
    joined = system._with_memory(
        {**batch_of(system, new), "slot": torch.zeros(12, dtype=torch.int64)}, system.memory
    )
    assert joined["input"].shape[0] == joined["slot"].shape[0] == 24
    system.eval()
    batch = batch_of(system, new)
    assert system.loss(batch).terms["cross_entropy"] != system.train().loss(batch).terms["cross_entropy"]
    assert build(replace(run.model, previous=folder), data).memory is None, "nothing is missing"
    assert build(replace(run.model, previous=folder, rehearsal=0), new).memory is None


def test_memory_goes_back_through_all_versions(tmp_path):
    """A class of the first version, one of the second; and one that came into the second's file later does not count."""
    run = api.recipe("stationary-compat", "static")
    run = replace(run, model=Config(encoder=STATIC))
    folder = ""
    for number, classes in enumerate((["fruit", "tool"], ["sky"], ["sea"])):
        source = table(
            tmp_path / f"{number}.jsonl",
            [*classes, "fruit"] if number == 0 else [*classes, "tool"],
            90,
            number,
        )
        model = replace(run.model, previous=folder, rehearsal=3 if folder else None)
        made = replace(run, model=model, data=replace(run.data, source=str(source)))
        system, _ = api.build(made)
        folder = kept(system, tmp_path / f"v{number}", made)
        if number == 1:
            table(source, ["sky", "tool", "late"], 90, 5)
    assert system.registry.taken == {"fruit": 0, "tool": 1, "sky": 2, "sea": 3}
    slots = list(system.memory.columns["slot"])
    assert {slot: slots.count(slot) for slot in set(slots)} == {0: 3, 2: 3}


def test_old_data_that_is_gone_gives_a_warning_or_is_refused(images, tmp_path):
    folder = kept(build(config(), images), tmp_path / "v1")
    new = replace(images, class_names=("a", "b", "d"))
    with pytest.warns(BrickworkWarning, match=r"1 old classes.*not rehearsed"):
        assert build(config(previous=folder), new).memory is None
    with pytest.raises(ArtifactError, match="without the record of its training"):
        build(config(previous=folder, rehearsal=4), new)


# ---- bad input -------------------------------------------------------------------------------------------------


def test_options_that_need_a_predecessor_are_refused_without_one():
    problems = config(mask="zero", base="x", rehearsal=0).validate()
    assert [text.split()[0] for text in problems] == ["base", "mask", "rehearsal"]
    assert config(previous="x", ce_weight=1.0, mask="zero").validate() == [
        "mask has no effect with ce_weight=1; leave it out"
    ]
    wrong = {"logit_scale": 0.0, "hoc_scale": -1.0, "ce_weight": 2.0, "rehearsal": -1, "previous": "x"}
    with pytest.raises(ConfigError) as error:
        from_dict(Config, wrong)
    assert str(error.value).splitlines() == [
        "logit_scale is 0.0; it must be above 0",
        "ce_weight is 2.0; it must be at most 1",
        "hoc_scale is -1.0; it must be above 0",
        "rehearsal is -1; it must be at least 0",
    ]


def test_what_cannot_be_a_series_says_why(images, labelled_texts, pairs, tiny_text, tmp_path):
    folder = kept(build(config(), images), tmp_path / "v1")
    wider = Config(encoder=replace(IMAGE, embedding_dim=9), previous=folder, warm_start=False)
    with pytest.raises(ConfigError, match=r"9 dimensions and .*v1 of 7.*model\.encoder\.embedding_dim=7"):
        build(wider, images)
    with pytest.raises(DataError, match="holds texts, the encoder is for images"):
        build(config(previous=folder), labelled_texts)
    with pytest.raises(DataError, match="stationary-compat does not learn from: it needs inputs with labels"):
        build(config(), pairs)
    with pytest.raises(ConfigError, match="all 8 slots are taken and 'i' is a new class"):
        build(config(), replace(images, class_names=tuple("abcdefghi")))
    small = replace(
        images, train=type(images.train)({"input": np.zeros((3, 4, 4, 1), np.uint8), "label": [0, 1, 2]})
    )
    with pytest.raises(DataError, match=r"shape \(4, 4, 1\) and .* takes \(8, 8, 1\): use data.image_size=8"):
        build(config(previous=folder), small)
    other = api.build(api.recipe("matryoshka", "smoke"))[0].representation().save(tmp_path / "other")
    with pytest.raises(ArtifactError, match="made by 'matryoshka' and has no slots"):
        build(config(previous=str(other)), images)


def test_a_registry_that_was_tampered_with_is_refused(images, tmp_path):
    representation = build(config(), images).representation()
    representation.lineage = copy.deepcopy(representation.lineage)
    representation.lineage["slots"]["taken"]["a"] = 5
    representation.save(tmp_path / "v1")
    with pytest.raises(ConfigError, match="changed after it was written"):
        build(config(previous=str(tmp_path / "v1")), images)


# ---- a series, as a user makes it ------------------------------------------------------------------------------


def table(path, classes, rows, seed):
    rng = np.random.default_rng(seed)
    with open(path, "w") as file:
        for number in range(rows):
            label = classes[number % len(classes)]
            text = " ".join(rng.choice(WORDS[label], size=5))
            file.write(json.dumps({"text": f"{text} {number}", "label": label}) + "\n")
    return path


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Two versions: three classes, then a fourth on a deeper backbone, with the old ones rehearsed."""
    folder = tmp_path_factory.mktemp("series")
    run = api.recipe("stationary-compat", "static")
    run = replace(
        run,
        model=replace(run.model, encoder=STATIC),
        data=replace(run.data, source=str(table(folder / "v1.jsonl", ["fruit", "tool", "sky"], 240, 0))),
        train=replace(run.train, steps=50, batch_size=32, validate_every=0),
    )
    api.train(run, folder / "v1", measure=False)
    deeper = TextEncoderConfig(
        backbone="scratch",
        width=16,
        num_layers=2,
        num_heads=2,
        mlp_width=32,
        vocab_size=300,
        max_tokens=64,
        projection=15,
    )
    second = replace(
        run,
        model=replace(run.model, encoder=deeper, previous=str(folder / "v1"), warm_start=False),
        data=replace(run.data, source=str(table(folder / "v2.jsonl", ["sea", "sky"], 160, 1))),
        train=replace(run.train, steps=70, learning_rate=5e-3),
    )
    api.train(second, folder / "v2", measure=False)
    return folder


def test_the_new_version_searches_the_old_index(versions, tmp_path):
    old, new = brickwork.load(versions / "v1"), brickwork.load(versions / "v2")
    assert SlotRegistry.from_dict(new.lineage["slots"]).taken == {"fruit": 0, "sky": 1, "tool": 2, "sea": 3}
    documents = [
        Document(id=f"{name}{i}", title="", text=" ".join(words[i : i + 4]), source=name)
        for name, words in WORDS.items()
        if name not in ("sea", "late")
        for i in range(3)
    ]
    build_index(old, documents, tmp_path / "index").close()
    index, replaced = indexing.replace_model(new, tmp_path / "index")
    assert replaced
    for name in ("fruit", "tool", "sky"):
        hits = index.search(" ".join(WORDS[name][2:5]), top=3)[0]
        assert {hit.source for hit in hits} == {name}, "the new model finds the classes of the old index"
    index.add([Document(id="reef", title="", text="coral reef foam", source="sea")])
    assert index.search("wave salt", top=1)[0][0].id == "reef"
    assert index.statistics().versions == {old.fingerprint: 9, new.fingerprint: 1}
    # Loaded again from the folder, with its own copy of the new model.
    assert open_index(tmp_path / "index").search("wave salt", top=1)[0][0].id == "reef"
    with pytest.raises(ArtifactError, match="unless one was trained to replace"):
        indexing.replace_model(old, tmp_path / "index")


def test_the_matrix_of_the_series(versions):
    results = evaluating.compatibility([versions / "v1", versions / "v2"], versions / "v1.jsonl")
    (matrix,) = results["matrices"]
    assert matrix["models"] == [str(versions / "v1"), str(versions / "v2")]
    assert matrix["matrix"][1][0] > 0.8
    with pytest.raises(ConfigError, match="search='x' is unknown"):
        evaluating.compatibility([versions / "v1"], versions / "v1.jsonl", search="x")
    with pytest.raises(ConfigError, match="two models or more"):
        evaluating.compatibility([versions / "v1"], versions / "v1.jsonl")


def test_from_the_command_line(versions, tmp_path):
    from typer.testing import CliRunner

    from brickwork.cli.main import app

    def run(*words):
        done = CliRunner().invoke(app, [str(word) for word in words], prog_name="brickwork")
        assert done.exit_code == 0, done.output
        return done

    table(tmp_path / "docs.jsonl", ["fruit", "tool"], 20, 3)
    run("index", versions / "v1", tmp_path / "docs.jsonl", "--out", tmp_path / "idx")
    first = run("index", versions / "v2", "--out", tmp_path / "idx", "--update")
    assert "the vectors of 20 documents stay as they are" in first.stderr
    assert "nothing to do" in run("index", versions / "v2", "--out", tmp_path / "idx", "--update").stderr
    table(tmp_path / "docs.jsonl", ["fruit", "tool"], 24, 3)
    report = json.loads(
        run(
            "index", versions / "v2", tmp_path / "docs.jsonl", "--out", tmp_path / "idx", "--update", "--json"
        ).stdout
    )
    assert (report["added"], report["encoded"], report["unchanged"]) == (4, 4, 20)
    assert "documents encoded by" in run("index", tmp_path / "idx", "--stats").stdout
    output = run("evaluate", versions / "v2", versions / "v1.jsonl", "--against", versions / "v1").stdout
    assert "cross-tests" in output
    assert "AC" in output
