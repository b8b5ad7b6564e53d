"""Bricks of a language model: trained side by side, found by key, merged, taken away, put back.

Expected values: transformers' own loading of what was exported, sums by hand, and the very bits of before.
"""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch as torch_files
import torch
from safetensors import SafetensorError
from tokenizers import processors

import brickwork
from brick_texts import TEXTS
from brickwork.api import export as export_api
from brickwork.api import predict as predict_api
from brickwork.api import train as api
from brickwork.core.errors import ArtifactError, ConfigError, ResourceError
from brickwork.encoders.causal_lm import HubCausalLM
from brickwork.modules.adapters import inject_lora
from brickwork.modules.bricks import Brick, from_adapters, load_library
from brickwork.modules.model_hash import model_hash
from brickwork.representation.contract import build_system
from brickwork.representation.kept import save_system
from brickwork.systems.configurable_foundation_models.config import BricksConfig
from brickwork.systems.configurable_foundation_models.merged import write_merged
from brickwork.systems.configurable_foundation_models.routing import Embedded, route
from brickwork.training.run import load_data
from leading_piece import llama_2_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own
SLUG = "configurable-foundation-models"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("domains")
    for name in ("sums", "names"):
        (root / name).mkdir()
        for number in range(4):
            (root / name / f"{number}.txt").write_text("\n".join(TEXTS[name][number::4]))
    return root


