"""MultiModN: its equations by hand, the authors' code on the same weights, missing modalities, the user's tables."""

import itertools
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

import brickwork
from brickwork.api import predict as predict_api
from brickwork.api import train as api
from brickwork.cli.main import app
from brickwork.core.config import override
from brickwork.core.errors import BrickworkWarning, ConfigError, DataError
from brickwork.data.types import Examples, TaskData
from brickwork.modules.simplex import SimplexHead
from brickwork.representation.contract import build_system
from brickwork.representation.kept import save_system
from brickwork.systems.multimodn.config import MultiModNConfig, ParallelFusionConfig, SequentialFusion
from brickwork.systems.multimodn.data import Data, MissingConfig, TableConfig
from brickwork.systems.multimodn.layout import ModalityLayout, TableLayout, TargetLayout
from brickwork.systems.multimodn.missingness import delete
from brickwork.systems.multimodn.sets import TOY_LAYOUT, multimodal_task, toy_columns
from brickwork.systems.multimodn.step_outputs import importance

AUTHORS = json.loads((Path(__file__).parents[1] / "golden" / "multimodn-authors.json").read_text())


def normal_task(
    rows: int, widths: tuple[int, ...], classes: int = 2, tasks: int = 2, seed: int = 0
) -> TaskData:
    """Modalities of standard normal numbers, and tasks that depend on the first column of each."""
    rng = np.random.default_rng(seed)
    columns = {f"m{i}": rng.normal(size=(rows, width)) for i, width in enumerate(widths)}
    total = sum(column[:, 0] for column in columns.values())
    for t in range(tasks):
        columns[f"target.t{t}"] = np.digitize(total, np.linspace(-1, 1, classes - 1)).astype(np.int64) ^ (
            t % 2
        )
    layout = TableLayout(
        modalities=tuple(
            ModalityLayout(name=f"m{i}", numbers=tuple(f"m{i}_{j}" for j in range(width)))
            for i, width in enumerate(widths)
        ),
        targets=tuple(TargetLayout(name=f"t{t}", classes=tuple("ab"[:classes])) for t in range(tasks)),
    )
    examples = Examples(columns)
    return TaskData(
        name="numbers",
        kind="multitask",
        modality="table",
        train=examples,
        validation=examples,
        test=examples,
        details=layout,
    )


@pytest.fixture(scope="module")
def toy() -> TaskData:
    return multimodal_task(Data(source="toy_ward", limit=200), 0)


def fresh(data: TaskData, **options):
    torch.manual_seed(0)
    return build_system("multimodn", MultiModNConfig(**{"hidden": (8,), "dropout": 0.0, **options}), data, 0)


# ---- the equations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outputs", ["logits", "sigmoid"])
def test_loss_is_the_papers_by_a_loop_over_rows(outputs):
    """L = λ_err ΣL[i,t]/(T(M+1)) + 0.01 λ_chg Σchg/M, a row at a time, a missing modality skipping the row."""
    data = normal_task(12, (3, 2, 4))
    data = replace(data, train=delete(delete(data.train, "m1", [0, 5, 6]), "m2", [0, 11]))
    system = fresh(
        data, outputs=outputs, error_weight=0.7, fusion=SequentialFusion(state_dim=5, change_weight=0.3)
    ).double()
    batch = {
        k: v.double() if v.is_floating_point() else v
        for k, v in system.collate(data.train.take(range(12))).items()
    }
    result = system.loss(batch)
    error, change = 0.0, 0.0
    chain = system.fusion
    for row in range(12):
        state = chain.initial
        for step in range(4):
            if step:
                name = f"m{step - 1}"
                if not batch[f"{name}.present"][row]:
                    continue
                new = chain.encoders[step - 1](torch.cat([batch[name][row], state])[None])[0]
                change += ((new - state) ** 2).mean() / 12
                state = new
            for t in range(2):
                out = system.decoders[t](state)
                out = out.sigmoid() if outputs == "sigmoid" else out
                error += -out.log_softmax(0)[batch[f"target.t{t}"][row]] / 12
    expected = 0.7 * error / (2 * 4) + 0.01 * 0.3 * change / 3
    torch.testing.assert_close(result.total, expected, rtol=1e-10, atol=1e-12)


