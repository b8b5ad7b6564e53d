"""Items 5, 6, 7 and 10 of the battery: encoding, golden losses, resume, damaged files."""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import brickwork
from brickwork.core.errors import ArtifactError
from brickwork.core.files import load_tensors, save_tensors
from brickwork.core.types import Fits
from brickwork.inspection.traces import render_traces
from brickwork.representation.kept import save_system
from brickwork.representation.load import load_system
from brickwork.training.config import stage_lengths

GOLDEN = Path(__file__).parents[1] / "golden"
ROWS = range(9)
STEPS = 20


def test_encode_is_the_same_every_time_and_in_batches(case, trained):
    """Item 5."""
    case.needs("encodes")
    model = trained[0].representation()
    inputs = case.inputs(ROWS)
    whole = model.encode(inputs, precision="fp32")
    assert np.array_equal(whole, model.encode(inputs, precision="fp32"))
    np.testing.assert_allclose(model.encode(inputs, batch_size=2, precision="fp32"), whole, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(trained[0].encode(inputs, precision="fp32"), whole, atol=1e-5)


def test_encode_in_bf16_keeps_directions(case, trained):
    """Item 5: what ``precision="auto"`` takes on processors with instructions for it; here whatever the processor."""
    case.needs("encodes")
    model = trained[0].representation()
    inputs = case.inputs(ROWS)
    exact, rounded = (model.encode(inputs, precision=name) for name in ("fp32", "bf16"))
    assert (exact * rounded).sum(axis=1).min() > 0.99
    # Codes of bits are never rounded: other bits would be another code.
    assert np.array_equal(exact, rounded) == getattr(model.encoder, "exact", False)


def test_encode_survives_saving_and_another_process(case, trained, plain_process, tmp_path):
    """Item 5."""
    case.needs("encodes")
    model = keep(trained[0], tmp_path / "model").representation()
    inputs = case.inputs(ROWS)
    np.savez(tmp_path / "inputs.npz", inputs=np.asarray(inputs))
    plain_process("encode", tmp_path / "model", tmp_path / "inputs.npz", tmp_path / "vectors.npy")
    expected = model.encode(inputs, precision="fp32")
    np.testing.assert_allclose(np.load(tmp_path / "vectors.npy"), expected, atol=1e-6)


def assert_same_answers(results, expected, tolerance=1e-5):
    """Every answer as expected, numbers within ``tolerance``."""
    assert results.keys() == expected.keys()
    assert expected, "a system that answers nothing cannot be compared"
    for name, values in expected.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(results[name], values, rtol=tolerance, atol=tolerance, err_msg=name)
        else:
            assert (results[name] == values).all(), name


def keep(system, folder):
    """Saves what the user keeps of a system; gives the system back."""
    if hasattr(system, "architecture"):
        save_system(system.eval(), folder)
    else:
        system.representation().save(folder)
    return system


def test_a_system_that_is_kept_whole_answers_as_before(case, trained, tmp_path):
    """Item 5, for what is more than an encoder. The folder is all that the new one is made from."""
    if not hasattr(trained[0], "architecture"):
        pytest.skip(f"{case.slug} is kept as an encoder")
    system = keep(trained[0], tmp_path / "model")
    loaded = load_system(tmp_path / "model")
    assert type(loaded) is type(system)
    assert not loaded.training
    assert json.loads(json.dumps(loaded.architecture())) == json.loads(json.dumps(system.architecture()))
    assert_same_answers(case.answers(loaded, ROWS), case.answers(system, ROWS))
    save_system(loaded, tmp_path / "again")
    manifests = [json.loads((tmp_path / n / "brickwork.json").read_text()) for n in ("model", "again")]
    assert manifests[0]["fingerprint"] == manifests[1]["fingerprint"]


def test_traces_describe_the_rows(case, trained):
    """Each trace has a row for each thing that was watched, and names for all modules; shares sum to one."""
    case.needs("traces")
    traces = trained[0].eval().trace(case.data.train.select(list(ROWS)))
    assert traces
    assert len({trace.name for trace in traces}) == len(traces)
    for trace in traces:
        assert np.isfinite(trace.usage).all()
        if trace.unit == "share":
            np.testing.assert_allclose(trace.usage.sum(1), 1, atol=1e-4)
    assert "<table" in render_traces("title", traces, len(ROWS)) or all(t.time is None for t in traces)


def test_every_trained_size_can_be_asked_for(case, trained):
    """Truncation, then normalisation: a cut vector is the normalised start of the uncut one."""
    case.needs("encodes")
    model = trained[0].representation()
    inputs = case.inputs(ROWS)
    for layers in model.axes.layers:
        full = model.encode(inputs, layers=layers, normalize=False, precision="fp32")
        for dim in model.axes.dims:
            cut = full[:, :dim] / np.linalg.norm(full[:, :dim], axis=1, keepdims=True)
            results = model.encode(inputs, dim=dim, layers=layers, precision="fp32")
            np.testing.assert_allclose(results, cut, atol=1e-5)


def test_seed_decides_and_losses_are_golden(case, trained, tmp_path):
    """Item 6. Bit-identical here; other processors may differ in the last bits, so the file is compared to 1e-4."""
    if isinstance(trained[0], Fits):
        alike = case.fresh()
        case.fit(alike, tmp_path / "a")
        assert same_state(alike, trained[0])
        return
    losses = trained[1].losses
    again = case.fit(case.fresh(), tmp_path / "a").losses
    assert again == losses
    # The first loss says it; where there are stages, the whole run, as their steps have to add up.
    steps = case.run.train.steps if case.run.stages else 1
    other = case.fit(case.fresh(seed=1), tmp_path / "b", seed=1, steps=steps).losses
    assert other != losses[: len(other)]
    path = GOLDEN / f"{case.slug}.json"
    terms = _terms(case)
    lengths = stage_lengths(case.run.train, case.run.stages) if case.run.stages else []
    stages = {stage.name: steps for stage, steps in zip(case.run.stages, lengths)}
    if os.environ.get("BRICKWORK_UPDATE_GOLDEN"):
        named = {"stages": stages} if stages else {}
        path.write_text(json.dumps({"losses": losses, "terms": terms, **named}, indent=1) + "\n")
    golden = json.loads(path.read_text())
    np.testing.assert_allclose(losses, golden["losses"], rtol=1e-4)
    assert stages == golden.get("stages", {}), "the steps of each stage, whose losses follow one another"
    assert terms == golden["terms"], "names of terms and statistics are what people's plots refer to"


@torch.no_grad()
def _terms(case):
    """The names of all terms and statistics of the first steps (of each stage), sorted."""
    system = case.fresh()
    stages = [{"stage": stage.loss or stage.name} for stage in case.run.stages] or [{}]
    outputs = [
        system.loss({**case.batch(system, range(4), step), **stage})
        for stage in stages
        for step in range(STEPS)
    ]
    return sorted({name for output in outputs for name in (*output.terms, *output.stats)})


def same_state(system, other):
    """Whether two systems hold the same bits."""
    states = system.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    return all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def cut_short(rounds, count):
    """The power fails after ``count`` rounds."""
    yield from itertools.islice(rounds, count)
    raise PowerCut


class PowerCut(Exception):
    """Not one of ours: the loop has no chance to save."""


def test_resume_ends_with_the_same_bits(case, trained, tmp_path):
    """Item 7: stopped after step 13, with checkpoints every 4 steps; or after three rounds, with one every two."""
    system = case.fresh()
    if isinstance(system, Fits):
        rounds = system.fit
        system.fit = lambda examples, start: cut_short(rounds(examples, start=start), 3)
        with pytest.raises(PowerCut):
            case.fit(system, tmp_path, save_every=2)
        resumed = case.fresh()
        result = case.fit(resumed, tmp_path, save_every=2, resume=True)
        assert result.step == trained[1].step
        assert same_state(resumed, trained[0])
        return
    collate, calls = system.collate, []

    def failing(columns):
        calls.append(1)
        if len(calls) > 13:
            raise PowerCut
        return collate(columns)

    system.collate = failing
    with pytest.raises(PowerCut):
        case.fit(system, tmp_path, save_every=4)
    resumed = case.fresh()
    with torch.no_grad():  # whatever it starts from is replaced by the checkpoint
        for parameter in resumed.parameters():
            parameter.add_(1.0)
    result = case.fit(resumed, tmp_path, save_every=4, resume=True)
    assert result.step == case.run.train.steps
    assert result.losses == trained[1].losses[-len(result.losses) :]
    assert 0 < len(result.losses) < 20
    expected = trained[0].state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.state_dict().items())