def run_of(folder, steps=120, **model):
    model = {"rank": 4, **model}
    smoke = api.recipe(SLUG, "smoke")
    stages = (replace(smoke.stages[0], steps=steps // 2), smoke.stages[1])
    return replace(
        smoke,
        model=replace(smoke.model, **model),
        data=replace(smoke.data, source=str(folder), limit=None),
        train=replace(smoke.train, steps=steps, validate_every=0, save_every=0, learning_rate=1e-2),
        stages=stages,
    )


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    api.train(run_of(folder), out)
    return out


@pytest.fixture
def system(trained):
    return brickwork.load(trained)


def nats(system, texts):
    sums, counts = system.text_nats(texts)
    return sums / counts


def test_each_brick_is_best_on_its_own_domain(system):
    for name in ("sums", "names"):
        table = system.by_brick(TEXTS[name][::7]).mean(0)
        own = 1 + system.domains.index(name)
        assert table.argmin() == own
        assert table[own] < table[0] - 0.01


def test_requests_find_their_brick(system):
    for name in ("sums", "names"):
        chosen, _ = system.route(TEXTS[name][1::7])
        assert np.mean([one == name for one in chosen]) >= 0.8


def test_the_base_answers_where_no_key_is_near_enough():
    """By hand: a request along a key, one at right angles to all, one between them; and short ones with a lower bar."""

    def brick(name, *key):
        keys = {"key": torch.tensor(key), "centre": torch.ones(3), "spread": torch.full((3,), 2.0)}
        keys["threshold"] = torch.tensor([0.3, 0.9])
        return Brick(name=name, kind="delta", base="", weights={}, keys=keys)

    bricks = {"a": brick("a", 1.0, 0.0, 0.0), "b": brick("b", 0.0, 1.0, 0.0)}
    vectors = 1 + 2 * torch.tensor([[5.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.9, 0.0], [1.0, 0.9, 0.0]])
    chosen, similar = route(Embedded(vectors, torch.tensor([64.0, 64.0, 64.0, 16.0])), bricks)
    assert chosen == ["a", "base", "base", "a"]
    assert similar.tolist() == pytest.approx([1, 0, 1 / np.sqrt(1.81), 1 / np.sqrt(1.81)])
    middle = Embedded(vectors[2:3], torch.tensor([32.0]))  # in the middle of 16 and 64 the bar is 0.6
    assert route(middle, bricks)[0] == ["a"]
    assert route(middle, {})[0] == ["base"]
    with pytest.raises(ConfigError, match="no key"):
        route(middle, {"a": replace(bricks["a"], keys={})})


def test_removing_a_brick_leaves_the_bits_of_before(system, trained):
    ids = torch.tensor([[10, 20, 30, 40]])
    state = {name: value.clone() for name, value in system.encoder.model.state_dict().items()}
    before = system.encoder(ids).logits
    for expression in ("sums", "names", "sums+names", "-sums"):
        with system.on(system.configured(expression)):
            assert not torch.equal(system.encoder(ids).logits, before)
        assert torch.equal(system.encoder(ids).logits, before)
    assert all(torch.equal(value, state[name]) for name, value in system.encoder.model.state_dict().items())
    again = brickwork.load(trained).encoder
    assert system.base_hash() == model_hash(again.model, again.tokenizer)


def test_erasing_and_putting_back(system):
    """The base with a domain's change subtracted is worse on that domain than with it, and putting it back is exact."""
    texts = TEXTS["sums"][::7]
    with system.on(system.configured("sums")):
        there = nats(system, texts)
    with system.on(system.configured("-sums")):
        erased = nats(system, texts)
    with system.on(system.configured("sums")):
        again = nats(system, texts)
    assert erased.mean() > nats(system, texts).mean() > there.mean()
    assert (again == there).all()


def test_a_sum_of_bricks_is_the_sum_of_their_changes(system):
    library = system.own_bricks()
    both = system.configured("sums+names", rank=2)
    for layer, change in both.weights.items():
        torch.testing.assert_close(
            change, library["sums"].change(2)[layer] + library["names"].change(2)[layer]
        )


def test_predict_says_which_brick_and_what_it_gains(trained, tmp_path):
    rows = [TEXTS["sums"][3].strip(), TEXTS["names"][4].strip()]
    with open(tmp_path / "asks.csv", "w", newline="") as file:
        csv.writer(file).writerows([["text"], *([row] for row in rows[:2])])
    answers = predict_api.predict(trained, tmp_path / "asks.csv", tmp_path / "out.csv", max_tokens=5)
    assert list(answers) == ["id", "brick", "similarity", "nats_per_token", "nats_base", "answer"]
    assert answers["brick"] == ["sums", "names"]
    for row in range(2):
        alone = brickwork.load(trained)
        with alone.on(alone.own_bricks()[answers["brick"][row]]):
            assert answers["nats_per_token"][row] == pytest.approx(nats(alone, [rows[row]])[0], rel=1e-5)
    fixed = predict_api.predict(trained, tmp_path / "asks.csv", brick="base")
    np.testing.assert_array_equal(fixed["nats_per_token"], fixed["nats_base"])
    with pytest.raises(ConfigError, match="no brick 'sum'"):
        predict_api.predict(trained, tmp_path / "asks.csv", brick="sum")
    with pytest.raises(ConfigError, match="outside 1 … 4"):
        predict_api.predict(trained, tmp_path / "asks.csv", rank=5)
    with pytest.raises(ArtifactError, match="no library"):
        predict_api.predict(trained, tmp_path / "asks.csv", library=str(tmp_path / "none"))


def test_exported_models_are_what_transformers_computes(trained, system, tmp_path):
    from transformers import AutoModelForCausalLM

    export_api.export_bricks(trained, tmp_path / "both", merged=True, brick="sums+names", rank=2)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "both")
    ids = torch.tensor([[10, 20, 30, 40]])
    with system.on(system.configured("sums+names", 2)):
        torch.testing.assert_close(theirs(ids).logits, system.encoder(ids).logits, rtol=1e-4, atol=1e-5)


def test_a_library_takes_bricks_from_elsewhere_and_loses_one_without_harm(trained, system, tmp_path):
    """Adapters of another training in a library with those of a run, at the rank that a budget allows."""
    library = tmp_path / "library"
    export_api.export_bricks(trained, library)
    model = system.encoder.model
    adapters = inject_lora(model, "q_proj", rank=3)
    torch.manual_seed(0)
    for row in adapters.segments.rows:
        row.data.normal_(0, 0.2)
    strange = from_adapters(adapters, "strange", keys=system.own_bricks()["sums"].keys)
    adapters.unload_()
    strange = replace(strange, keys={**strange.keys, "key": -strange.keys["key"]})
    before = system.predict({"input": TEXTS["sums"][:4]}, library=str(library), rank=2)
    strange.save(library)
    assert sorted(load_library(library)) == ["names", "strange", "sums"]
    with system.on(load_library(library)["strange"], 1):
        assert not torch.allclose(system.encoder(torch.tensor([[1, 2, 3]])).logits, torch.zeros(1))
    during = system.predict({"input": TEXTS["sums"][:4]}, library=str(library), rank=2)
    for file in (library / "strange").iterdir():
        file.unlink()
    (library / "strange").rmdir()
    after = system.predict({"input": TEXTS["sums"][:4]}, library=str(library), rank=2)
    for name, values in before.items():
        np.testing.assert_array_equal(np.asarray(after[name]), np.asarray(values))
    np.testing.assert_array_equal(during["nats_base"], before["nats_base"])


def test_a_brick_lies_under_its_own_name(system, tmp_path):
    """A copy under another name would take the place of the first, or stay when that is removed."""
    for brick in system.own_bricks().values():
        brick.save(tmp_path / "library")
    folder = tmp_path / "library"
    first = sorted(folder.iterdir())[0]
    shutil.copytree(first, folder / "other")
    with pytest.raises(ArtifactError, match=rf"other holds the brick '{first.name}'.*rename the folder"):
        load_library(folder)
    (folder / "other" / "brick.json").unlink()
    with pytest.raises(ArtifactError, match=r"has no brick\.json beside its weights"):
        load_library(folder)
    (folder / "other").rename(folder / ".partial-x-old")
    with pytest.raises(ArtifactError, match="was being replaced when the process was killed"):
        load_library(folder)


def test_what_a_user_has_in_a_folder_stays(system, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    name = next(iter(system.own_bricks()))
    with pytest.raises(ConfigError, match="exists and is not empty; choose another folder"):
        system.export_merged(tmp_path, name)
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists and is not empty"):
        system.own_bricks()[name].save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == (tmp_path / name / "mine.txt").read_text() == "mine"


def test_one_brick_merged_is_itself_and_the_base_has_no_options(system):
    name = next(iter(system.own_bricks()))
    texts = {"input": ["a b c d e"]}
    plain = system.predict(texts, brick=name)
    for method in ("ties", "dare", "average"):
        assert system.predict(texts, brick=name, merge=method)["nats_per_token"] == plain["nats_per_token"]
    with pytest.raises(ConfigError, match="no effect on the base alone"):
        system.predict(texts, brick="base", rank=1)


def test_a_text_of_one_token_is_not_measured(system):
    results = system.predict({"input": ["a"]}, brick="base")
    length = system.text_nats(["a"])[1][0]
    assert np.isnan(results["nats_base"][0]) == (length == 0)


def test_a_run_of_dylora_becomes_a_brick_of_the_same_library(trained, system, folder, tmp_path):
    """The base as transformers has it is adapted by another system; its adapters are a brick here, at every rank."""
    export_api.export_bricks(trained, tmp_path / "base", merged=True, brick="base")
    run = api.recipe("dylora", "language")
    run = replace(
        run,
        model=replace(run.model, backbone=str(tmp_path / "base"), rank=3, max_tokens=32),
        data=replace(run.data, source=str(folder), limit=40),
        train=replace(run.train, steps=6, batch_size=4, validate_every=0, save_every=0, precision="fp32"),
    )
    api.train(run, tmp_path / "dylora")
    other = brickwork.load(tmp_path / "dylora")
    library = tmp_path / "library"
    export_api.export_bricks(trained, library)
    from_adapters(other.adapters, "customer-19").save(library)
    ids = torch.tensor([[10, 20, 30, 40]])
    for rank in (1, 3):
        with other.adapters.rank(rank):
            expected = other.encoder(ids).logits
        with system.on(load_library(library)["customer-19"], rank):
            torch.testing.assert_close(system.encoder(ids).logits, expected, rtol=1e-4, atol=1e-5)
    answers = system.predict(
        {"input": TEXTS["sums"][:2]}, brick="customer-19+sums", rank=2, library=str(library)
    )
    assert np.isfinite(answers["nats_per_token"]).all()
    with pytest.raises(ConfigError, match="'customer-19' has no key"):
        system.predict({"input": TEXTS["sums"][:2]}, library=str(library))


@pytest.mark.parametrize(("ranks", "scale"), [(None, 16 / 2), ("full", 16 / 4)])
def test_ranks_are_scaled_as_they_were_trained(folder, ranks, scale):
    """DyLoRA (eq. 7): α/b at rank b. LoRA: α/r whatever is left of the sum (lora_alpha / r in peft)."""
    run = run_of(folder, alpha=16.0, ranks=ranks)
    system = build_system(SLUG, run.model, load_data(SLUG, run.data, 0), 0)
    for row in system.bricks[0].segments.rows:
        row.data.normal_()
    brick = system.own_bricks()[system.domains[0]]
    layer = brick.layers()[0]
    down, up = brick.weights[f"{layer}.A"], brick.weights[f"{layer}.B"]
    torch.testing.assert_close(brick.change(2)[layer], scale * up[:, :2] @ down[:2])
    ids = torch.tensor([[10, 20, 30, 40]])
    with system.bricks[0].on(system.encoder.model, 2):
        while_learning = system.encoder(ids).logits
    with system.on(brick, 2):
        torch.testing.assert_close(system.encoder(ids).logits, while_learning, rtol=1e-4, atol=1e-5)


def test_a_brick_of_another_base_is_refused(trained, folder, tmp_path):
    export_api.export_bricks(trained, tmp_path / "library")
    run = replace(run_of(folder), seed=1)
    other = build_system(SLUG, run.model, load_data(SLUG, run.data, 1), 1)
    with pytest.raises(ConfigError, match="was made for the base"):
        other.predict({"input": TEXTS["sums"][:1]}, brick="sums", library=str(tmp_path / "library"))


def test_vectors_of_a_prompt_count_as_what_is_read(folder):
    run = run_of(folder, rank=None, targets=None, kind="prompt", length=3)
    system = build_system(SLUG, run.model, load_data(SLUG, run.data, 0), 0)
    limit, brick = system.encoder.max_positions, system.own_bricks()["sums"]
    ask = {"temperature": 0.0, "top_k": 0, "seed": 0, "before": 3}
    left = limit - 3 - len(system.encoder.tokenizer.encode("ab").ids)
    with pytest.raises(ConfigError, match=f"2 tokens and a brick of 3 vectors is more than the {limit}"):
        system._continued("ab", left + 1, **ask)
    with system.on(brick):
        assert isinstance(system._continued("ab", 1, **ask), str)
    longer = replace(brick, weights={"prompt": torch.zeros(limit, brick.weights["prompt"].shape[1])})
    with pytest.raises(ConfigError, match=r"'sums' puts .* vectors before a window"), system.on(longer):
        pass


@pytest.mark.parametrize("kind", ["prompt", "expert"])
def test_other_kinds_learn_and_come_back(folder, tmp_path, kind):
    run = run_of(
        folder, rank=None, targets=None, kind=kind, **{"length": 3} if kind == "prompt" else {"neurons": 6}
    )
    system = build_system(SLUG, run.model, load_data(SLUG, run.data, 0), 0)
    system.encoder.requires_grad_(False)
    batch = {**system.collate({"input": TEXTS["sums"][:8], "domain": ["sums"] * 8}), "step": 0}
    place = system.domains.index("sums")
    optimiser = torch.optim.Adam(system.bricks[place].parameters(), lr=1e-2)
    start = system.loss(batch).total.item()
    for _ in range(20):
        optimiser.zero_grad()
        system.loss(batch).total.backward()
        optimiser.step()
    assert system.loss(batch).total.item() < start - 0.01
    learnt = system.own_bricks()["sums"]
    with system.on(learnt):
        expected = nats(system, TEXTS["sums"][:3])
    kept = brickwork.load(save_system(system.eval(), tmp_path / "kept"))
    with kept.on(kept.own_bricks()["sums"]):
        np.testing.assert_allclose(nats(kept, TEXTS["sums"][:3]), expected, rtol=1e-5)
    with pytest.raises(ConfigError, match="no change of weights"):
        kept.export_merged(tmp_path / "merged", brick="sums")


def test_a_brick_learns_from_its_own_texts_alone(folder):
    """A brick whose domain is not in the batch has no gradient at all, so that no optimiser moves it."""
    run = run_of(folder)
    system = build_system(SLUG, run.model, load_data(SLUG, run.data, 0), 0)
    system.loss(
        {**system.collate({"input": TEXTS["sums"][:4], "domain": ["sums"] * 4}), "step": 0}
    ).total.backward()
    other = system.bricks[system.domains.index("names")]
    assert all(p.grad is None for p in other.parameters())
    assert any(p.grad is not None for p in system.bricks[system.domains.index("sums")].parameters())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"kind": "prompt", "rank": 4}, "rank has no effect"),
        ({"length": 4}, "length has no effect"),
        ({"revision": "main"}, "revision has no effect"),
        ({"kind": "prompt", "ranks": "full"}, "ranks has no effect"),
    ],
)
def test_options_without_effect_are_named(model, message):
    assert any(message in problem for problem in BricksConfig(**model).validate())


