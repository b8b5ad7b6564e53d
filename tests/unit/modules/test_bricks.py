"""Bricks as files and on a model: values are compared with peft's own forward pass and merge, and with bits of before."""

import json

import pytest
import torch

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import checksum, load_tensors, save_tensors, sha256_file
from brickwork.modules.adapters import inject_lora
from brickwork.modules.bricks import Brick, from_adapters, from_peft, load_brick, load_library
from brickwork.modules.merging import MergeConfig
from brickwork.modules.model_hash import model_hash
from brickwork.modules.mounting import BesideMlp, applied, combine

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' and peft's own
SIZES = {"llama": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24},
         "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64}}  # fmt: skip
IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


def language_model(kind="llama", seed=0):
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, vocab_size=32, bos_token_id=None, eos_token_id=None, **SIZES[kind])
    return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


@torch.no_grad()
def logits(model):
    return model(IDS).logits


def lora(model, name="one", seed=1, scaling="alpha/b", **about):
    """A brick with random factors, and its adapters' logits by rank; the model is the plain one again."""
    adapters = inject_lora(model, rank=4, alpha=3.0, scaling=scaling)
    torch.manual_seed(seed)
    for row in adapters.segments.rows:
        row.data.normal_(0, 0.3)
    brick = from_adapters(adapters, name, **about)
    outputs = {}
    for rank in (1, 2, 4):
        with adapters.rank(rank):
            outputs[rank] = logits(model)
    adapters.unload_()
    return brick, outputs


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("scaling", ["alpha/b", "alpha/r", "alpha/sqrt(b)"])
def test_a_brick_does_what_its_adapters_did_at_every_rank_and_goes_without_a_trace(kind, scaling):
    model = language_model(kind)
    before = logits(model)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    places = {name: id(part) for name, part in model.named_modules()}
    brick, outputs = lora(model, scaling=scaling)
    for rank, expected in outputs.items():
        with applied(model, brick, rank):
            torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-5)
            assert not torch.equal(logits(model), before)
        cut = brick.at_rank(rank)
        assert cut.max_rank == rank
        for layer, change in cut.change().items():
            torch.testing.assert_close(change, brick.change(rank)[layer])
    assert torch.equal(logits(model), before)
    assert {name: id(part) for name, part in model.named_modules()} == places
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_an_error_inside_takes_the_brick_off_as_well():
    model = language_model()
    brick, _ = lora(model)
    before = logits(model)
    with pytest.raises(RuntimeError, match="on purpose"), applied(model, brick):
        raise RuntimeError("on purpose")
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize(("kind", "targets"), [("llama", ["q_proj", "down_proj"]), ("gpt2", ["c_attn"])])
@pytest.mark.parametrize("rslora", [False, True])
def test_an_adapter_of_peft_does_what_it_does_in_peft(tmp_path, kind, targets, rslora):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=3, lora_alpha=5, target_modules=targets, use_rslora=rslora, init_lora_weights=False,
                        fan_in_fan_out=kind == "gpt2", task_type="CAUSAL_LM")  # fmt: skip
    theirs = get_peft_model(language_model(kind), config).eval()
    theirs.save_pretrained(tmp_path / "adapter")
    model = language_model(kind)
    brick = from_peft(tmp_path / "adapter", "theirs", model)
    with applied(model, brick):
        torch.testing.assert_close(logits(model), theirs(IDS).logits.detach(), rtol=1e-4, atol=1e-5)
    merged = theirs.merge_and_unload()
    with applied(model, brick):
        for name, value in merged.state_dict().items():
            torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_a_weighted_pair_is_that_of_peft(tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model

    folders = []
    for number in range(2):
        torch.manual_seed(number + 10)
        config = LoraConfig(r=2, lora_alpha=4, target_modules=["v_proj"], init_lora_weights=False)
        folders.append(tmp_path / f"a{number}")
        get_peft_model(language_model(), config).save_pretrained(folders[-1])
    theirs = PeftModel.from_pretrained(language_model(), folders[0], adapter_name="a")
    theirs.load_adapter(folders[1], "b")
    theirs.add_weighted_adapter(
        ["a", "b"], [0.7, 0.3], "both", combination_type="cat"
    )  # exact: the sum of products
    theirs.set_adapter("both")
    model = language_model()
    bricks = [from_peft(folder, name, model) for folder, name in zip(folders, "ab")]
    both = combine(list(zip(bricks, [0.7, 0.3])), MergeConfig(method="task-arithmetic"))
    with applied(model, both):
        torch.testing.assert_close(logits(model), theirs(IDS).logits.detach(), rtol=1e-4, atol=1e-5)


def test_order_does_not_matter_and_one_merged_is_itself_at_every_rank():
    model = language_model()
    one, two = lora(model, "one", 1)[0], lora(model, "two", 2)[0]
    for method in ("average", "ties", "dare"):
        there = combine([(one, 1.0), (two, 0.5)], MergeConfig(method=method), rank=2)
        back = combine([(two, 0.5), (one, 1.0)], MergeConfig(method=method), rank=2)
        assert there.name == back.name == "one+two"
        assert all(torch.equal(part, back.weights[name]) for name, part in there.weights.items())
    for rank in (1, 2, 4):
        alone = combine([(one, 1.0)], MergeConfig(), rank=rank)
        for layer, change in one.change(rank).items():
            torch.testing.assert_close(alone.weights[layer], change)
    assert combine([(one, -1.0)], MergeConfig(method="task-arithmetic")).name == "-one"


def test_files_come_back_and_the_library_lists_them(tmp_path):
    model = language_model()
    keys = {"prototypes": torch.randn(2, 16)}
    one, _ = lora(model, "one", keys=keys, trained_on={"texts": 12}, scores={"nats": 1.5})
    two, _ = lora(model, "two words", 2)
    one.save(tmp_path)
    two.save(tmp_path)
    library = load_library(tmp_path)
    assert list(library) == ["one", "two words"]
    back = library["one"]
    assert (back.base, back.alpha, back.scaling, back.trained_on, back.scores, back.max_rank) == (
        one.base, 3.0, "alpha/b", {"texts": 12}, {"nats": 1.5}, 4)  # fmt: skip
    assert torch.equal(back.keys["prototypes"], keys["prototypes"])
    assert set(back.weights) == set(one.weights)
    assert all(torch.equal(part, one.weights[name]) for name, part in back.weights.items())
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["brick.json", "brick.safetensors"]


def test_another_base_is_refused():
    brick, _ = lora(language_model())
    with (
        pytest.raises(ConfigError, match="differs in its weights: apply"),
        applied(language_model(seed=3), brick),
    ):
        pass
    model = language_model()
    config = model.config
    model = type(model)._from_config(type(config)(**{**config.to_dict(), "rms_norm_eps": 1e-3}))
    model.load_state_dict(language_model().state_dict())
    with pytest.raises(ConfigError, match="differs in its settings: apply"), applied(model, brick):
        pass
    other, _ = lora(language_model(seed=3), "other")
    with pytest.raises(ConfigError, match="different bases"):
        combine([(brick, 1.0), (other, 1.0)], MergeConfig())


def test_a_block_of_neurons_beside_an_mlp_begins_as_nothing_and_is_what_it_says():
    model = language_model()
    before = logits(model)
    up, down = torch.randn(5, 16), torch.zeros(16, 5)
    weights = {"model.layers.0.mlp.up": up, "model.layers.0.mlp.down": down}
    brick = Brick(name="grown", kind="expert", base=model_hash(model), weights=weights)
    with applied(model, brick):
        assert torch.equal(logits(model), before)
    x, mlp = torch.randn(3, 16), torch.nn.Linear(16, 16)
    down = torch.randn(16, 5)
    by_hand = mlp(x) + torch.stack([down @ torch.nn.functional.gelu(up @ row) for row in x])
    torch.testing.assert_close(BesideMlp(mlp, up, down)(x), by_hand)


@pytest.mark.parametrize("kind", SIZES)
def test_a_soft_prompt_is_vectors_before_the_text(kind):
    model = language_model(kind)
    before, prompt = logits(model), torch.randn(3, 16)
    brick = Brick(name="soft", kind="prompt", base=model_hash(model), weights={"prompt": prompt})
    x = torch.cat([prompt[None], model.get_input_embeddings()(IDS)], dim=1)
    expected = model(inputs_embeds=x).logits[:, 3:]
    with applied(model, brick):
        whole = model(input_ids=IDS)
        torch.testing.assert_close(whole.logits, expected)
        start = model(input_ids=IDS[:, :5], use_cache=True)
        rest = model(input_ids=IDS[:, 5:], past_key_values=start.past_key_values, use_cache=True)
        torch.testing.assert_close(rest.logits, expected[:, 5:], rtol=1e-4, atol=1e-5)
    assert torch.equal(logits(model), before)


def test_damage_and_pickles_are_refused(tmp_path):
    brick, _ = lora(language_model())
    folder = brick.save(tmp_path)
    card = json.loads((folder / "brick.json").read_text())
    (folder / "brick.json").write_text(json.dumps({**card, "alpha": 30.0}))
    with pytest.raises(ArtifactError, match="changed after"):
        load_brick(folder)
    brick.save(tmp_path)
    data = (folder / "brick.safetensors").read_bytes()
    (folder / "brick.safetensors").write_bytes(data[:-4])
    with pytest.raises(ArtifactError, match=r"brick\.safetensors"):
        load_brick(folder)
    with pytest.raises(ArtifactError, match="no library"):
        load_library(tmp_path / "nothing")
    (tmp_path / "peft").mkdir()
    (tmp_path / "peft" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2}))
    torch.save({"x": torch.zeros(1)}, tmp_path / "peft" / "adapter_model.bin")
    with pytest.raises(ArtifactError, match=r"adapter_model\.safetensors is missing"):
        from_peft(tmp_path / "peft", "x", language_model())
    torch.save({"x": torch.zeros(1)}, tmp_path / "peft" / "adapter_model.safetensors")
    with pytest.raises(ArtifactError, match="pickle"):
        from_peft(tmp_path / "peft", "x", language_model())


