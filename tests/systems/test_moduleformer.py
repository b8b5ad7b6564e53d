"""What is special to ModuleFormer: modules added and pruned, texts predicted by their definition, options refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import brickwork
from brickwork.api import train as api
from brickwork.core.config import override
from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.data.types import Examples
from brickwork.representation.contract import build_system
from brickwork.representation.kept import save_system
from brickwork.studies.moduleformer.surgery import nats_at, trainable, with_low_rank, without_hidden
from brickwork.systems.moduleformer.growth import add_modules, unfreeze
from brickwork.systems.moduleformer.pruning import prune_modules
from brickwork.systems.moduleformer.system import load_data, module_use, token_nats
from brickwork.training.loop import fit


def build(model, data):
    return build_system("moduleformer", model, data, 0)


@pytest.fixture(scope="module")
def run():
    smoke = api.recipe("moduleformer", "smoke")
    return replace(smoke, train=replace(smoke.train, steps=8, batch_size=8, validate_every=0, save_every=0))


@pytest.fixture(scope="module")
def made(run):
    """A system after 8 steps, and its data."""
    system, data = api.build(run)
    for _ in range(8):
        system.loss(system.collate(data.train.take(range(16)))).total.backward()
        with torch.no_grad():
            for parameter in system.parameters():
                parameter -= 0.3 * parameter.grad.clamp(-1, 1)
                parameter.grad = None
    return system.eval(), data


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    return save_system(made[0], tmp_path_factory.mktemp("kept") / "lm")


def test_a_text_is_predicted_token_by_token(made):
    """−log p of each next byte in windows of 32, one at a time."""
    system, _ = made
    text = "who buys a lamp in the forest? the baker, daily."
    sums, counts = token_nats(system, Examples({"input": [text]}))
    ids = system.tokenizer.encode(text).ids
    assert len(ids) == len(text)
    expected = 0.0
    for position in range(1, len(ids)):
        start = (position - 1) // 32 * 32
        logits = system.decoder(torch.tensor([ids[start:position]])).logits[0, -1]
        expected -= logits.double().log_softmax(-1)[ids[position]].item()
    assert counts[0] == len(ids) - 1
    assert sums[0] == pytest.approx(expected, rel=1e-4)
    scores = system.evaluate(Examples({"input": [text]}))
    assert scores["bits_per_byte"] == pytest.approx(expected / np.log(2) / len(text), rel=1e-4)


def test_texts_come_back_as_they_were(made):
    system, _ = made
    for text in ("def f(x):\n\treturn  x\n", " Ünïcode 日本語 🙂 ", "UPPER lower"):
        assert system.tokenizer.decode(system.tokenizer.encode(text).ids) == text


def test_a_prompt_is_continued_alike_whatever_stands_beside_it(made):
    system, _ = made
    options = {"max_tokens": 6, "temperature": 1.0, "top_k": 0, "seed": 3}
    alone = system.generate(["who "], **options)
    assert system.generate(["At the", "who ", ""], **options)[1] == alone[0]
    assert system.generate(["who "], **{**options, "seed": 4}) != alone
    assert system.generate(["who "], **{**options, "temperature": 0.0}) == system.generate(
        ["who "], **{**options, "temperature": 0.0, "seed": 9}
    )


def test_use_counts_every_token_top_k_times(made):
    system, data = made
    texts = data.test.select(range(12))
    _, tokens = token_nats(system, texts)
    for table in module_use(system, texts)[0].values():
        np.testing.assert_array_equal(table.sum(1), system.config.top_k * tokens)


# ---- modules added ---------------------------------------------------------------------------------------------


def test_training_new_modules_leaves_all_else_to_the_bit(run, made, folder, tmp_path):
    """With weight decay, through the command line's own options."""
    _, data = made
    grown_run = override(
        run,
        [f"start={folder}", "model.growth.attention=1", "model.growth.feed_forward=2",
         "model.balance_weight=0.5", "train.weight_decay=0.5", "train.learning_rate=0.05"],
    )  # fmt: skip
    system = api.build(grown_run)[0]
    assert system.sizes() == [(5, 8), (5, 8)]
    before = {name: value.clone() for name, value in system.state_dict().items()}
    fit(system, data.train, grown_run.train, tmp_path, seed=0)
    changed = set()
    for name, value in system.state_dict().items():
        old = len(value) - {5: 1, 8: 2}.get(len(value), len(value)) if value.ndim else 0
        mixed = "modules_embedding" in name or (value.ndim == 3 and len(value) in (5, 8))
        kept = value[:old] if mixed else value
        assert torch.equal(kept, before[name][: len(kept)] if kept.ndim else before[name]), name
        if mixed and not torch.equal(value, before[name]):
            changed.add(name.split(".")[-1])
    assert "modules_embedding" in changed
    kept = save_system(system.eval(), tmp_path / "again")
    assert brickwork.load(kept).sizes() == [(5, 8), (5, 8)]


