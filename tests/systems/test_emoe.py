"""EMoE: steps written out by hand, a user's table from training to transformers' own, and images on a vision transformer."""

import csv
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from typer.testing import CliRunner

import brickwork
from brickwork.api import export as export_api
from brickwork.api import predict as predict_api
from brickwork.api import train as api
from brickwork.api.backbones import backbone_settings
from brickwork.cli.main import app
from brickwork.core.config import from_dict, override, to_dict
from brickwork.core.errors import ConfigError, DataError
from brickwork.data.types import Examples
from brickwork.representation.contract import build_system
from brickwork.representation.kept import save_system
from brickwork.systems.emoe.config import Config
from brickwork.systems.emoe.data import PLACES, Data, load_data
from brickwork.systems.emoe.serving import relative_flops
from vision_checkpoints import image_checkpoint

SMOKE = api.recipe("emoe", "smoke")


@pytest.fixture(scope="module")
def places():
    return load_data(Data(source=PLACES, limit=60), 0)


def make(data, **model):
    config = from_dict(Config, {**to_dict(SMOKE.model), **model})
    return build_system("emoe", config, data, 0)


def batch_of(system, data, step=0, rows=range(8)):
    return {**system.collate(data.train.take(list(rows))), "step": step}


def by_hand(system, batch, weights_of):
    """The logits with every grouped layer written out: Σ over groups of their weight times what they add (section 3.2)."""
    body, tokens = system.encoder.body, batch["input"]
    hooks = []
    for half in system.halves:
        labels = system.get_buffer(f"labels_{half.layer}")
        mlp = body.blocks[half.layer].mlp

        def replaced(_, given, __, mlp=mlp, labels=labels):
            x = given[0]
            y = torch.zeros_like(x) + mlp.down.bias
            weights = weights_of(x, mlp.up.weight, labels)
            for e in range(system.config.groups):
                own = labels == e
                hidden = F.gelu(x @ mlp.up.weight[own].T + mlp.up.bias[own])
                y = y + weights[:, e, None] * (hidden @ mlp.down.weight[:, own].T)
            return y

        hooks.append(mlp.register_forward_hook(replaced))
    last = system.encoder.num_layers
    logits = system.head(system.encoder(tokens, [last])[last])
    for hook in hooks:
        hook.remove()
    return logits


def chosen(scores, count):
    return torch.zeros_like(scores).scatter(-1, scores.topk(count, dim=-1).indices, 1.0)


def means(weight, labels, groups):
    return torch.stack([weight[labels == e].mean(0) for e in range(groups)])


@pytest.mark.parametrize("choose", ["average", "lowest"])
def test_the_loss_is_that_of_the_groups_with_the_highest_or_lowest_mean_key(places, choose):
    system = make(places, choose=choose, used=3).double()
    batch = batch_of(system, places)
    sign = 1 if choose == "average" else -1

    def weights(x, keys, labels):
        return chosen(sign * (x @ means(keys, labels, 8).T), 3)

    expected = F.cross_entropy(by_hand(system, batch, weights), batch["label"])
    torch.testing.assert_close(system.loss(batch).total, expected)
    dense = F.cross_entropy(by_hand(system, batch, lambda x, *_: x.new_ones(len(x), 8)), batch["label"])
    assert abs((dense - expected).item()) > 1e-4
    torch.testing.assert_close(system.loss({**batch, "stage": "backbone"}).total, dense)


def test_the_learned_gate_weighs_groups_by_their_cosine(places):
    """e^τ·cos with τ = log 2 at the start, soft-max over the two chosen; and all of it learns."""
    system = make(places, choose="learned", used=2).double()
    batch = batch_of(system, places)
    gates = {id(half.makers[0].weight): system.gates[f"labels_{half.layer}"].scorer for half in system.halves}

    def weights(x, keys, labels):
        scorer = gates[id(keys)]
        projected = F.normalize(x @ scorer.inner.weight.T, dim=-1)
        logits = 2.0 * projected @ F.normalize(scorer.modules_embedding, dim=-1).T
        return logits.masked_fill(chosen(logits, 2) == 0, -torch.inf).softmax(-1)

    expected = F.cross_entropy(by_hand(system, batch, weights), batch["label"])
    loss = system.loss(batch).total
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in system.gates.parameters())
    for gate in system.gates.values():
        gate.scorer.log_scale.data.fill_(99.0)
    system.after_step(0)
    assert float(next(iter(system.gates.values())).scorer.log_scale.detach().exp()) == pytest.approx(100)