def test_authors_code_on_the_same_weights_gives_the_same():
    """MultiModN of EPFLiGHT/MultiModN (MIMIC encoder, MLP decoder, sigmoid), run on the weights and rows of this file by
    tests/golden/multimodn-authors.json's recipe: loss and every intermediate output, complete and with a modality missing
    from one row of the batch (it skips the whole batch)."""
    data = normal_task(8, (3, 2))
    system = authors_system(data)
    for case, wanted in AUTHORS["cases"].items():
        train = delete(data.train, "m1", [2]) if case == "one row lacks m1" else data.train
        batch = system.collate(train.take(range(8)))
        assert system.loss(batch).total.item() == pytest.approx(wanted["loss"], rel=1e-6)
        outputs, _ = system.eval()(batch, "batch")
        for t, steps in enumerate(wanted["outputs"]):
            last = None
            for step, expected in enumerate(steps):
                expected = (
                    last if expected is None else expected
                )  # the authors give nothing for a skipped step
                np.testing.assert_allclose(outputs[t][step].sigmoid().detach(), expected, atol=1e-6)
                last = expected
        system.train()


def authors_system(data: TaskData):
    """The system with weights that are a function of their names and places, so that another program can make them."""
    system = fresh(
        data,
        hidden=(4, 3),
        outputs="sigmoid",
        error_weight=0.7,
        fusion=SequentialFusion(state_dim=5, change_weight=0.3, skip="batch"),
    )
    with torch.no_grad():
        for number, (_, parameter) in enumerate(sorted(system.named_parameters())):
            place = torch.arange(parameter.numel(), dtype=torch.float64) + 17 * number
            parameter.copy_((0.6 * torch.sin(1.7 * place + 0.3)).reshape(parameter.shape))
    return system


def test_sigmoid_loss_has_a_floor():
    """Of two classes log(1 + 1/e) = 0.3133 (sheet, gotcha 3)."""
    from brickwork.systems.multimodn.objective import step_losses

    sure = torch.tensor([[[-60.0, 60.0]]])
    result = step_losses(sure, torch.tensor([1]), torch.ones(1, 1, dtype=torch.bool), outputs_are="sigmoid")
    assert result.item() == pytest.approx(np.log(1 + np.exp(-1)), rel=1e-6)


def test_unknown_labels_and_skipped_rows_add_nothing():
    from brickwork.systems.multimodn.objective import step_losses

    outputs, taken = torch.randn(2, 4, 3), torch.tensor([[True] * 4, [True, False, True, True]])
    label = torch.tensor([0, 1, -1, 2])
    result = step_losses(outputs, label, taken)
    rows = F.cross_entropy(outputs.reshape(8, 3), label.clamp_min(0).repeat(2), reduction="none").reshape(
        2, 4
    )
    expected = torch.stack([rows[0, [0, 1, 3]].sum() / 3, rows[1, [0, 3]].sum() / 3])
    torch.testing.assert_close(result, expected)
    number = torch.tensor([1.0, float("nan"), 0.0, 2.0])
    result = step_losses(outputs, number, taken)
    assert result[0].item() == pytest.approx(
        ((outputs[0, [0, 2, 3], 0] - number[[0, 2, 3]]) ** 2).sum().item() / 3
    )
    assert step_losses(outputs, torch.full((4,), -1), taken).tolist() == [0.0, 0.0]


# ---- missing modalities ----------------------------------------------------------------------------------------