def test_adding_does_not_touch_the_given_model(made):
    system, _ = made
    before = {name: value.clone() for name, value in system.state_dict().items()}
    grown = add_modules(system, feed_forward=2)
    assert all(torch.equal(value, before[name]) for name, value in system.state_dict().items())
    assert all(p.requires_grad for p in system.parameters())
    assert trainable(grown) == sum(
        2 * (32 * 32 * 2 + 16) for _ in range(2)
    )  # two maps of 32 × 32 and a row of 16 for each new module
    assert trainable(unfreeze(grown)) == sum(p.numel() for p in grown.parameters())


def test_routers_can_be_trained_with_the_new_modules(made):
    grown = add_modules(made[0], feed_forward=2, train="router")
    free = {name for name, p in grown.named_parameters() if p.requires_grad}
    assert any("router.scorer.inner" in name for name in free)
    assert not any("embedding.weight" in name for name in free)


def drift(router, old, x):
    """The mean over tokens of ‖p − p°‖², one token at a time; p° from the weights of the model that was grown."""
    scorer, names = router.scorer, old.scorer.state_dict()
    total = 0.0
    for row in x:
        inner = torch.nn.functional.gelu(row @ names["inner.weight"].T + names["inner.bias"])
        before = (names["modules_embedding"] @ inner + names["offset"]).softmax(-1)
        now = scorer(row[None])[0].softmax(-1)
        total += (((now[: len(before)] - before) ** 2).sum() + (now[len(before) :] ** 2).sum()).item()
    return total / len(x)


def test_route_regularisation_is_how_far_routers_moved(made):
    """Zero for what has not changed, the mass of new modules at first, by hand after the router moved; pads do not count."""
    system, data = made
    same = add_modules(system, train="all", route_reg=1.0)
    batch = same.collate(data.test.take(range(4)))
    assert same.loss(batch).terms["route"].item() == 0
    grown = add_modules(system, feed_forward=2, train="router", route_reg=3.0)
    router, old = (s.decoder.blocks[1].feed_forward.router for s in (grown, system))
    with torch.no_grad():
        router.scorer.inner.weight += 0.1
        router.scorer.modules_embedding.mul_(1.5)
    x = torch.randn(5, 32)
    expected = drift(router, old, x)
    assert router(x).aux["route"].item() == pytest.approx(expected, rel=1e-4)
    assert expected > 1e-3
    mask = torch.tensor([True, True, False, True, True])
    masked = router(torch.where(mask[:, None], x, 9.0), mask).aux["route"]
    assert masked.item() == pytest.approx(drift(router, old, x[mask]), rel=1e-4)
    output = grown.loss(batch)
    plain = output.terms["language"] + output.terms["balance"] * system.config.balance_weight
    assert output.total.item() == pytest.approx((plain + 3.0 * output.terms["route"]).item(), rel=1e-6)
    assert "route" not in add_modules(system, feed_forward=2).loss(batch).terms


def test_route_regularisation_has_the_gradient_of_its_definition(made):
    """Finite differences in float64 through the whole router."""
    grown = add_modules(made[0], feed_forward=2, train="all", route_reg=1.0).double()
    router = grown.decoder.blocks[0].feed_forward.router
    x = torch.randn(3, 32, dtype=torch.float64)
    names = [name for name, _ in router.scorer.named_parameters()]

    def of(*values):
        return torch.func.functional_call(
            router, {f"scorer.{n}": v for n, v in zip(names, values)}, (x,)
        ).aux["route"]

    values = [(p.detach() + 0.1).requires_grad_() for p in router.scorer.parameters()]
    assert torch.autograd.gradcheck(of, values, atol=1e-7, fast_mode=True)