def test_dropout_of_groups_keeps_the_mean_and_is_off_when_serving(places):
    system = make(places, choose="random", used=2)
    batch = batch_of(system, places)
    half = system.halves[0]
    x = torch.randn(4000, 64)
    drawn = system.gates_of(step=3)[half](x)
    assert set(drawn.unique().tolist()) == {0.0, 4.0}
    assert (drawn != 0).sum(1).eq(2).all()
    torch.testing.assert_close(drawn.mean(0), torch.ones(8), atol=0.15, rtol=0)  # 5 standard errors
    assert torch.equal(system.gates_of(step=3)[half](x), drawn)
    assert not torch.equal(system.gates_of(step=4)[half](x), drawn)
    system.eval()
    with torch.no_grad():
        dense = F.cross_entropy(system.logits(batch["input"]), batch["label"])
    torch.testing.assert_close(system.loss(batch).total, dense)


def test_all_groups_are_the_dense_model_and_the_keys_are_the_live_ones(places):
    system = make(places).eval()
    inputs = places.test.columns["input"]
    with torch.no_grad():
        plain = system.logits(system.encoder.collate({"input": inputs})["input"]).softmax(-1).numpy()
    np.testing.assert_allclose(system.probabilities(inputs, 8), plain, atol=1e-5)
    half, x = system.halves[0], torch.randn(50, 64)
    before = system.gates_of(2)[half](x)
    with torch.no_grad():
        half.makers[0].weight.neg_()
    assert torch.equal(system.gates_of(6)[half](x), ~before)  # those that were highest are lowest now


def test_groups_are_found_again_after_the_backbone(places):
    system = make(places)
    old = {half.name: own.clone() for half, own in system.labels.items()}
    for half in system.halves:
        torch.nn.init.normal_(half.makers[0].weight)
    system.start_stage("backbone")
    assert all(torch.equal(own, old[half.name]) for half, own in system.labels.items())
    system.start_stage("groups")
    assert not all(torch.equal(own, old[half.name]) for half, own in system.labels.items())


def test_computation_is_counted(places):
    system = make(places, groups=16)
    assert relative_flops(system, places.test, 16) == 1.0
    half, few = (relative_flops(system, places.test, k) for k in (8, 2))
    lengths = system.encoder.tokenize(places.test.columns["input"]).lengths.tolist()
    whole = system.encoder.flops(lengths, 3)
    # Two layers of 2·2·64·256 a token, of which a half or an eighth is left; the gate takes 2·16·64.
    saved = sum(lengths) * 2 * (4 * 64 * 256)
    gates = sum(lengths) * 2 * (2 * 16 * 64)
    assert half == pytest.approx((whole - saved / 2 + gates) / whole)
    assert few == pytest.approx((whole - saved * 7 / 8 + gates) / whole)


def test_use_is_counted_by_token_and_domain(places):
    system = make(places).eval()
    few = places.test.select(range(6))
    use = system.group_use(few)
    assert [*use] == ["layers.1.ffn", "layers.2.ffn"]
    with system.used_groups(4) as weights:
        tokens = system.encoder.collate({"input": few.columns["input"]})["input"]
        system.logits(tokens)
    start = int(tokens.lengths[0])
    own = weights["layers.1.ffn"][start : start + int(tokens.lengths[1])].float().mean(0) / 4
    np.testing.assert_allclose(use["layers.1.ffn"][1], own.numpy(), atol=1e-6)
    domains = ["a", "b", "a", "b", "a", "b"]
    tables = system.analyse(Examples({**few.columns, "domain": domains}))
    shares = {
        (layer, group, domain): share
        for layer, group, domain, share in zip(
            *(tables["use"][n] for n in ("layer", "group", "domain", "share"))
        )
    }
    assert shares["layers.2.ffn", 3, "b"] == pytest.approx(use["layers.2.ffn"][1::2, 3].mean())
    assert tables["serving"]["groups"] == [1, 2, 4, 8]


# ---- a user's table ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "rows.csv"
    colours, things = ("red", "blue"), ("box", "ring", "coat", "cup", "lamp")
    rows = [
        (f"a {colours[n % 2]} {things[n // 2 % 5]} number {n}", colours[n % 2], ("shop", "home")[n % 3 == 0])
        for n in range(80)
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label", "domain"), *rows])
    return path


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory):
    """A run that anybody could make, on a tiny model of transformers."""
    from transformers import BertConfig, BertModel

    place = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    encoder = build_system("emoe", SMOKE.model, load_data(Data(source=str(table)), 0), 0).encoder
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    model = BertModel(
        BertConfig(**sizes, vocab_size=encoder.tokenizer.get_vocab_size()), add_pooling_layer=False
    )
    model.save_pretrained(place / "bert")
    (place / "bert" / "tokenizer.json").write_text(encoder.tokenizer.to_str())
    run = override(
        api.recipe("emoe", "small"),
        [
            f"data.source={table}",
            f"model.encoder.backbone={place / 'bert'}",
            "model.encoder.max_tokens=32",
            "model.groups=8",
            "train.steps=30",
            "train.batch_size=16",
            "train.validate_every=0",
            "train.learning_rate=0.003",
            "train.precision=fp32",
        ],
    )
    return api.train(run, place / "run"), place


