"""Groups taken away for good: the cut model against the ablated one, against transformers' own, and kept; and the how-to."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import brickwork
from brickwork.api import train as api
from brickwork.core.config import from_dict, override, to_dict
from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.evaluation.permutation import permutation_p
from brickwork.modules.ablation import ablate
from brickwork.modules.ffn_split import gated, group_keys
from brickwork.representation.contract import build_system
from brickwork.representation.kept import save_system
from brickwork.systems.emoe.config import Config
from brickwork.systems.emoe.data import PLACES, Data, load_data
from brickwork.systems.emoe.pruning import cut_groups, score_groups
from brickwork.systems.emoe.serving import relative_flops

SMOKE = api.recipe("emoe", "smoke")
KEEP = 3


@pytest.fixture(scope="module")
def places():
    return load_data(Data(source=PLACES, limit=60), 0)


def make(data, **model):
    system = build_system("emoe", from_dict(Config, {**to_dict(SMOKE.model), **model}), data, 0).eval()
    torch.manual_seed(1)
    with torch.no_grad():  # biases count, and weights far enough from each other that every group matters
        for name, parameter in system.encoder.body.blocks.named_parameters():
            if name.endswith("bias") or "mlp" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    system.find_groups()
    return system


def scores_of(system, seed=0):
    return np.random.default_rng(seed).uniform(size=(len(system.halves), system.config.groups))


def logits(system, inputs, **served):
    with torch.no_grad(), system.used_groups(**served):
        return system.logits(system.encoder.collate({"input": inputs})["input"])


def gone_of(system, kept):
    """The neurons of the groups that went, by layer."""
    return {
        half.name: tuple(n for n, group in enumerate(labels.tolist()) if group not in kept[half.name])
        for half, labels in system.labels.items()
    }


def test_served_whole_the_cut_model_is_the_ablated_one(places):
    system = make(places)
    inputs = places.test.columns["input"][:12]
    cut = cut_groups(system, scores_of(system), KEEP)
    changes = {name: {neurons: "zero"} for name, neurons in gone_of(system, cut.kept).items()}
    with ablate(system.encoder.body, changes):
        wanted = logits(system, inputs, used=8)
    torch.testing.assert_close(logits(cut.system, inputs, used=KEEP), wanted, rtol=0, atol=1e-5)
    assert float((wanted - logits(system, inputs, used=8)).abs().max()) > 1e-2
    # Two layers lose 5 of 8 groups of 32 neurons, each of 64 + 1 + 64 numbers.
    assert cut.parameters[0] - cut.parameters[1] == 2 * 5 * 32 * 129
    assert cut.parameters[1] == sum(p.numel() for p in cut.system.parameters())
    best = np.sort(np.argsort(-scores_of(system), axis=1)[:, :KEEP], axis=1)
    np.testing.assert_array_equal([*cut.kept.values()], best)


def test_with_some_groups_tokens_choose_among_those_that_are_left(places):
    """The truth: the whole model, whose gate never scores a group that went."""
    system = make(places, used=2)
    inputs = places.test.columns["input"][:12]
    cut = cut_groups(system, scores_of(system), KEEP)
    assert cut.system.served == 2

    def gate_of(half, labels):
        left = torch.tensor([group in cut.kept[half.name] for group in range(8)])

        def gate(x):
            scores = (x @ group_keys(half.keys(), labels).T).masked_fill(~left, -torch.inf)
            return torch.zeros_like(scores).scatter(-1, scores.topk(2, dim=-1).indices, 1.0)

        return gate

    gates = {half: gate_of(half, labels) for half, labels in system.labels.items()}
    with torch.no_grad(), gated(system.labels, gates):
        wanted = system.logits(system.encoder.collate({"input": inputs})["input"])
    torch.testing.assert_close(logits(cut.system, inputs), wanted, rtol=0, atol=1e-5)


def test_effects_are_those_of_weights_set_to_zero_by_hand(places):
    system = make(places)
    few = places.test
    mine = np.arange(len(few)) % 2 == 0
    scores = score_groups(system, few, mine, permutations=99, seed=3)
    labels = torch.tensor(few.columns["label"])
    wanted = torch.nn.functional.cross_entropy(
        logits(system, few.columns["input"], used=8), labels, reduction="none"
    )
    half = system.halves[1]
    own = system.get_buffer("labels_2") == 5
    with torch.no_grad():
        kept = half.down.weight.clone()
        half.down.weight[:, own] = 0
        without = torch.nn.functional.cross_entropy(
            logits(system, few.columns["input"], used=8), labels, reduction="none"
        )
        half.down.weight.copy_(kept)
    rise = (without - wanted).double().numpy()
    assert scores.layers == ("layers.1.ffn", "layers.2.ffn")
    assert scores.effect[1, 5] == pytest.approx(rise[mine].mean(), abs=1e-6)
    assert abs(scores.effect[1, 5]) > 1e-4
    alone = permutation_p(rise[:, None], mine, range(len(few)), permutations=99, seed=3)
    assert scores.p[1, 5] == pytest.approx(alone[0])
    use = system.group_use(few)["layers.2.ffn"]
    np.testing.assert_allclose(scores.use[1], use[mine].mean(0))
    assert (scores.q >= scores.p).all()


@pytest.mark.parametrize("choose", ["average", "learned", "all"])
def test_a_cut_model_is_kept_and_cut_again(places, tmp_path, choose):
    system = make(places, choose=choose)
    system.card = {"scores": {"accuracy": 1.0}, "data": "places"}
    inputs = places.test.columns["input"][:6]
    first = cut_groups(system, scores_of(system), 6)
    again = brickwork.load(save_system(first.system, tmp_path / "cut"))
    torch.testing.assert_close(logits(again, inputs), logits(first.system, inputs))
    second = cut_groups(again, scores_of(again, 1), KEEP)
    old = {name: [first.kept[name][group] for group in kept] for name, kept in second.kept.items()}
    at_once = np.array([[float(group in old[name]) for group in range(8)] for name in old])
    directly = cut_groups(system, at_once, KEEP).system
    torch.testing.assert_close(logits(second.system, inputs), logits(directly, inputs), rtol=0, atol=1e-5)
    third = brickwork.load(save_system(second.system, tmp_path / "again"))
    torch.testing.assert_close(logits(third, inputs), logits(second.system, inputs))
    text = (tmp_path / "again" / "README.md").read_text()
    assert "3 of 6 groups" in text
    assert "accuracy" not in text
    with pytest.raises(ConfigError, match="different widths"):
        third.export_dense(tmp_path / "dense")


def test_computation_of_what_is_left_is_counted(places):
    cut = cut_groups(make(places), scores_of(make(places)), 4).system
    lengths = cut.encoder.tokenize(places.test.columns["input"]).lengths.tolist()
    tokens, squares = sum(lengths), sum(n * n for n in lengths)
    # Layer 0 has 256 neurons, layers 1 and 2 have 128 each.
    whole = 2 * tokens * (3 * 4 * 64**2 + 2 * 64 * (256 + 128 + 128)) + 3 * 4 * 64 * squares
    saved = 2 * tokens * 2 * (2 * 64 * 128 / 2 - 4 * 64)
    assert cut.encoder.flops(lengths, 3) == whole
    assert relative_flops(cut, places.test, 2) == pytest.approx((whole - saved) / whole)


def test_wrong_cuts_are_refused(places, tmp_path):
    system = make(places)
    for keep in (1, 0, 9):
        with pytest.raises(ConfigError, match=rf"keep={keep}: each layer has 8 groups"):
            cut_groups(system, scores_of(system), keep)
    with pytest.raises(ConfigError, match=r"scores of shape \(1, 8\)"):
        cut_groups(system, scores_of(system)[:1], 4)
    few = places.test.select(range(4))
    for mine in (np.zeros(4, dtype=bool), np.ones(4, dtype=bool)):
        with pytest.raises(DataError, match="examples of others are needed"):
            score_groups(system, few, mine)
    folder = save_system(cut_groups(system, scores_of(system), 4).system, tmp_path / "cut")
    manifest = folder / "brickwork.json"
    assert '"layers.1.ffn": 128' in manifest.read_text()
    manifest.write_text(manifest.read_text().replace('"layers.1.ffn": 128', '"layers.7.ffn": 128'))
    with pytest.raises(ArtifactError):
        brickwork.load(folder)


def test_the_how_to_cuts_groups_of_a_bert_of_transformers(tmp_path, monkeypatch):
    """Its code as it stands; the last cut against transformers' own BertModel with columns of its weights at zero."""
    from transformers import BertConfig, BertModel

    texts = [f"{'good' if n % 2 else 'bad'} {('film', 'soup')[n // 2 % 2]} {n}" for n in range(120)]
    with (tmp_path / "labelled.csv").open("w", newline="") as file:
        rows = [(text, text.split()[0], text.split()[1]) for text in texts]
        csv.writer(file).writerows([("text", "label", "domain"), *rows])
    data = load_data(Data(source=str(tmp_path / "labelled.csv")), 0)
    tokenizer = build_system("emoe", SMOKE.model, data, 0).encoder.tokenizer
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = BertModel(BertConfig(**sizes, vocab_size=tokenizer.get_vocab_size()), add_pooling_layer=False)
    model.save_pretrained(tmp_path / "bert")
    (tmp_path / "bert" / "tokenizer.json").write_text(tokenizer.to_str())
    settings = [
        f"data.source={tmp_path / 'labelled.csv'}",
        f"model.encoder.backbone={tmp_path / 'bert'}",
        "model.encoder.max_tokens=16",
        "train.steps=20",
        "train.learning_rate=0.003",
        "train.validate_every=0",
    ]
    api.train(override(api.recipe("emoe", "small"), settings), tmp_path / "runs" / "kinds", measure=False)
    page = (Path(__file__).parents[2] / "docs/how-to/cut-to-a-behaviour.md").read_text()
    (block,) = re.findall(r"## Groups of neurons.*?```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(block, names)
    parameters, accuracy = zip(*names["curve"])
    assert parameters == tuple(sorted(parameters, reverse=True))
    assert accuracy[0] == names["model"].accuracy(names["held_out"], 32)
    cut, model = brickwork.load("runs/kinds-cut"), names["model"]
    truth = BertModel.from_pretrained(model.export_dense(tmp_path / "dense"), add_pooling_layer=False).eval()
    with torch.no_grad():
        for name, neurons in gone_of(model, names["cut"].kept).items():
            truth.encoder.layer[int(name.split(".")[1])].output.dense.weight[:, list(neurons)] = 0
        tokens = cut.encoder.tokenize(texts[:5])
        ids, mask = tokens.padded(cut.encoder.pad_id)
        hidden = truth(input_ids=ids, attention_mask=mask).last_hidden_state
        vectors = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        torch.testing.assert_close(cut.encoder(tokens, [2])[2], vectors, atol=1e-5, rtol=0)