@pytest.mark.parametrize("train", ["new", "router", "all"])
def test_route_regularisation_holds_routers(run, made, folder, tmp_path, train):
    """Two trainings through the command line's options: with it routers end closer to where they were. Kept without it."""
    _, data = made
    ends = []
    for weight in (1e-9, 100.0):
        grown_run = override(
            run,
            [f"start={folder}", "model.growth.feed_forward=2", f"model.growth.train={train}",
             f"model.growth.route_reg={weight}", "train.steps=6", "train.batch_size=4", "train.learning_rate=0.2"],
        )  # fmt: skip
        torch.manual_seed(0)
        system = api.build(grown_run)[0]
        fit(system, data.train, grown_run.train, tmp_path / str(weight), seed=0)
        with torch.no_grad():
            ends.append(system.loss(system.collate(data.test.take(range(32)))).terms["route"].item())
    assert ends[1] < 0.5 * ends[0]
    if train != "all":
        return  # what is kept does not depend on what was trained
    loaded = brickwork.load(save_system(system.eval(), tmp_path / "kept"))
    few = data.test.select(range(8))
    assert loaded.evaluate(few) == pytest.approx(system.evaluate(few), rel=1e-5)
    assert "route" not in loaded.loss(loaded.collate(data.test.take(range(4)))).terms
    assert prune_modules(system, few, 0.3).after["nats_per_token"] > 0


def test_growth_trains_with_the_losses_that_are_given(run, made, folder):
    changed = override(
        run,
        [f"start={folder}", "model.balance=switch", "model.balance_weight=0.5", "model.z_weight=0.1",
         "model.explore=1"],
    )  # fmt: skip
    system, _ = api.build(changed)
    output = system.loss(system.collate(made[1].test.take(range(4))))
    plain = output.terms["language"] + 0.5 * output.terms["balance"] + 0.1 * output.terms["z"]
    assert output.total.item() == pytest.approx(plain.item(), rel=1e-6)
    assert {half.router.explore for half in system.decoder.mixtures().values()} == {1}
    assert (
        output.terms["balance"].item() >= 0.9
    )  # Switch is 1 where use is even; mutual information is below 0
    with pytest.raises(ConfigError, match="explore=4 must be at most top_k=2 of the model"):
        api.build(replace(changed, model=replace(changed.model, top_k=4, explore=4)))


# ---- what is left of the stick ---------------------------------------------------------------------------------


@pytest.mark.parametrize("modules", [4, 0], ids=["mixture", "dense"])
def test_the_sink_is_learnt_and_changes_what_is_predicted(run, made, tmp_path, modules):
    """It starts as ``drop`` to the bit; its vectors are trained, without decay, and are kept."""
    _, data = made
    models = {}
    for remainder in ("drop", "sink"):
        torch.manual_seed(0)
        models[remainder] = build(replace(run.model, attention_modules=modules, remainder=remainder), data)
    batch = models["sink"].collate(data.test.take(range(4)))
    models["sink"].load_state_dict(models["drop"].state_dict(), strict=False)
    assert torch.equal(models["sink"](batch)[0], models["drop"](batch)[0])
    system = models["sink"]
    sinks = [block.attention.sink for block in system.decoder.blocks]
    assert all(any(s is p for p in system.param_groups(1.0, 0.1)[1]["params"]) for s in sinks)
    fit(system, data.train, run.train, tmp_path, seed=0)
    assert all(s.abs().sum() > 0 for s in sinks)
    assert not torch.equal(system(batch)[0], models["drop"](batch)[0])
    loaded = brickwork.load(save_system(system.eval(), tmp_path / "kept"))
    torch.testing.assert_close(loaded(batch)[0], system(batch)[0])


# ---- modules pruned --------------------------------------------------------------------------------------------


def test_pruned_models_are_smaller_and_kept(made, tmp_path):
    system, data = made
    few = data.test.select(range(16))
    result = prune_modules(system, few, 0.5)
    sizes = result.system.sizes()
    assert sum(a + f for a, f in sizes) == 10  # of 2 × (4 + 6)
    assert all(a >= 2 and f >= 2 for a, f in sizes)
    assert result.parameters[1] < result.parameters[0]
    assert result.after["nats_per_token"] > 0
    assert result.before["nats_per_token"] == pytest.approx(system.evaluate(few)["nats_per_token"])
    loaded = brickwork.load(save_system(result.system, tmp_path / "small"))
    after = loaded.evaluate(few)["nats_per_token"]
    assert after == pytest.approx(result.after["nats_per_token"], rel=1e-5)


def test_unused_modules_can_go_without_any_change(made):
    """A module that no token chooses, with a softmax weight of nothing: pruning it changes no number."""
    system, data = made
    system = add_modules(system, feed_forward=1)
    for half in system.decoder.mixtures().values():
        if half.router.num_modules == 7:
            half.router.scorer.offset[6] = -1e4
    result = prune_modules(system, data.test.select(range(16)), 2 / 22)
    assert result.system.sizes() == [(4, 6), (4, 6)]
    assert result.after["nats_per_token"] == pytest.approx(result.before["nats_per_token"], rel=1e-6)