def test_from_a_table_to_answers(trained, table, tmp_path):
    summary, place = trained
    assert summary.scores["accuracy"] >= 0.9  # the colour is a word of the text
    folder = str(place / "run")
    words = ["predict", folder, str(table), "--json", "--set"]
    done = CliRunner().invoke(app, [*words, "groups=2"])
    assert [row["label"] for row in json.loads(done.stdout)][:4] == ["red", "blue", "red", "blue"]
    every, eight = (json.loads(CliRunner().invoke(app, [*words, f"groups={n}"]).stdout) for n in ("all", 8))
    assert every == eight
    for wrong in ("0", "9", "many", "2.5"):
        done = CliRunner().invoke(app, [*words, f"groups={wrong}"])
        assert done.exit_code == 2
        assert "this model can use 1 to 8 groups, or all of them (groups=all)" in done.stderr
        assert ("a token uses a whole number of groups" in done.stderr) == (wrong == "2.5")
    page = predict_api.inspect(place / "run", out=tmp_path / "page.html").read_text()
    for words in ("Quality against computation", "Groups by domain: layers.1.ffn", "shop", "home"):
        assert words in page


def test_dense_is_what_transformers_loads(trained, tmp_path):
    """Logits of sentence-transformers, and vectors of transformers' AutoModel, as ours with all groups; weights that the
    training left alone are the very ones that it started from."""
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel

    summary, place = trained
    texts = ["a red ring", "the blue lamp of number 7", "cup"]
    folder = export_api.export_dense(place / "run", tmp_path / "dense")
    logits = torch.tensor(SentenceTransformer(str(folder), device="cpu").encode(texts))
    np.testing.assert_allclose(logits.softmax(-1).numpy(), summary.system.probabilities(texts, 8), atol=1e-5)
    ours, model = summary.system.encoder, AutoModel.from_pretrained(folder)
    assert type(model).__name__ == "BertModel"
    assert model.config.id2label == {0: "blue", 1: "red"}
    start = AutoModel.from_pretrained(place / "bert", add_pooling_layer=False)
    body = {name: p for name, p in model.named_parameters() if not name.startswith("pooler")}
    assert {n: p.shape for n, p in body.items()} == {n: p.shape for n, p in start.named_parameters()}
    tokens = ours.tokenize(texts)
    ids, mask = tokens.padded(ours.pad_id)
    with torch.no_grad():
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        vectors = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        torch.testing.assert_close(vectors, ours(tokens, [3])[3], atol=1e-5, rtol=1e-4)
    card = (folder / "README.md").read_text()
    assert "# A classifier of texts into 2 classes\n\nblue, red.\n" in card
    code = card.split("```python\n")[1].split("```")[0].replace("this folder", str(folder))
    names: dict = {}
    exec(code, names)  # what the card tells people to do
    assert names["logits"].shape == (1, 2)
    with pytest.raises(ConfigError, match="not empty"):
        export_api.export_dense(place / "run", folder)


def test_untouched_it_is_the_model_to_the_bit(trained, table, tmp_path):
    """Groups in between change no bit of what is exported."""
    from transformers import AutoModel

    _, place = trained
    run = api.read_run(place / "run")
    system = build_system("emoe", run.model, load_data(run.data, 0), 0)
    system.export_dense(tmp_path / "fresh")
    exported, start = (
        AutoModel.from_pretrained(p).state_dict() for p in (tmp_path / "fresh", place / "bert")
    )
    differing = [
        n for n, t in start.items() if not n.startswith("pooler") and not torch.equal(t, exported[n])
    ]
    # Ours has one kind of segment, whose vector is in the position embeddings.
    assert set(differing) <= {
        "embeddings.position_embeddings.weight",
        "embeddings.token_type_embeddings.weight",
    }


