"""DyLoRA on backbones of every kind: ranks drawn, steps written out by hand, a user's table from training to peft."""

import csv
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import brickwork
from brickwork.api import export as export_api
from brickwork.api import predict as predict_api
from brickwork.api import train as api
from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.data.classes import with_classes
from brickwork.data.config import ImageDataConfig
from brickwork.encoders.config import ImageEncoderConfig
from brickwork.evaluation.significance import wilson
from brickwork.representation.contract import build_system
from brickwork.systems.dylora.config import DyloraConfig
from brickwork.systems.dylora.ranks import RankPoint, recommended, usual_ranks
from brickwork.systems.dylora.system import load_data
from brickwork.training.config import TrainConfig
from brickwork.training.loop import fit
from brickwork.training.run import RunConfig

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture(scope="module")
def turned():
    return load_data(ImageDataConfig(source="digits-turned", limit=300), 0)


MLP = ImageEncoderConfig(architecture="mlp", width=256, depth=2, embedding_dim=64)


def build(config, data):
    return build_system("dylora", config, data, 0)


def make(data, **model):
    config = DyloraConfig(**{"backbone": MLP, "rank": 4, "alpha": 6.0, **model})
    assert config.validate() == []
    return build(config, data)


def batch_of(system, data, step=0, rows=range(16)):
    return {**system.collate(data.train.take(list(rows))), "step": step}


# ---- the step ----------------------------------------------------------------------------------------------------


def test_turned_digits_are_turned():
    data = load_data(ImageDataConfig(source="digits-turned", limit=40), 0)
    upright = load_data(ImageDataConfig(source="digits", limit=40), 0)
    for row in range(3):
        expected = np.rot90(upright.train.columns["input"][row, ..., 0])
        assert (data.train.columns["input"][row, ..., 0] == expected).all()


def test_the_loss_is_that_of_the_dense_network_at_the_rank_drawn(turned):
    """Eq. 7 for an MLP of three layers, written out in plain matrices."""
    system = make(turned).double()
    for row in system.adapters.segments.rows:
        torch.nn.init.normal_(row, std=0.1)
    batch = batch_of(system, turned, step=5)
    (b,) = system.ranks(5)
    h = batch["input"].double().flatten(1)
    rows = torch.cat(list(system.adapters.segments.rows))[:b]
    for place, name in enumerate(("network.1", "network.3", "network.5")):
        layer = system.adapters.layers[name]
        outputs, inputs = layer.base.weight.shape
        down, up, rows = rows[:, :inputs], rows[:, inputs : inputs + outputs].T, rows[:, inputs + outputs :]
        h = h @ (layer.base.weight + 6.0 / b * up @ down).T + layer.base.bias
        h = h.relu() if place < 2 else h
    expected = F.cross_entropy(h @ system.head.weight.T + system.head.bias, batch["label"])
    output = system.loss({**batch, "input": batch["input"].double()})
    torch.testing.assert_close(output.total, expected)
    assert output.stats == {"rank": float(b)}


def test_before_training_every_rank_is_the_backbone(turned):
    system = make(turned).eval()
    inputs = turned.test.columns["input"]
    plain = build(system.config, turned).encoder
    plain_vectors = system.adapters.layers and plain(plain.prepare(inputs))[1]
    for b in (1, 4):
        with system.adapters.rank(b), torch.no_grad():
            assert torch.equal(system.encoder(system.encoder.prepare(inputs))[1], plain_vectors)


@pytest.mark.parametrize("sampler", ["uniform", "geometric"])
def test_ranks_are_drawn_as_said(turned, sampler):
    system = make(turned, sampler=sampler)
    drawn = [system.ranks(step)[0] for step in range(2000)]
    again = make(turned, sampler=sampler)
    assert drawn == [again.ranks(step)[0] for step in range(2000)]
    counts = np.bincount(drawn, minlength=5)[1:] / 2000
    if sampler == "uniform":
        expected = np.full(4, 0.25)
    else:
        expected = 0.7 ** np.arange(4) / (0.7 ** np.arange(4)).sum()
    np.testing.assert_allclose(counts, expected, atol=0.045)  # 4.5 standard deviations


def test_other_ways_to_draw(turned):
    def drawn(**model):
        system = make(turned, **model)
        return {system.ranks(step) for step in range(50)}

    assert drawn(block=2) == {(2,), (4,)}
    assert drawn(ranks=(1, 4)) == {(1,), (4,)}
    assert drawn(sampler="full") == {(4,)}
    assert drawn(sampler="sandwich") == {(1, 4), (2, 4), (3, 4)}
    system = make(turned, draw_every=4)
    assert [system.ranks(step) for step in range(8)] == [system.ranks(0)] * 4 + [system.ranks(4)] * 4


