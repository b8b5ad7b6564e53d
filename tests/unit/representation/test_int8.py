"""The engine int8: where it is chosen, what is kept of it, and, where OpenVINO is installed, what it computes."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import brickwork
from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ArtifactError, BrickworkWarning, ConfigError, MissingExtraError
from brickwork.core.types import TokenBatch
from brickwork.representation import engines, inference, int8
from brickwork.representation.batches import pooled_batches
from brickwork.representation.model import Representation

from .conftest import make_representation, make_texts

INSTALLED = all(importlib.util.find_spec(name) for name in ("openvino", "nncf"))
needs_openvino = pytest.mark.skipif(
    not INSTALLED, reason="openvino and nncf are not installed (brickwork[openvino])"
)


class Counting(nn.Module):
    """An engine that gives each text its number of tokens, and remembers how it was asked."""

    id, token_budget, streams = "counting", 64, 2

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, tokens: TokenBatch, layers, streams: int = 1):
        self.calls.append((len(tokens.ids), streams))
        return {layer: tokens.lengths[:, None].float() + layer for layer in layers}


@pytest.fixture
def model(tmp_path):
    """An encoder with three layers and maps behind its exits, and its folder."""
    representation = make_representation()
    representation.encoder.add_exits((0, 1, 3))
    axes = ElasticAxes(dims=(8, 32), layers=(0, 1, 3))
    representation = Representation(representation.encoder.eval(), axes)
    return representation, representation.save(tmp_path / "model")


def test_an_engine_runs_in_the_place_of_the_encoder_until_a_weight_changes(model):
    representation, _ = model
    texts, engine = make_texts(70, seed=1), Counting()
    lengths = representation.encoder.tokenize(texts).lengths.numpy()
    inference.use_engine(representation.encoder, engine)
    assert representation.engine == "int8-counting"
    found = np.empty(len(texts))
    for rows, pooled in pooled_batches(representation.encoder, texts, (1, 3)):
        found[rows] = pooled[1][:, 0].numpy()
    assert np.array_equal(found, lengths + 1)
    assert {streams for _, streams in engine.calls} == {2}
    assert max(tokens for tokens, _ in engine.calls) <= 64
    engine.calls.clear()
    list(pooled_batches(representation.encoder, texts[:5], (3,)))
    assert {streams for _, streams in engine.calls} == {1}  # a few texts: every thread on the one batch
    engine.calls.clear()
    representation.encode(texts[:5], precision="fp32")
    assert not engine.calls  # a precision that was asked for is PyTorch's
    with torch.no_grad():
        representation.encoder.body.token_embedding.weight.mul_(2)
    assert representation.engine == "torch"


def test_all_depths_of_one_pass_over_padded_texts_are_those_of_each(model):
    encoder = model[0].encoder
    ids, mask = int8.padded(encoder.tokenize(make_texts(6)), encoder.pad_id)
    assert ids.shape[1] % 8 == 0
    ids, mask = torch.from_numpy(ids), torch.from_numpy(mask)
    with torch.no_grad():
        together = encoder.exits_padded(ids, mask, (0, 1, 3))
        for depth, vectors in together.items():
            torch.testing.assert_close(vectors, encoder.forward_padded(ids, mask, depth))
            torch.testing.assert_close(
                vectors, encoder(encoder.tokenize(make_texts(6)), [depth])[depth], atol=1e-4, rtol=1e-4
            )


def test_wrong_engines_are_refused_with_what_to_do(model, static_model, monkeypatch):
    folder = model[1]
    with pytest.raises(ConfigError, match="'auto', 'torch', 'int8'"):
        brickwork.load(folder, engine="int4")
    monkeypatch.setattr(int8, "check_extra", lambda: None)
    with pytest.raises(ConfigError, match="no int8 network yet"):
        brickwork.load(folder, engine="int8")
    with pytest.raises(ConfigError, match="3 is too few; give 16 or more"):
        brickwork.load(folder, engine="int8", calibration=make_texts(3))
    with pytest.raises(ConfigError, match="transformers"):
        engines.choose_engine(static_model, "int8", None)


def test_without_openvino_the_message_has_the_line_that_installs_it(model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'brickwork\[openvino\]'"):
        brickwork.load(model[1], engine="int8", calibration=make_texts(20))
    (model[1] / "int8").mkdir()
    (model[1] / "int8" / "in-use").write_text("")
    with pytest.warns(BrickworkWarning, match="PyTorch encodes now"):
        assert brickwork.load(model[1]).engine == "torch"


def test_what_is_kept_is_read_only_if_it_is_what_was_written(model):
    representation, folder = model
    place = folder / "int8"
    place.mkdir()
    description = place / f"{representation.fingerprint}.json"
    assert int8.kept(folder, representation) is None
    files = {f"int8-abc{suffix}": "0" * 64 for suffix in (".xml", ".bin")}
    good = {"format": 1, "id": "abc", "depths": [2], "sha256": files}
    (place / "int8-abc.xml").write_text("<net/>")
    for wrong in ({**good, "format": 9}, {**good, "id": "../x"}, {"format": 1}, [], good):
        description.write_text(json.dumps(wrong))
        with pytest.raises(ArtifactError, match="calibrate again"):
            int8.kept(folder, representation)


@needs_openvino
def test_int8_vectors_are_near_those_of_float32_at_every_depth_and_are_kept(model, tmp_path, plain_process):
    """In another process: tests of the service fork this one, which OpenVINO's threads would not survive."""
    job = Path(__file__).with_name("int8_job.py")
    found = plain_process(f"{job}::compared", model[1], tmp_path / "copy")
    assert found["before"] == "torch"  # it is there, and is used when it is asked for
    assert found["again"] == found["made"] == found["copy"]
    assert all(cosine > 0.99 for cosine in found["cosines"])
    assert max(found["differences"]) < 1e-5
    assert "not the file that was written" in found["damaged"]