def test_pruning_nothing_is_the_identity(made):
    system, data = made
    result = prune_modules(system, data.test.select(range(4)), 0.0)
    state = result.system.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in system.state_dict().items())


# ---- what the claims lean on -----------------------------------------------------------------------------------


def test_adapters_start_as_the_identity(made):
    system, data = made
    batch = system.collate(data.test.take(range(4)))
    adapted = with_low_rank(system, 2)
    torch.testing.assert_close(adapted.loss(batch).total, system.loss(batch).total)
    assert trainable(adapted) == sum(
        p.numel() for n, p in adapted.named_parameters() if n.endswith((".a", ".b"))
    )


def test_dense_units_are_pruned_by_size(run, made):
    data = made[1]
    model = replace(run.model, attention_modules=0, feed_forward_modules=0, hidden=8)
    dense = build(model, data)
    with torch.no_grad():
        for block in dense.decoder.blocks:
            block.feed_forward.up.weight[::2] = 0
            block.feed_forward.up.bias[::2] = 0
    batch = dense.collate(data.test.take(range(4)))
    smaller = without_hidden(dense, 0.5)
    assert smaller.decoder.blocks[0].feed_forward.up.weight.shape == (4, 32)
    torch.testing.assert_close(smaller.loss(batch).total, dense.loss(batch).total)


def test_forgetting_is_read_off_the_curve():
    curve = [(0, 1.0, 5.0), (10, 2.0, 4.0), (20, 4.0, 3.0)]
    assert nats_at(curve, 4.5) == 1.5
    assert nats_at(curve, 3.5) == 3.0
    assert nats_at(curve, 1.0) == 4.0


# ---- bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.top_k=7", r"top_k=7 with attention_modules=4"),
        ("model.vocab_size=100", "at least 256"),
        ("model.num_heads=3", "multiple of num_heads=3"),
        ("model.explore=3", "between 0 and top_k=2"),
        ("model.balance_weight=-1", "must not be negative"),
        ("model.growth.route_reg=-1", r"growth.route_reg=-1.0 must not be negative"),
        ("model.growth.feed_forward=-2", r"growth.feed_forward=-2 must not be negative"),
        ("model.context=0", "context=0 must be at least 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(run, change, message):
    with pytest.raises(ConfigError, match=message):
        override(run, [change])


def test_positions_and_their_options(run):
    with pytest.raises(ConfigError, match="are of position=stick"):
        override(run, ["model.position=rope", "model.attend_current=false"])
    with pytest.raises(ConfigError, match="heads of even width"):
        override(run, ["model.position=rope", "model.attention_hidden=10"])


def test_surgery_that_cannot_be(run, made):
    system, data = made
    dense = build(replace(run.model, feed_forward_modules=0, attention_modules=0), data)
    with pytest.raises(ConfigError, match="layer 1 has a dense feed-forward"):
        add_modules(dense, feed_forward=1)
    with pytest.raises(ConfigError, match="no modules to prune"):
        prune_modules(dense, data.test, 0.5)
    with pytest.raises(ConfigError, match=r"share=1.0 of the modules cannot be pruned"):
        prune_modules(system, data.test, 1.0)


def test_what_growth_starts_from_has_to_be_one(run, made, folder, tmp_path):
    with pytest.raises(ArtifactError):
        api.build(replace(run, start=str(tmp_path)))
    with pytest.raises(ConfigError, match="name its folder: --set start=FOLDER"):
        api.build(override(run, ["model.growth.feed_forward=2"]))
    other = api.recipe("matryoshka", "smoke")
    with pytest.raises(ConfigError, match="matryoshka does not go on from a finished run"):
        api.build(replace(other, start=str(folder)))
    toy, _ = api.build(api.recipe("global-workspace", "smoke"))
    save_system(toy, tmp_path / "other")
    with pytest.raises(ConfigError, match="is no moduleformer run"):
        api.build(replace(run, start=str(tmp_path / "other")))


def test_pairs_are_refused(run, made):
    with pytest.raises(DataError, match="it needs plain texts"):
        build(run.model, replace(made[1], kind="pairs"))


def test_texts_have_domains(run):
    data = load_data(run.data, 0)
    assert data.class_names == ("questions", "statements")
    assert set(data.train.columns["domain"]) == {"questions", "statements"}