def test_frozen_steps_of_the_loop_move_one_segment_only(turned, tmp_path):
    """AdamW of the training loop itself, with weight decay and clipping: rows that have no part keep every bit."""
    system = make(turned, update="frozen")
    config = TrainConfig(
        steps=6, batch_size=16, learning_rate=0.01, precision="fp32", weight_decay=0.1, save_every=0
    )
    seen = [{n: p.detach().clone() for n, p in system.named_parameters()}]
    system.after_step = lambda step: seen.append(
        {n: p.detach().clone() for n, p in system.named_parameters()}
    )
    fit(system, turned.train, config, tmp_path / "run", seed=0)
    for step, (before, after) in enumerate(pairwise(seen)):
        moved = {n for n in before if not torch.equal(before[n], after[n])}
        (b,) = system.ranks(step)
        assert {n for n in moved if not n.startswith("head")} <= {
            n for n in before if n.endswith(f".segments.rows.{b - 1}")
        }
        assert "head.weight" in moved


def test_the_backbone_learns_in_its_stage_and_stays_as_it_is(turned, tmp_path):
    """Upright digits, no adapter; then the adapters on turned ones, with a fresh classifier."""
    system, run = make(turned), api.recipe("dylora", "smoke")
    seen = [{n: p.detach().clone() for n, p in system.named_parameters()}]
    system.after_step = lambda step: seen.append(
        {n: p.detach().clone() for n, p in system.named_parameters()}
    )
    stages = tuple(replace(stage, steps=2) for stage in run.stages)
    train = replace(run.train, steps=4, batch_size=16)
    upright = turned.variants["upright"]
    assert set(upright.columns["label"].tolist()) == {0, 1, 2, 3, 4}
    fit(system, turned.train, train, tmp_path, seed=0, stages=stages, variants=turned.variants)
    moved = [{n for n in a if not torch.equal(a[n], b[n])} for a, b in pairwise(seen)]
    base = {n for n in seen[0] if ".base." in n}
    assert moved[0] == moved[1] == base | {"head.weight", "head.bias"}
    assert not (moved[2] | moved[3]) & base
    assert {n.split(".")[0] for n in moved[3]} == {"encoder", "head"}
    assert (seen[3]["head.weight"] - seen[2]["head.weight"]).abs().max() > 0.05, "a fresh classifier"
    assert api.build(replace(run, data=replace(run.data, limit=60)))[0].loss(
        {**batch_of(system, turned), "stage": "backbone"}
    ).terms.keys() == {"backbone"}


# ---- what the user gets ------------------------------------------------------------------------------------------


def test_the_recommended_rank_is_the_smallest_near_the_best():
    points = [
        RankPoint(rank=b, accuracy=a, low=0.0, high=1.0, parameters=b)
        for b, a in ((1, 0.7), (2, 0.895), (4, 0.9), (8, 0.88))
    ]
    assert recommended(points) == 2
    assert recommended(points, within=0.0) == 4
    assert usual_ranks(8) == (1, 2, 4, 8)
    assert usual_ranks(12) == (1, 2, 4, 8, 12)
    assert usual_ranks(1) == (1,)


def test_wilson_is_that_of_scipy():
    from scipy.stats import binomtest

    for right, rows in ((0, 10), (7, 10), (10, 10), (493, 1000)):
        expected = binomtest(right, rows).proportion_ci(method="wilson")
        np.testing.assert_allclose(wilson(right, rows), expected, atol=1e-7)


def test_curve_evaluate_and_trace_agree_with_predict(turned):
    system = make(turned).eval()
    rows = turned.test
    truth = [system.classes[label] for label in rows.columns["label"]]
    by_hand = {
        b: np.mean([p == t for p, t in zip(system.predict(rows.columns, rank=b)["label"], truth)])
        for b in (1, 2, 4)
    }
    assert {p.rank: p.accuracy for p in system.curve(rows, (1, 2, 4))} == pytest.approx(by_hand)
    results = system.evaluate(rows)
    assert results["accuracy"] == pytest.approx(by_hand[4])
    assert results["accuracy_rank_2"] == pytest.approx(by_hand[2])
    (trace,) = system.trace(rows)
    np.testing.assert_allclose(trace.usage.mean(0), [by_hand[b] for b in (1, 2, 4)])
    assert len(system.predict({"input": rows.columns["input"][:0]})["label"]) == 0


