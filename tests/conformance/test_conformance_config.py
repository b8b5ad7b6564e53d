"""Items 1 and 8 of the battery: configurations, and options that do something."""

import dataclasses
import hashlib
import sys
import typing
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from batteries import Battery, battery_of, build

from brickwork.api import train as api
from brickwork.core import registry
from brickwork.core.config import override, to_dict
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.types import Fits, LossOutput
from brickwork.data.generators.toy_text import toy_pairs
from brickwork.data.types import Examples, Kind, TaskData
from brickwork.encoders.config import ImageEncoderConfig, TextEncoderConfig
from brickwork.training.run import load_data, run_from_dict, run_to_dict

# Fields of that name in any part of a configuration that need what a test does not have, with the reason; what belongs to
# one system stands in its own tests/systems/battery_<slug>.py.
UNTESTED_PARTS = {
    "kind": "chooses the dataclass",
    "image_size": "of the user's own images; tests/unit/data, tests/systems/test_align.py and test_multimodn.py",
    "revision": "only a hub model has revisions",
    "backbone": "pretrained weights; tests/unit/encoders",
    "adapt": "of a pretrained model; tests/interop/test_adapting.py",
    "lora_rank": "of a pretrained model; tests/interop/test_adapting.py",
    "feature_folder": "of a frozen pretrained model; tests/interop/test_frozen_features.py",
    "prompts": "of a pretrained model; tests/interop/test_prompts_in_training.py",
}
# The same for data options of that name.
UNTESTED_DATA = {
    "image_size": "the user's own images alone are scaled; tests/unit/data/readers",
    "framing": "the user's own images alone are scaled; tests/unit/data/readers/test_framing.py",
    "hard_negatives": "mined once the model is built; tests/unit/api/test_negatives.py",
}
# Fields of the shared parts for which no value can be guessed.
CANDIDATES: dict[str, list[Any]] = {
    "num_heads": [1, 4],
    "vocab_size": [300],
    "max_tokens": [4],
    "train_tokens": [4],
}
# The smoke encoders read a few tokens only, of which encoding tells.
pytestmark = pytest.mark.filterwarnings("ignore:.*were cut there:brickwork.core.errors.BrickworkWarning")


def test_round_trip_is_exact(case):
    """Item 1."""
    values = run_to_dict(case.run)
    assert run_from_dict(values) == case.run
    assert case.fresh().state_dict().keys() == rebuilt(case, values).state_dict().keys()


def rebuilt(case, values):
    return build(case.slug, run_from_dict(values).model, case.data, case.run.seed)


def test_unknown_key_names_the_nearest(case):
    """Item 1."""
    name = next(iter(to_dict(case.run.model)))
    with pytest.raises(ConfigError, match=f"{name}x.*{name}"):
        override(case.run, [f"model.{name}x=1"])


@pytest.mark.parametrize("slug", registry.slugs())
def test_every_recipe_is_complete(slug):
    """Every recipe is a run of this system, survives JSON, and says in its docstring what it is."""
    names = api.recipe_names(slug)
    assert {"smoke", "small", "gpu"} <= set(names)
    for name in names:
        run = api.recipe(slug, name)
        assert (run.system, run_from_dict(run_to_dict(run))) == (slug, run)
        assert len(getattr(registry.load(slug, "recipes"), name).__doc__.strip()) > 60


# ---- item 8: no dead options -----------------------------------------------------------------------------------


def untested(path: str, battery: Battery) -> bool:
    return path in battery.untested or ("." in path and path.rpartition(".")[2] in UNTESTED_PARTS)


