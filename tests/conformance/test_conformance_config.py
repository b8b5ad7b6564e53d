"""Items 1 and 8 of the battery: configurations, and options that do something."""

import dataclasses
import json
import typing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch

from brickwork.api import train as api
from brickwork.core import registry
from brickwork.core.config import override, to_dict
from brickwork.core.errors import ConfigError, DataError
from brickwork.data.generators.toy_text import toy_pairs
from brickwork.data.types import Examples, TaskData
from brickwork.representation.contract import build_system
from brickwork.training.run import load_data, run_from_dict, run_to_dict

# Fields that need what a test does not have, with the reason. Nothing else may be here.
UNTESTED = {
    "text.projection": "the width of the pictures' vectors decides; refused, which tests/systems/test_align.py looks at",
    "task.reader": "goes with images; recipes smoke and smoke_digits",
    "backbone": "pretrained weights; tests/systems/test_dylora.py",
    "revision": "only a hub model has revisions",
    "max_tokens": "only a backbone for texts has tokens; tests/systems/test_dylora.py",
    "growth.start": "a finished run; tests/systems/test_moduleformer.py, as the other three",
    "growth.attention": "with growth.start",
    "growth.feed_forward": "with growth.start",
    "growth.train": "with growth.start",
    "growth.route_reg": "with growth.start",
    "computation": "the same numbers by design; tests/unit/modules/test_experts.py",
}
# The same for a field of that name in any part of a configuration.
UNTESTED_PARTS = {
    "kind": "chooses the dataclass",
    "revision": "only a hub model has revisions",
    "backbone": "pretrained weights; tests/unit/encoders",
}
# Fields for which no value can be guessed.
CANDIDATES: dict[str, list[Any]] = {
    "num_heads": [1, 4],
    "vocab_size": [300],
    "max_tokens": [4],
    "compression_dim": [4],
    "targets": [r"network\.1"],
    "sampler": ["full", "sandwich"],
    "ranks": [(2, 8), (1, 4, 8)],
    "geometric_p": [0.9],
    "order": [("scan", "monitor", "note", "person", "vitals")],
    "objective": ["vae", "mim + info_nce", "cmim + 0.5*info_nce_views"],
}


def untested(path: str) -> bool:
    return path in UNTESTED or ("." in path and path.rpartition(".")[2] in UNTESTED_PARTS)


def test_round_trip_is_exact(case):
    """Item 1."""
    values = run_to_dict(case.run)
    assert run_from_dict(values) == case.run
    assert case.fresh().state_dict().keys() == rebuilt(case, values).state_dict().keys()


def rebuilt(case, values):
    return build_system(case.slug, run_from_dict(values).model, case.data, case.run.seed)


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