def test_damaged_weights_are_refused_by_name(case, trained, tmp_path):
    """Item 10: missing, unexpected and misshapen tensors, and a pickle."""
    keep(trained[0], tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    tensors = load_tensors(path)
    name = sorted(tensors)[0]
    missing = {n: t for n, t in tensors.items() if n != name}
    for damaged, word in (
        (missing, name),
        ({**tensors, "stranger": torch.zeros(1)}, "stranger"),
        ({**tensors, name: torch.zeros(1, 2, 3)}, name),
    ):
        save_tensors(path, damaged)
        _hash_again(tmp_path / "model")
        with pytest.raises(ArtifactError, match=word.replace(".", r"\.")):
            brickwork.load(tmp_path / "model")
    torch.save({"a": torch.zeros(1)}, path)
    _hash_again(tmp_path / "model")
    with pytest.raises(ArtifactError, match="pickle"):
        brickwork.load(tmp_path / "model")


def _hash_again(folder):
    """Makes the folder's hashes fit its files, so that what is tested is the check behind the hashes."""
    from brickwork.core.files import checksum, sha256_file

    path = folder / "brickwork.json"
    values = json.loads(path.read_text())
    values.pop("checksum", None)
    for key in ("sha256", "files"):
        if isinstance(values.get(key), dict) and "model.safetensors" in values[key]:
            values[key]["model.safetensors"] = sha256_file(folder / "model.safetensors")
    path.write_text(json.dumps({**values, "checksum": checksum(values)}))