def tasks(data: TaskData) -> list[TaskData]:
    """The smoke data in every form that some system could take: as it is, as scored pairs, as labelled texts."""
    if data.modality == "image-text":
        columns = data.train.take(range(64))
        same = {
            "text": [columns["text"][row // 2] for row in range(64)],
            "text_group": [r // 2 for r in range(64)],
        }
        return [data, replace(data, train=Examples({**columns, **same}))]
    if data.modality not in ("text", "image") or data.kind not in get_args(Kind):  # or of a kind of its own
        return [data]
    forms = [data]
    if data.modality == "text" and data.kind == "pairs":
        columns = data.train.take(range(64))
        generator = torch.Generator().manual_seed(0)
        score = torch.rand(64, generator=generator).tolist()
        scored = Examples({"anchor": columns["anchor"], "positive": columns["positive"], "score": score})
    else:
        anchors, positives = (list(texts) for texts in zip(*toy_pairs(64, 0)))
        pairs = Examples({"anchor": anchors, "positive": positives, "group": list(range(64))})
        forms.append(replace(data, kind="pairs", modality="text", train=pairs))
        scored = Examples({"anchor": anchors, "positive": positives, "score": [i / 63 for i in range(64)]})
    forms.append(replace(data, kind="scored", modality="text", train=scored))
    return forms


def leaves(cls: type, values: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any, type]]:
    """(path, type, value, the dataclass that has it) of every field of a configuration, nested ones included."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        hint, value = hints[field.name], getattr(values, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(type(value), value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, hint, value, cls


def alternatives(path: str, hint: Any, value: Any, candidates: dict[str, list[Any]]) -> list[Any]:
    """Other values of a field."""
    name = path.rpartition(".")[2]
    if get_origin(hint) is not Literal and (path in candidates or name in candidates):
        return candidates.get(path, candidates.get(name, []))
    values: list[Any] = []
    for option in get_args(hint) if get_origin(hint) not in (Literal, tuple) else (hint,):
        if get_origin(option) is Literal:
            values += list(get_args(option))
        values += {int: [1, 2, 16], float: [0.5, 2.0, 0.0], bool: [True, False]}.get(option, [])
    if get_origin(hint) is Literal:
        values += list(get_args(hint))
    if get_origin(hint) is tuple and get_args(hint)[0] is int:
        values += [value[1:], (16,), (4, 16), (8, 32), (2, 3), (1, 3)]
    elif get_origin(hint) is tuple and get_args(hint)[0] is float:
        values += [(2.0,) * length for length in range(1, 7)]
    values += {bool: [not value], int: [1, 2, 16], float: [0.5, 2.0, 0.0]}.get(hint, [])
    return [other for i, other in enumerate(values) if other != value and other not in values[:i]]


def trace(slug: str, model: Any, data: TaskData) -> Any:
    """Everything that an option could change: parameters, terms and losses of three updates, an output."""
    system = build(slug, model, data, 0)
    seen: list[Any] = [sum(p.numel() for p in system.parameters()), str(getattr(system, "axes", None))]
    if isinstance(system, Fits):
        seen += [
            list(system.fit(data.train, start=0)),
            {n: t.tolist() for n, t in system.state_dict().items()},
        ]
    optimiser = torch.optim.SGD([*system.parameters(), torch.zeros(1)], lr=0.05, momentum=0.9)
    for step in range(0 if isinstance(system, Fits) else 3):
        rows = list(range(8 * step, 8 * step + 8))
        output = system.loss({**system.collate(data.train.take(rows)), "step": step, "indices": rows})
        seen += [output.total.item(), sorted(output.terms), sorted(output.stats)]
        optimiser.zero_grad()
        output.total.backward()
        optimiser.step()
    rows = data.train.take(range(3))
    system.eval()
    if hasattr(system, "encode"):
        seen += [
            system.encode(rows[name]).tolist()
            for name in ("input", "anchor", "text", "image")
            if name in rows
        ]
    if hasattr(system, "predict"):
        seen.append({name: np.asarray(column).tolist() for name, column in system.predict(rows).items()})
    if hasattr(system, "generate"):
        seen.append(system.generate(["a"], max_tokens=4, temperature=1.0, top_k=0, seed=0))
    return seen


def with_value(config: Any, path: str, value: Any) -> Any:
    head, _, rest = path.partition(".")
    config = replace(config, **{head: with_value(getattr(config, head), rest, value) if rest else value})
    if problems := config.validate() if hasattr(config, "validate") else []:
        raise ConfigError("\n".join(problems))
    return config


def starts(case: Any, battery: Battery, made: dict[str, list[Any]]) -> Iterator[tuple[Any, TaskData]]:
    """Configurations to change fields of: the smoke recipe on all forms of its data with tiny text encoders, each with each
    choice of its Literals, what only the system knows, and further smoke runs."""
    text = TextEncoderConfig(backbone="scratch", width=16, num_layers=3, max_tokens=24, vocab_size=320)
    for data in tasks(case.data):
        model = case.run.model
        if data.modality == "text" and hasattr(model, "encoder"):
            takes = typing.get_type_hints(type(model))["encoder"]
            if TextEncoderConfig not in (takes, *get_args(takes)):
                continue  # a system of images
            model = replace(model, encoder=text)
            model = replace(model, dims=()) if hasattr(model, "dims") else model
        if data.modality == "image-text":
            yield replace(model, text=text), data
        yield from choices(model, data, battery)
        for name, part in vars(model).items():
            if isinstance(part, ImageEncoderConfig):  # whose architectures have options of their own
                vit = replace(part, architecture="vit", width=64, depth=1, shrink=1)
                yield replace(model, **{name: vit}), data
    yield from battery.starts(case, made)
    # Last, as they cost most: by then few fields are left.
    others = [api.recipe(case.slug, n) for n in api.recipe_names(case.slug) if n.startswith("smoke_")]
    for run in [*others, *battery.runs()]:
        yield from choices(run.model, load_data(case.slug, run.data, run.seed), battery)


def choices(model: Any, data: TaskData, battery: Battery) -> Iterator[tuple[Any, TaskData]]:
    """A configuration, and it with each choice of its own Literals (not of shared parts) and without each of its tuples."""
    yield model, data
    for path, hint, value, owner in leaves(type(model), model):
        if get_origin(hint) is tuple and value:
            yield with_value(model, path, ()), data
        own = "." not in path or owner.__module__.startswith("brickwork.systems.")
        if get_origin(hint) is Literal and own and not untested(path, battery):
            for choice in get_args(hint):
                if choice != value:
                    try:
                        yield with_value(model, path, choice), data
                    except ConfigError:
                        continue


def changes(slug: str, start: tuple[Any, TaskData], before: Any, path: str, others: list[Any]) -> bool:
    """Whether some other value of a field changes the trace. A refused value does not count: it is not dead silently."""
    model, data = start
    for other in others:
        try:
            if trace(slug, with_value(model, path, other), data) != before:
                return True
        except (ConfigError, DataError):
            continue
    return False


def test_every_model_option_changes_something(case, tmp_path):
    """Item 8: with some other choice, on some data, each field changes parameters, losses, terms or outputs.

    A start whose fields all did so in an earlier start is not built.
    """
    battery = battery_of(case.slug)
    made = battery.earlier(case, tmp_path)
    candidates = CANDIDATES | battery.candidates | made
    alive: set[str] = set()
    seen: set[str] = set()
    for model, data in starts(case, battery, made):
        fields = {
            path: alternatives(path, hint, value, candidates)
            for path, hint, value, _ in leaves(type(model), model)
            if path not in alive and not untested(path, battery)
        }
        if not fields:
            continue
        try:
            before = trace(case.slug, model, data)
        except (ConfigError, DataError):
            continue
        seen |= set(fields)
        alive |= {
            path for path, others in fields.items() if changes(case.slug, (model, data), before, path, others)
        }
    assert seen, "no configuration could be built"
    assert seen - alive == set(), "options that change nothing"


def content(data: TaskData) -> str:
    """A digest of everything that a data option could change."""
    digest = hashlib.sha256(repr((data.kind, data.modality, data.class_names, data.retrieval)).encode())
    for part in (data.train, data.validation, data.test):
        for name, column in sorted(part.columns.items()):
            digest.update(name.encode())
            if isinstance(column, np.ndarray | torch.Tensor):
                values = np.asarray(column)
                digest.update(f"{values.shape} {values.dtype}".encode() + values.tobytes())
            else:
                digest.update(repr([v.tolist() if isinstance(v, np.ndarray) else v for v in column]).encode())
    return digest.hexdigest()


def own_data_options(data: Any, battery: Battery) -> dict[str, list[Any]]:
    """The options that a system's ``Data`` adds to those of all sources, with other values of each."""
    own = {
        name
        for cls in type(data).__mro__
        if cls.__module__.startswith("brickwork.systems.")
        for name in vars(cls).get("__annotations__", {})
    }
    return {
        path: alternatives(f"data.{path}", hint, value, battery.candidates)
        for path, hint, value, _ in leaves(type(data), data)
        if path.partition(".")[0] in own - set(UNTESTED_DATA) and not untested(f"data.{path}", battery)
    }


def reads_otherwise(slug: str, data: Any, before: str, path: str, others: list[Any]) -> bool:
    """Whether some other value of a data option changes what is read. A refused value does not count."""
    for other in others:
        try:
            if content(load_data(slug, with_value(data, path, other), 0)) != before:
                return True
        except (ConfigError, DataError):
            continue
    return False


def test_every_data_option_of_the_system_changes_something(case, tmp_path):
    """Item 8 for data: each option that is the system's own changes what is read, of some source."""
    battery = battery_of(case.slug)
    starts = [
        (data, options)
        for data in [*battery.data(tmp_path), case.run.data]
        if (options := own_data_options(data, battery))
    ]
    if not starts:
        pytest.skip(f"{case.slug} has no data options of its own")
    alive: set[str] = set()
    for data, options in starts:
        if left := {path: others for path, others in options.items() if path not in alive}:
            before = content(load_data(case.slug, data, 0))
            alive |= {
                path
                for path, others in left.items()
                if reads_otherwise(case.slug, data, before, path, others)
            }
    seen = {path for _, options in starts for path in options}
    assert seen - alive == set(), "data options that change nothing"


# ---- the battery itself


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """One option that does something, one that does not, one that does in the loss of the third step only."""

    scale: float = 1.0
    dead: int = 4
    late: bool = False


class Scaled(torch.nn.Module):
    def __init__(self, options: Options):
        super().__init__()
        self.options = options
        self.weight = torch.nn.Parameter(torch.ones(1))

    def collate(self, columns):
        return {"x": torch.tensor(columns["x"])}

    def loss(self, batch):
        factor = 2.0 if self.options.late and batch["step"] == 2 else self.options.scale
        return LossOutput.of({"only": (self.weight * batch["x"]).mean() * factor})


def test_a_dead_option_is_seen(monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "build", lambda slug, model, *data_and_seed: Scaled(model))
    examples = Examples({"x": [float(i) for i in range(32)]})
    data = TaskData(
        name="x", kind="pairs", modality="text", train=examples, validation=examples, test=examples
    )
    options = Options()
    before = trace("scaled", options, data)
    alive = {
        path: changes("scaled", (options, data), before, path, alternatives(path, hint, value, {}))
        for path, hint, value, _ in leaves(Options, options)
    }
    assert alive == {"scale": True, "dead": False, "late": True}


def test_data_that_differs_in_one_cell_is_other_data():
    def task(last: object) -> TaskData:
        part = Examples({"text": ["a", "b", last], "rows": np.zeros((3, 2))})
        return TaskData(name="x", kind="pairs", modality="text", train=part, validation=part, test=part)

    assert content(task("c")) == content(task("c"))
    assert content(task("c")) != content(task("d"))