def test_a_missing_modality_is_a_skipped_link(toy):
    """Every subset: the answer is that of a chain over what is there, whatever else is in the batch; none gives d(s_0)."""
    system = fresh(toy).eval()
    names = system.layout.names
    rows = toy.test.select(range(6))
    whole = system.stages(rows)
    for kept in itertools.chain([()], [(name,) for name in names], [names[:2], names[1:4]]):
        part = rows
        for name in names:
            if name not in kept:
                part = delete(part, name, range(6))
        stages = system.stages(part)
        for step, name in enumerate(names, start=1):
            if name not in kept:
                np.testing.assert_array_equal(stages["sick"][step], stages["sick"][step - 1])
        np.testing.assert_allclose(stages["sick"][0], whole["sick"][0], atol=1e-7)
        alone = [system.stages(part.select([row]))["sick"][-1] for row in range(6)]
        np.testing.assert_allclose(stages["sick"][-1], np.concatenate(alone), atol=1e-6)


def test_what_a_missing_cell_holds_does_not_matter(toy):
    """Not a zero, not a number: the weights of an encoder get no gradient from rows that lack its modality."""
    data = normal_task(8, (3, 2))
    system = fresh(data)
    batch = system.collate(delete(data.train, "m1", range(8)).take(range(8)))
    system.loss(batch).total.backward()
    assert all(p.grad is None or not p.grad.any() for p in system.fusion.encoders[1].parameters())
    other = {**batch, "m1": torch.full_like(batch["m1"], 1e6)}
    torch.testing.assert_close(system.loss(other).total, system.loss(batch).total, rtol=0, atol=0)


def test_contributions_sum_to_the_change_of_the_answer(toy):
    system = fresh(toy).eval()
    stages, moved = system.stages(toy.test), system.contributions(toy.test, "sick")
    np.testing.assert_allclose(moved.sum(1), stages["sick"][-1, :, 1] - stages["sick"][0, :, 1], atol=1e-9)
    gone = np.array([scan is None for scan in toy.test.columns["scan"]])
    assert gone.any()
    assert not moved[gone, system.layout.names.index("scan")].any()
    result = importance(system, toy.test, "days")
    assert set(result) == set(system.layout.names)
    assert all(change >= 0 for change, _ in result.values())


def test_contributions_need_steps(toy):
    system = fresh(toy, fusion=ParallelFusionConfig())
    with pytest.raises(ConfigError, match="sequential"):
        system.contributions(toy.test, "sick")
    with pytest.raises(ConfigError, match="sequential"):
        system.trace(toy.test)


def test_order_is_checked_and_changes_the_steps(toy):
    order = tuple(reversed(TOY_LAYOUT.names))
    assert fresh(toy, fusion=SequentialFusion(order=order)).steps == ("start", *order)
    with pytest.raises(ConfigError, match="did you mean 'vitals'"):
        fresh(toy, fusion=SequentialFusion(order=("vitale",)))
    with pytest.raises(ConfigError, match="each modality once"):
        fresh(toy, fusion=SequentialFusion(order=("scan",)))


def test_it_warns_where_missingness_depends_on_the_label():
    """The sheet's finding; without dependence, and with modality dropout of a half, there is no warning."""
    missing = MissingConfig(modality="top_right", mechanism="mnar", rate=0.6, label=1)
    config = Data(source="digits_quadrants", table=TableConfig(missing=missing, targets=("odd",)))
    data = multimodal_task(config, 0)
    with pytest.warns(
        BrickworkWarning, match=r"'top_right' is missing depends on 'odd'.*modality_dropout=0.5"
    ):
        fresh(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh(data, modality_dropout=0.5)
        random = replace(missing, mechanism="mcar")
        fresh(multimodal_task(replace(config, table=replace(config.table, missing=random)), 0))


# ---- the user's tables -----------------------------------------------------------------------------------------


def test_states_that_can_be_looked_at_are_those_that_decoders_read(toy):
    """The answer of each task from the last state, by hand, is that of ``predict``."""
    system = fresh(toy).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BrickworkWarning)
        states = system.layer_vectors(toy.test.columns)
    assert list(states) == [f"after {name}" for name in system.layout.names]
    last = torch.from_numpy(list(states.values())[-1])
    target = system.layout.targets[0]
    with torch.no_grad():
        by_hand = system.decoders[0](last).softmax(-1).numpy()
    np.testing.assert_allclose(by_hand, system.stages(toy.test, last=True)[target.name][-1], atol=1e-6)