def tasks(case: Any) -> list[TaskData]:
    """The smoke data in every form that some system could take: as it is, as scored pairs, as labelled texts."""
    data = case.data
    found = [data]
    if data.modality == "image-text":
        columns = data.train.take(range(64))
        same = {
            "text": [columns["text"][row // 2] for row in range(64)],
            "text_group": [r // 2 for r in range(64)],
        }
        return [data, replace(data, train=Examples({**columns, **same}))]
    if data.modality not in ("text", "image"):
        return found
    if data.modality == "text" and data.kind == "pairs":
        columns = data.train.take(range(64))
        generator = torch.Generator().manual_seed(0)
        score = torch.rand(64, generator=generator).tolist()
        scored = Examples({"anchor": columns["anchor"], "positive": columns["positive"], "score": score})
    else:
        anchors, positives = (list(texts) for texts in zip(*toy_pairs(64, 0)))
        pairs = Examples({"anchor": anchors, "positive": positives, "group": list(range(64))})
        found.append(replace(data, kind="pairs", modality="text", train=pairs))
        scored = Examples({"anchor": anchors, "positive": positives, "score": [i / 63 for i in range(64)]})
    found.append(replace(data, kind="scored", modality="text", train=scored))
    return found


def leaves(cls: type, values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(path, type, value) of every field of a configuration, nested ones included."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        hint, value = hints[field.name], getattr(values, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(type(value), value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, hint, value


def earlier_models(case: Any, folder: Path) -> list[str]:
    """Two run folders of this system as an earlier version would have left them, where a configuration can name one."""
    if not hasattr(case.run.model, "previous"):
        return []
    made = []
    for seed in (1, 2):
        case.fresh(seed=seed).representation().save(folder / f"v{seed}")
        (folder / f"v{seed}" / "config.json").write_text(json.dumps(run_to_dict(case.run)))
        made.append(str(folder / f"v{seed}"))
    return made


def alternatives(path: str, hint: Any, value: Any, earlier: list[str]) -> list[Any]:
    """Other values of a field."""
    if path in ("previous", "base"):
        return earlier
    if path.rpartition(".")[2] in CANDIDATES and get_origin(hint) is not Literal:
        return CANDIDATES[path.rpartition(".")[2]]
    found: list[Any] = []
    for option in get_args(hint) if get_origin(hint) not in (Literal, tuple) else (hint,):
        if get_origin(option) is Literal:
            found += list(get_args(option))
        found += {int: [1, 2, 16], float: [0.5, 2.0, 0.0], bool: [True, False]}.get(option, [])
    if get_origin(hint) is Literal:
        found += list(get_args(hint))
    if get_origin(hint) is tuple and get_args(hint)[0] is int:
        found += [value[1:], (16,), (4, 16), (8, 32), (2, 3), (1, 3)]
    elif get_origin(hint) is tuple:
        found += [(2.0,) * length for length in range(1, 7)]
    found += {bool: [not value], int: [1, 2, 16], float: [0.5, 2.0, 0.0]}.get(hint, [])
    return [other for other in found if other != value]


def trace(slug: str, model: Any, data: TaskData) -> Any:
    """Everything that an option could change: parameters, terms and losses of three updates, an output."""
    system = build_system(slug, model, data, 0)
    seen: list[Any] = [sum(p.numel() for p in system.parameters()), str(getattr(system, "axes", None))]
    optimiser = torch.optim.SGD(system.parameters(), lr=0.05)
    for step in range(3):
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


def starts(case: Any, earlier: list[str]) -> Iterator[tuple[Any, TaskData]]:
    """Configurations to change fields of: the smoke recipe, each choice of its Literals, tiny encoders, and successors
    of an earlier model on data that lacks some of its classes."""
    from brickwork.encoders.config import TextEncoderConfig

    text = TextEncoderConfig(backbone="scratch", width=16, num_layers=3, max_tokens=24, vocab_size=320)
    others = [api.recipe(case.slug, n) for n in api.recipe_names(case.slug) if n.startswith("smoke_")]
    for model, data in [(run.model, load_data(case.slug, run.data, run.seed)) for run in others]:
        yield from choices(model, data)
    for data in tasks(case):
        model = case.run.model
        if data.modality == "text" and hasattr(model, "encoder"):
            model = replace(model, encoder=text)
            model = replace(model, dims=()) if hasattr(model, "dims") else model
        if data.modality == "image-text":
            yield replace(model, text=text), data
        if earlier and data.kind == "labelled":
            labels = np.asarray(data.train.columns["label"])
            rows = np.flatnonzero(labels < (data.num_classes or 0) // 2).tolist()
            names = data.class_names[: (data.num_classes or 0) // 2]
            fewer = replace(data, train=data.train.select(rows), class_names=names, num_classes=len(names))
            yield with_value(model, "previous", earlier[0]), fewer
        yield from choices(model, data)


def choices(model: Any, data: TaskData) -> Iterator[tuple[Any, TaskData]]:
    """A configuration, and it with each choice of its Literals and without each of its tuples."""
    yield model, data
    for path, hint, value in leaves(type(model), model):
        if get_origin(hint) is tuple and value:
            yield with_value(model, path, ()), data
        if get_origin(hint) is Literal and ("." not in path or path.startswith("task.")):
            for choice in get_args(hint):
                if choice != value and not untested(path):
                    try:
                        yield with_value(model, path, choice), data
                    except ConfigError:
                        continue


def test_every_model_option_changes_something(case, tmp_path):
    """Item 8: with some other choice, on some data, each field changes parameters, losses, terms or outputs."""
    alive, seen, base_traces = set(), set(), []
    earlier = earlier_models(case, tmp_path)
    for model, data in starts(case, earlier):
        try:
            before = trace(case.slug, model, data)
        except (ConfigError, DataError):
            continue
        base_traces.append(before)
        for path, hint, value in leaves(type(model), model):
            seen.add(path)
            if path in alive or untested(path):
                continue
            for other in alternatives(path, hint, value, earlier):
                try:
                    changed = trace(case.slug, with_value(model, path, other), data)
                except (ConfigError, DataError):
                    continue  # refused, and so not dead silently
                if changed != before:
                    alive.add(path)
                    break
    assert base_traces, "no configuration could be built"
    assert {path for path in seen - alive if not untested(path)} == set(), "options that change nothing"