def test_lora_leaves_the_groups_alone_and_ends_in_a_plain_model(trained, table, tmp_path):
    _, place = trained
    short = ["train.steps=3", "model.encoder.adapt=lora", "model.encoder.lora_rank=2"]
    run = override(api.read_run(place / "run"), short)
    summary = api.train(run, tmp_path / "lora", measure=False)
    again = brickwork.load(tmp_path / "lora")
    start = build_system("emoe", api.read_run(place / "run").model, load_data(run.data, 0), 0)
    changed = {n for n, t in start.state_dict().items() if not torch.equal(t, again.state_dict()[n])}
    assert changed
    assert all("qkv" in name or name.startswith("head") for name in changed)
    texts = ["a red ring", "blue"]
    np.testing.assert_allclose(
        again.probabilities(texts, 2), summary.system.probabilities(texts, 2), atol=1e-6
    )


def test_a_model_with_a_learned_gate_is_kept_and_not_exported_dense(places, tmp_path):
    system = make(places, choose="learned", used=2).eval()
    save_system(system, tmp_path / "run")
    again = brickwork.load(tmp_path / "run")
    inputs = places.test.columns["input"][:4]
    np.testing.assert_array_equal(again.probabilities(inputs), system.probabilities(inputs))
    with pytest.raises(ConfigError, match="weighs groups"):
        again.export_dense(tmp_path / "dense")


# ---- images ------------------------------------------------------------------------------------------------------


def test_images_on_a_vision_transformer(tmp_path):
    """Trained in groups, served with all: transformers' own model with the classifier that stands beside it."""
    from safetensors.torch import load_file
    from transformers import AutoModel

    image_checkpoint("vit", tmp_path / "vit")
    rng = np.random.default_rng(0)
    for label, channel in (("red", 0), ("blue", 2)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(15):
            image = rng.integers(0, 60, (40, 50, 3), dtype=np.uint8)
            image[..., channel] += 150
            Image.fromarray(image).save(tmp_path / "photos" / label / f"{number}.png")
    run = api.recipe("emoe", "images")
    chosen = [f"data.source={tmp_path / 'photos'}", "model.groups=8", "train.steps=15", "train.batch_size=8"]
    chosen += ["train.validate_every=0", "train.learning_rate=0.003", "train.precision=fp32"]
    run = override(run, [*backbone_settings(run, [str(tmp_path / "vit")]), *chosen])
    summary = api.train(run, tmp_path / "run")
    assert summary.scores["accuracy"] >= 0.9
    answers = predict_api.predict(tmp_path / "run", tmp_path / "photos" / "red", groups=2)
    assert set(answers["label"]) == {"red"}
    system = summary.system
    folder = export_api.export_dense(tmp_path / "run", tmp_path / "dense")
    images = rng.integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    model, head = (
        AutoModel.from_pretrained(folder, add_pooling_layer=False),
        load_file(folder / "classifier.safetensors"),
    )
    with torch.no_grad():
        vectors = model(pixel_values=system.encoder.prepare(images)).last_hidden_state[:, 0]
        p = (vectors @ head["weight"].T + head["bias"]).softmax(-1)
    np.testing.assert_allclose(system.probabilities(images, 8), p.numpy(), atol=1e-5)
    assert 0.5 < relative_flops(system, Examples({"input": images, "label": [0, 0, 0]}), 2) < 1


# ---- what cannot be ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"groups": 9, "used": 12}, "used is 12; there are groups=9"),
        ({"layers": [1, 1]}, "name each layer once"),
        ({"choose": "all", "used": 3}, "used has no effect with choose 'all'"),
        (
            {"encoder": {"kind": "text", "adapt": "frozen"}},
            "encoder.adapt 'frozen' trains nothing that groups could change",
        ),
        ({"encoder": {"kind": "text", "backbone": "static"}}, "no feed-forward layers"),
        ({"groups": 1}, "groups is 1; it must be at least 2"),
    ],
)
def test_options_that_do_not_fit_are_refused(model, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(Config, model)


def test_groups_and_layers_that_the_model_does_not_have(places):
    with pytest.raises(ConfigError, match=r"model.groups=7: layers.1.ffn: 256 neurons do not divide"):
        make(places, groups=7)
    with pytest.raises(ConfigError, match="layer 5; the layers that can be grouped are 0, 1, 2"):
        make(places, layers=[0, 5])


def test_a_column_of_domains_that_is_not_there(table):
    with pytest.raises(DataError, match="has no column 'source' for"):
        load_data(Data(source=str(table), domain="source"), 0)
    assert set(load_data(Data(source=str(table)), 0).test.columns["domain"]) <= {"shop", "home"}
    assert load_data(Data(source=str(table), domain="label"), 0).notes[-1] == "domain = 'label'"