@pytest.fixture
def table(tmp_path):
    """A CSV with every kind of column that fits one, and images in files, one of them broken."""
    from PIL import Image

    columns = toy_columns(60, 3)
    for row, scan in enumerate(columns.pop("scan")):
        if scan is not None:
            Image.fromarray(scan).save(tmp_path / f"scan{row}.png")
    (tmp_path / "scan2.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    del columns["wave"], columns["flow"]
    columns["scan"] = [
        f"scan{row}.png" if (tmp_path / f"scan{row}.png").exists() else "" for row in range(60)
    ]
    path = tmp_path / "ward.csv"
    import csv

    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*columns.values()):
            writer.writerow(["" if v is None or v != v else v for v in row])
    return path


def test_train_predict_inspect_on_a_csv(table, tmp_path):
    run = override(
        api.recipe("multimodn"),
        [
            f"data.source={table}", "data.table.targets=sick,days", "data.image_size=8", "train.steps=30",
            "data.table.modalities=vitals=vitals_*,person=person_*,note=note,scan=scan", "model.image.depth=1",
        ],
    )  # fmt: skip
    with pytest.warns(BrickworkWarning, match=r"1 skipped: images cannot be read.*scan2.png"):
        summary = api.train(run, tmp_path / "run")
    assert {"sick/auroc", "sick/balanced_accuracy", "days/r2", "days/mae"} == set(summary.scores)
    model = brickwork.load(tmp_path / "run")
    assert [m.kind for m in model.layout.modalities] == ["table", "table", "table", "image"]
    less = tmp_path / "less.csv"  # only one modality is there
    less.write_text("vitals_pulse,vitals_pressure,vitals_oxygen,other\n1,2,0.5,x\n,,,y\n")
    never = pytest.warns(BrickworkWarning, match="never in training: 'vitals'")
    with (
        never,
        pytest.warns(BrickworkWarning, match=r"none of the columns of modalities 'person'.*know: other"),
    ):
        answers = predict_api.predict(tmp_path / "run", less, tmp_path / "answers.csv")
    assert set(answers) == {"id", "sick", "sick=no", "sick=yes", "days"}
    np.testing.assert_allclose(answers["sick=no"] + answers["sick=yes"], 1, atol=1e-6)
    assert (tmp_path / "answers.csv").read_text().count("\n") == 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BrickworkWarning)
        page = predict_api.inspect(tmp_path / "run").read_text()
        held = predict_api.inspect(
            tmp_path / "run", table, tmp_path / "held.html", properties=["sick"]
        ).read_text()
        measured = CliRunner().invoke(app, ["evaluate", str(tmp_path / "run"), str(table), "--json"])
    assert "change of P(yes)" in page
    assert "after vitals" in held
    assert "vitals" in page
    # Targets, modalities, image size and split are those of the run, so the held-out rows are the same.
    assert json.loads(measured.stdout)["scores"] == summary.scores