def rewritten(folder, changes=(), tensors=()):
    """The brick with other values in its card and other tensors, and all hashes as they should be."""
    card = {**json.loads((folder / "brick.json").read_text()), **dict(changes)}
    save_tensors(
        folder / "brick.safetensors", {**load_tensors(folder / "brick.safetensors"), **dict(tensors)}
    )
    card["weights_sha256"] = sha256_file(folder / "brick.safetensors")
    (folder / "brick.json").write_text(json.dumps({**card, "checksum": checksum(card)}))
    return folder


LAYER = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("alpha", value) for value in (None, "16", 1e300, -16, 0, float("nan"), True)),
        *(("scaling", value) for value in (None, "alpha", 3)),
        *(("kind", value) for value in ("lorax", None, ["lora"], "delta")),
        *(("name", value) for value in ("base", "", None, "../up", "one ")),
        *(("base", value) for value in ("", "abc", None, "0" * 64)),
        *(("scores", value) for value in ([1], {"nats": "low"}, {"nats": float("inf")})),
        ("trained_on", "texts"),
        ("format", 1),
        ("colour", "blue"),
    ],
)
def test_a_card_with_good_hashes_and_wrong_values_is_refused(tmp_path, field, value):
    folder = rewritten(lora(language_model())[0].save(tmp_path), {field: value})
    word = {"kind": "alpha" if value == "delta" else "kind", "name": "name", "format": "of a form"}.get(
        field, field
    )
    with pytest.raises(ArtifactError, match=word) as error:
        load_brick(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (f"{LAYER}.A", torch.full((4, 16), torch.nan), r"q_proj\.A of its weights"),
        (f"{LAYER}.A", torch.zeros(4, 16, dtype=torch.int64), r"q_proj\.A of its weights"),
        (f"{LAYER}.A", torch.zeros(3, 16), "3 rows"),
        (f"{LAYER}.C", torch.zeros(3, 16), ""),
        ("keys.key", torch.full((3,), torch.inf), "keys.key"),
    ],
)
def test_a_brick_with_wrong_tensors_is_refused(tmp_path, name, value, message):
    folder = lora(language_model())[0].save(tmp_path)
    if name.endswith(".C"):
        folder, message = rewritten(folder, tensors={"other.A": value}), "needs two matrices"
    else:
        rewritten(folder, tensors={name: value})
    with pytest.raises(ArtifactError, match=message):
        load_brick(folder)