def test_truncated_and_merged_it_answers_as_at_that_rank(turned):
    system = make(turned).eval()
    for row in system.adapters.segments.rows:
        torch.nn.init.normal_(row, std=0.1)
    inputs = turned.test.columns["input"]
    expected = system.probabilities(inputs, rank=2)
    system.adapters.truncate_(2)
    np.testing.assert_array_equal(system.probabilities(inputs), expected)
    plain = system.adapters.merge_(2).unload_()
    assert all(".base" not in name for name in plain.state_dict())
    np.testing.assert_allclose(
        system.logits(plain.prepare(inputs)).softmax(-1).detach().numpy(), expected, atol=1e-5
    )


# ---- a user's table and somebody else's model --------------------------------------------------------------------


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A small DistilBERT with a tokenizer, as transformers saves it."""
    from transformers import DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast

    from brickwork.encoders.tokenization import train_tokenizer

    folder = tmp_path_factory.mktemp("backbone")
    tokenizer = train_tokenizer(
        [f"the {w} costs {n} coins" for w in ("red cup", "blue hat") for n in range(50)], 400
    )
    torch.manual_seed(0)
    sizes = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 32}
    config = DistilBertConfig(
        vocab_size=tokenizer.get_vocab_size(), dropout=0.0, attention_dropout=0.0, **sizes
    )
    DistilBertModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "labelled.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["what", "kind"])
        writer.writerows(
            [f"the {'red cup' if n % 2 else 'blue hat'} costs {n} coins", "cup" if n % 2 else "hat"]
            for n in range(120)
        )
    return path


def run_on(table, backbone, **model):
    data = ImageDataConfig(source=str(table))
    data = replace(data, columns=replace(data.columns, text="what", label="kind"))
    return RunConfig(
        system="dylora",
        recipe="test",
        model=DyloraConfig(backbone=str(backbone), max_tokens=16, rank=4, **model),
        data=data,
        train=TrainConfig(
            steps=40, batch_size=16, learning_rate=0.01, precision="fp32", validate_every=0, save_every=0
        ),
    )


@pytest.fixture(scope="module")
def trained(table, backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "kinds"
    summary = api.train(run_on(table, backbone), folder)
    return folder, summary


def test_a_table_becomes_a_model_that_predicts(trained, table, tmp_path):
    folder, summary = trained
    assert summary.scores["accuracy"] == 1.0
    assert json.loads((folder / "evaluation.json").read_text())["scores"] == summary.scores
    system = brickwork.load(folder)
    assert set(system.adapters.layers) == {
        f"transformer.layer.{i}.attention.{p}" for i in (0, 1) for p in ("q_lin", "v_lin")
    }
    new = tmp_path / "new.csv"
    new.write_text("what\nthe red cup costs 777 coins\nthe blue hat costs 778 coins\n")
    answers = predict_api.predict(folder, new, columns=replace(ImageDataConfig().columns, text="what"))
    assert answers["label"] == ["cup", "hat"]
    assert (np.asarray(answers["probability"]) > 0.5).all()


def test_peft_gives_the_same_answers_at_every_rank(trained, backbone, tmp_path):
    """What was trained here, loaded by peft onto the published model, read by the classifier beside it."""
    peft = pytest.importorskip("peft")
    from transformers import AutoModel, AutoTokenizer

    from brickwork.core.files import load_tensors

    system = brickwork.load(trained[0])
    texts = ["the red cup costs 5 coins", "the blue hat", "a cup"]
    for b in (1, 4):
        folder = export_api.export_adapter(trained[0], tmp_path / f"rank{b}", rank=b)
        model = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(backbone), folder).eval()
        head, about = (
            load_tensors(folder / "head.safetensors"),
            json.loads((folder / "head.json").read_text()),
        )
        tokens = AutoTokenizer.from_pretrained(backbone)(texts, padding=True, return_tensors="pt")
        with torch.no_grad():
            hidden = model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        mask = tokens.attention_mask[..., None].float()
        assert about == {"classes": ["cup", "hat"], "pooling": "mean"}
        logits = (hidden * mask).sum(1) / mask.sum(1) @ head["weight"].T + head["bias"]
        np.testing.assert_allclose(logits.softmax(-1).numpy(), system.probabilities(texts, rank=b), atol=1e-5)


def test_a_fixed_simplex_is_a_classifier_too(table, backbone, tmp_path):
    """The adapters alone learn the classes, and the folder and the exported linear layer answer alike."""
    from brickwork.core.files import load_tensors

    summary = api.train(run_on(table, backbone, classifier="simplex"), tmp_path / "run")
    assert summary.scores["accuracy"] > 0.9
    system = brickwork.load(tmp_path / "run")
    assert not list(system.head.parameters())
    texts = ["the red cup costs 5 coins", "the blue hat"]
    head = load_tensors(
        export_api.export_adapter(tmp_path / "run", tmp_path / "out", rank=4) / "head.safetensors"
    )
    layer = system.encoder.num_layers
    with torch.no_grad(), system.adapters.rank(4):
        vectors = system.encoder(system.collate({"input": texts})["input"], [layer])[layer]
    logits = vectors @ head["weight"].T + head["bias"]
    np.testing.assert_allclose(logits.softmax(-1).numpy(), system.probabilities(texts, rank=4), atol=1e-5)


def test_export_from_the_command_line(trained, tmp_path):
    from typer.testing import CliRunner

    from brickwork.cli.main import app

    call = CliRunner().invoke
    done = call(app, ["export", str(trained[0]), "--to", "peft", "--rank", "2", "--out", str(tmp_path / "a")])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "a" / "adapter_config.json").read_text())["r"] == 2
    for arguments, code in (
        (["--to", "peft", "--rank", "9"], 2),
        (["--to", "peft", "--dim", "8"], 2),
        (["--to", "onnx", "--rank", "2"], 2),
    ):
        done = call(app, ["export", str(trained[0]), *arguments, "--out", str(tmp_path / "b")])
        assert done.exit_code == code, done.output
        assert not (tmp_path / "b").exists()
    done = call(app, ["export", str(trained[0]), "--to", "onnx", "--out", str(tmp_path / "b")])
    assert done.exit_code == 4
    assert f"its adapters can be exported (brickwork export {trained[0]} --to peft)" in done.output


def test_an_image_encoder_of_ours_is_a_backbone(turned, tmp_path):
    run = api.recipe("matryoshka", "smoke")
    build_system("matryoshka", run.model, turned, seed=0).representation().save(tmp_path / "encoder")
    system = make(turned, backbone=str(tmp_path / "encoder"))
    assert system.base is None
    assert system.loss(batch_of(system, turned)).total.isfinite()


# ---- bad input ---------------------------------------------------------------------------------------------------


def test_layer_names_and_ranks_that_do_not_fit(turned, table, backbone):
    run = run_on(table, backbone)
    data = load_data(run.data, 0)
    with pytest.raises(ConfigError, match=r"'query' matches no layer.*attention\.q_lin"):
        build(replace(run.model, targets="query"), data)
    with pytest.raises(ConfigError, match=r"rank=40 is larger than 4 of the 4 layers.*at most 32"):
        build(replace(run.model, rank=40), data)
    with pytest.raises(ConfigError, match="ranks="):
        make(turned, ranks=(1, 2))


def test_backbones_that_do_not_fit(turned, table, tmp_path):
    texts = load_data(run_on(table, "x").data, 0)
    with pytest.raises(ArtifactError, match="no-such"):
        build(DyloraConfig(backbone=str(tmp_path / "no-such")), texts)
    with pytest.raises(DataError, match="describes an image encoder"):
        build(DyloraConfig(backbone=MLP), texts)
    with pytest.raises(DataError, match="reads texts"):
        build(DyloraConfig(backbone="minilm"), turned)
    with pytest.raises(ConfigError, match=r"max_tokens=4000"):
        build(DyloraConfig(max_tokens=4000), texts)
    pairs = replace(texts, kind="pairs")
    with pytest.raises(DataError, match="columns input and label"):
        build(DyloraConfig(), pairs)
    with pytest.raises(ArtifactError, match=r"cannot export adapters.*dylora"):
        export_api.export_adapter(object(), tmp_path / "a")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, "rank is 0"),
        ({"alpha": -1.0}, "alpha is -1"),
        ({"dropout": 1.0}, "dropout is 1"),
        ({"geometric_p": 0.5}, "no effect with sampler 'uniform'"),
        ({"sampler": "geometric", "geometric_p": 1.5}, "geometric_p is 1.5"),
        ({"sampler": "full", "update": "frozen"}, "update has no effect with sampler 'full'"),
        ({"block": 3}, "not a multiple"),
        ({"block": 2, "ranks": (1, 8)}, "set one of them"),
        ({"revision": "main"}, "no effect with this backbone"),
        ({"backbone": MLP, "max_tokens": 8}, "no effect with this backbone"),
    ],
)
def test_options_that_make_no_sense(fields, message):
    assert any(message in problem for problem in DyloraConfig(**fields).validate())


def test_predict_at_a_rank_from_the_command_line(trained, tmp_path):
    """The answers at rank 1 are those of the system at rank 1 and not those at rank 4; other ranks are refused."""
    from typer.testing import CliRunner

    from brickwork.cli.main import app

    system = brickwork.load(trained[0])
    texts = ["the red cup costs 777 coins", "hat coins cup"]
    new = tmp_path / "new.csv"
    new.write_text("\n".join(["what", *texts]))
    call = ["predict", str(trained[0]), str(new), "--column", "text=what", "--json"]

    def run(*arguments):
        return CliRunner().invoke(app, [*call, *arguments])

    for arguments, rank in (([], 4), (["--set", "rank=1"], 1)):
        done = run(*arguments)
        assert done.exit_code == 0, done.output
        results = [row["probability"] for row in json.loads(done.stdout)]
        np.testing.assert_allclose(results, system.probabilities(texts, rank=rank).max(1), atol=1e-5)
    assert abs(system.probabilities(texts, rank=1) - system.probabilities(texts, rank=4)).max() > 1e-3
    for rank in ("5", "0"):
        refused = run("--set", f"rank={rank}")
        assert refused.exit_code == 2
        assert "outside 1 … 4" in refused.output


def test_a_rank_for_a_system_without_ranks_is_refused(tmp_path):
    class Plain:
        input_kind = "columns"

        def predict(self, columns):
            return {}

    with pytest.raises(ConfigError, match=r"rank=2 is no option.*takes none"):
        predict_api.predict(Plain(), tmp_path, rank=2)


def test_another_file_is_measured_with_the_classes_that_were_learnt(tmp_path, monkeypatch):
    """A file of only the last two of three classes counts them from 0; they are the model's second and third."""
    words = {"fruit": "apple pear plum", "sky": "cloud rain wind", "tool": "saw nail drill"}
    rows = [(f"{text} {n}", label) for n in range(12) for label, text in words.items()]
    for name, part in (
        ("own", rows),
        ("tools", [row for row in rows if row[1] != "fruit"]),
        ("odd", [("x", "sea"), ("y", "sky")] * 4),
    ):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *part])
    everything = ImageDataConfig(source=str(tmp_path / "tools.csv"), validation_share=0.0, test_share=1.0)
    task = load_data(everything, 0)
    assert (task.class_names, set(np.asarray(task.test.columns["label"]).tolist())) == (
        ("sky", "tool"),
        {0, 1},
    )
    learnt = load_data(ImageDataConfig(source=str(tmp_path / "own.csv")), 0).class_names
    assert learnt == ("fruit", "sky", "tool")
    read = with_classes(task, learnt)
    assert (read.class_names, read.num_classes) == (learnt, 3)
    assert set(np.asarray(read.test.columns["label"]).tolist()) == {1, 2}
    odd = load_data(replace(everything, source=str(tmp_path / "odd.csv")), 0)
    with pytest.raises(
        DataError, match=r"odd\.csv has the class 'sea', which the model has not learnt; it knows fruit"
    ):
        with_classes(odd, learnt)


def test_evaluate_reads_another_folder_with_the_classes_that_were_learnt(tmp_path):
    """Images of 7 and 8, which a folder of two classes counts as 0 and 1."""
    from PIL import Image
    from sklearn.datasets import load_digits

    config = replace(api.recipe("dylora", "smoke"), stages=())
    settings = ["train.steps=2", "train.validate_every=0", "data.source=digits", "data.limit=300"]
    brickwork.train(brickwork.override(config, settings), tmp_path / "run", measure=False)
    digits = load_digits()
    chosen = [(digit, image) for digit in (7, 8) for image in digits.images[digits.target == digit][:6]]
    pixels = [(image * 15.9).astype(np.uint8) for _, image in chosen]
    for number, ((digit, _), image) in enumerate(zip(chosen, pixels)):
        (tmp_path / "other" / str(digit)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "other" / str(digit) / f"{number}.png")
    system = brickwork.load(tmp_path / "run")
    predicted = system.predict({"input": np.stack(pixels)[..., None]})["label"]
    expected = np.mean([label == str(digit) for label, (digit, _) in zip(predicted, chosen)])
    scores = brickwork.evaluate(tmp_path / "run", tmp_path / "other")["scores"]
    assert scores["accuracy"] == pytest.approx(expected)