@pytest.mark.parametrize("to", ["sentence-transformers", "onnx"])
def test_a_kept_system_says_why_it_cannot_be_exported_and_what_can(toy, tmp_path, to):
    save_system(fresh(toy).eval(), tmp_path / "run")
    done = CliRunner().invoke(
        app, ["export", str(tmp_path / "run"), "--to", to, "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 4
    assert f"{tmp_path / 'run'} is a whole system, multimodn, and gives no vectors" in done.stderr
    assert "models with an encoder come from align" in done.stderr
    assert "damaged" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_decoders_may_end_in_a_fixed_simplex(table, tmp_path):
    run = override(
        api.recipe("multimodn"),
        [f"data.source={table}", "data.table.targets=sick,days", "data.table.modalities=vitals=vitals_*",
         "train.steps=30", "model.classifier=simplex"],
    )  # fmt: skip
    api.train(run, tmp_path / "run")
    model = brickwork.load(tmp_path / "run")
    sick, days = model.decoders
    assert isinstance(sick[-1], SimplexHead)  # two classes: the corners −1 and 1 of a line
    assert not isinstance(days[-1], SimplexHead)  # a number has no corners
    logits = sick(torch.randn(2, 5, run.model.fusion.state_dim))
    torch.testing.assert_close(logits.sum(-1), torch.zeros(2, 5))


BAD = {
    "unknown column": (["data.table.modalities=a=vitals_pulze"], r"no column 'vitals_pulze'.*did you mean 'vitals_pulse'"),
    "unknown target": (["data.table.targets=sik"], r"no column 'sik'.*did you mean 'sick'"),
    "no target": (["data.table.targets="], r"none is called like a target.*data.table.targets=NAME"),
    "two groups": (["data.table.modalities=a=vitals_*,b=vitals_pulse"], r"in the modalities 'a' and 'b'"),
    "no pattern": (["data.table.modalities=vitals"], r"write NAME=COLUMN"),
    "mixed": (["data.table.modalities=a=scan|note"], r"modality 'a' mixes.*scan \(image\)"),
    "ignored": (["data.table.ignore=nothing"], r"no column 'nothing'"),
    "time": (["data.table.time=tim"], r"no column 'tim'"),
    "number": (["data.table.targets=sick:number"], r"'sick' is no number"),
    "group": (["data.columns.group=ward"], r"no column 'ward'"),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "message"), BAD.values(), ids=BAD)
@pytest.mark.filterwarnings("ignore:1 skipped")
def test_bad_choices_name_what_is_wrong(table, settings, message):
    base = ["data.table.targets=sick", f"data.source={table}"]
    run = override(api.recipe("multimodn"), [*base, *settings])
    with pytest.raises(DataError, match=message):
        api.build(run)


def test_a_modality_without_any_value_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a_x,a_y,b_x,b_y,label\n" + "".join(f"{i % 9},{i % 3},,,{i % 2}\n" for i in range(20)))
    with pytest.raises(DataError, match=r"column 'b_x' of modality 'b' is missing from every row"):
        api.build(
            override(api.recipe("multimodn"), [f"data.source={path}", "data.table.modalities=a=a_*,b=b_*"])
        )
    system, data = api.build(override(api.recipe("multimodn"), [f"data.source={path}"]))
    assert system.layout.names == ("a_x", "a_y")
    assert any("b_x (empty)" in note for note in data.notes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{"vitals_pulse": 1}], "give columns by name"),
        (None, "give columns by name"),
        ({"vitals_pulse": 1.0}, "'vitals_pulse' is a single value"),
        ({"vitals_pulse": "a"}, "'vitals_pulse' is a single value"),
        ({"other": [1.0]}, "none of the columns that the model reads"),
    ],
)
def test_what_is_no_table_is_refused(toy, given, message):
    with pytest.raises(DataError, match=message):
        fresh(toy).predict(given)


def test_partly_given_modalities_are_refused(toy):
    system = fresh(toy)
    columns = {name: values[:3] for name, values in toy_columns(10, 0).items() if name != "vitals_pulse"}
    with pytest.raises(DataError, match=r"no column 'vitals_pulse' of modality 'vitals'.*or none"):
        system.predict(columns)


def test_the_user_s_columns_and_typed_examples_give_the_same(toy):
    system = fresh(toy).eval()
    rows = multimodal_task(Data(source="toy_ward"), 0)
    raw = toy_columns(600, 0)
    answers = system.predict(raw)
    from brickwork.systems.multimodn.tables import typed_examples

    typed = system.predict(typed_examples(TOY_LAYOUT, raw).columns)
    np.testing.assert_allclose(answers["days"], typed["days"])
    assert answers["sick"] == typed["sick"]
    assert len(rows.train) + len(rows.validation) + len(rows.test) == 600


def test_dry_run(tmp_path):
    plan = api.plan(override(api.recipe("multimodn", "smoke"), ["data.limit=100"]))
    assert plan["data"]["kind"] == "multitask"
    assert plan["batch"]["vitals"] == "16 × 3 float32"