def test_neurons_are_whole_numbers_and_nothing_broken_is_written(tmp_path):
    base = model_hash(language_model())
    good = Brick(name="n", kind="neurons", base=base, weights={"layers.0.ffn": torch.tensor([1, 3])})
    folder = good.save(tmp_path)
    for wrong in (torch.tensor([1.5]), torch.tensor([-1]), torch.tensor([[1]])):
        with pytest.raises(ArtifactError, match=r"layers\.0\.ffn .* whole numbers"):
            load_brick(rewritten(folder, tensors={"layers.0.ffn": wrong}))
    with pytest.raises(ConfigError, match="no finite number"):
        Brick(name="x", kind="delta", base=base, weights={"y": torch.tensor([[torch.nan]])}).save(tmp_path)
    with pytest.raises(ConfigError, match="alpha is None"):
        Brick(name="x", kind="lora", base=base, weights={})
    assert [p.name for p in tmp_path.iterdir()] == ["n"]


def test_a_failed_write_leaves_the_old_brick(tmp_path, monkeypatch):
    model = language_model()
    brick, _ = lora(model, scores={"nats": 1.0})
    folder = brick.save(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("brickwork.modules.bricks.write_json", full)
    with pytest.raises(Exception, match="disk is full"):
        lora(model, seed=5)[0].save(tmp_path)
    assert load_brick(folder).scores == {"nats": 1.0}
    assert [p.name for p in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("name", ["", "../x", "a+b", "auto", "base", ".hidden", "-a", "a/b", " a", "a "])
def test_names_that_are_none(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be the name"):
        Brick(name=name, kind="delta", base="0", weights={"x": torch.zeros(1, 1)}).save(tmp_path)


def test_ranks_that_are_none_and_kinds_that_do_not_merge():
    model = language_model()
    brick, _ = lora(model)
    with pytest.raises(ConfigError, match="1 … 4"):
        brick.change(5)
    soft = Brick(name="soft", kind="prompt", base=brick.base, weights={"prompt": torch.zeros(2, 16)})
    with pytest.raises(ConfigError, match="has no ranks"), applied(model, soft, 2):
        pass
    with pytest.raises(ConfigError, match="applied alone"):
        combine([(brick, 1.0), (soft, 1.0)], MergeConfig())