def test_a_domain_that_no_brick_can_be_called_is_refused(tmp_path):
    for name in ("c++", "law"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("some words to read. " * 40)
    run = run_of(tmp_path)
    with pytest.raises(ConfigError, match=r"'c\+\+' cannot be the name of a brick"):
        build_system(SLUG, run.model, load_data(SLUG, run.data, 0), 0)


def test_the_command_line_exports_bricks_and_refuses_what_means_nothing(trained, tmp_path):
    from typer.testing import CliRunner

    from brickwork.cli.main import app

    def export(*options):
        return CliRunner().invoke(app, ["export", str(trained), "--out", str(tmp_path / "out"), *options])

    assert export("--to", "bricks", "--brick", "sums").exit_code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sums"]
    for options, message in (
        (("--to", "bricks", "--rank", "2"), "--rank has no effect with --to bricks"),
        (("--to", "merged", "--brick", "sims"), "no brick 'sims'"),
        (("--to", "merged", "--dim", "8"), "--dim has no effect with --to merged"),
        (("--to", "peft", "--brick", "sums"), "--brick has no effect with --to peft"),
    ):
        result = export(*options)
        assert result.exit_code != 0
        assert message in str(result.exception) + result.output
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# ---- a folder for transformers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_merged_folder_has_the_tokenizer_of_its_base(tmp_path, kind):
    """transformers builds a tokenizer of its own for a Llama whose folder does not say that it has another."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    tokenizer = llama_2_tokenizer()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 14)])
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = AutoConfig.for_model(
        kind,
        vocab_size=16,
        bos_token_id=14,
        eos_token_id=[15],
        **(size if kind == "llama" else {"n_embd": 16, "n_layer": 1, "n_head": 2}),
    )
    lm = HubCausalLM.of(AutoModelForCausalLM.from_config(config), tokenizer)
    folder = write_merged(lm, tmp_path / "out", "with bricks", "models/it")
    theirs = AutoTokenizer.from_pretrained(folder)
    for text in ("to Mary", " to  John 17", "ab\nab </s>", ""):
        assert theirs(text)["input_ids"] == tokenizer.encode(text).ids
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert theirs.decode(ids, skip_special_tokens=True) == tokenizer.decode(ids)
    assert (theirs.bos_token, theirs.eos_token, theirs.unk_token) == ("<s>", "</s>", "<unk>")
    assert theirs.model_max_length == lm.max_positions
    torch.testing.assert_close(
        AutoModelForCausalLM.from_pretrained(folder).state_dict(), lm.model.state_dict(), rtol=0, atol=0
    )
    assert "# A language model with bricks" in (folder / "README.md").read_text()


def test_a_disk_that_is_full_is_one_error_and_leaves_nothing(system, tmp_path, monkeypatch):
    """safetensors reports the system's refusal in its own words; transformers hands that on."""

    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", full)
    with pytest.raises(ResourceError, match=r"cannot write .*/merged: the disk is full"):
        system.export_merged(tmp_path / "merged", "sums")
    assert list(tmp_path.iterdir()) == []
    calls, save = [], torch_files.save_file

    def second_full(*given, **options):
        calls.append(given)
        return save(*given, **options) if len(calls) == 1 else full()

    monkeypatch.setattr(torch_files, "save_file", second_full)
    with pytest.raises(ResourceError, match=r"cannot write .*/library: the disk is full|library/sums"):
        system.export_bricks(tmp_path / "library")
    assert list(tmp_path.iterdir()) == [], "not one brick without the others"
