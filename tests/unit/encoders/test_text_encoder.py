"""Pooling, collation, rebuilding, static embeddings and the ONNX path of the text encoder."""

import json

import numpy as np
import pytest
import torch
from sample_encoders import build_small

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.types import TokenBatch
from brickwork.encoders.pooling import pool_padded
from brickwork.encoders.text import TextEncoder, encode_columns, join_tokens

TEXTS = ["return value", "", "The quick brown fox jumps over the lazy dog again and again and again"]


def _places(row):
    return torch.arange(1, len(row) + 1)[:, None]


POOLED = {
    "mean": lambda row: row.mean(0),
    "cls": lambda row: row[0],
    "max": lambda row: row.amax(0),
    "last": lambda row: row[-1],
    "weighted_mean": lambda row: (row * _places(row)).sum(0) / _places(row).sum(),
    "mean_sqrt_len": lambda row: row.sum(0) / len(row) ** 0.5,
}


@pytest.mark.parametrize("pooling", POOLED)
@pytest.mark.parametrize("texts", [TEXTS, ["return value", "return value"]])
def test_pooling_is_that_of_each_text_by_itself(pooling, texts):
    encoder = build_small(pooling=pooling)
    tokens = encoder.tokenize(texts)
    pooled = encoder(tokens, [0, 2])
    hidden = encoder.body(tokens, [0, 2])
    for layer in (0, 2):
        rows = hidden[layer].split(tokens.lengths.tolist())
        expected = torch.stack([POOLED[pooling](row) for row in rows])
        torch.testing.assert_close(pooled[layer], expected)


def test_empty_text_has_its_marks_and_long_texts_are_counted(small_encoder):
    tokens = small_encoder.tokenize(TEXTS)
    assert tokens.lengths[1] == 2
    assert tokens.max_length == small_encoder.max_tokens == 16
    assert small_encoder.truncated == 1
    small_encoder.tokenize([TEXTS[2]] * 3)
    assert small_encoder.truncated == 4


@pytest.mark.parametrize("layers", [[4], [-1], []])
def test_layers_that_do_not_exist(small_encoder, layers):
    with pytest.raises(ConfigError, match="0 … 3"):
        small_encoder(small_encoder.tokenize(["a"]), layers)


@pytest.mark.parametrize("fixture", ["small_encoder", "static_encoder"])
def test_rebuilt_from_its_description(fixture, request):
    encoder = request.getfixturevalue(fixture)
    description = json.loads(json.dumps(encoder.architecture()))
    rebuilt = TextEncoder.from_architecture(description, encoder.tokenizer.to_str()).eval()
    rebuilt.load_state_dict(encoder.state_dict())
    layer = [encoder.num_layers]
    expected = encoder(encoder.tokenize(TEXTS), layer)
    assert torch.equal(rebuilt(rebuilt.tokenize(TEXTS), layer)[layer[0]], expected[layer[0]])


@pytest.mark.parametrize("damage", [{"body": "other"}, {"arguments": {"colour": 1}}, {"pooling": None}])
def test_damaged_description(small_encoder, damage):
    description = {**small_encoder.architecture(), **damage}
    description = {name: value for name, value in description.items() if value is not None}
    with pytest.raises(ArtifactError, match="damaged or from another version"):
        TextEncoder.from_architecture(description, small_encoder.tokenizer.to_str())


@pytest.mark.parametrize("fixture", ["small_encoder", "static_encoder"])
def test_padded_path(fixture, request):
    encoder = request.getfixturevalue(fixture)
    tokens = encoder.tokenize(TEXTS)
    layer = encoder.num_layers
    ids, mask = tokens.padded(encoder.pad_id)
    torch.testing.assert_close(encoder.forward_padded(ids, mask, layer), encoder(tokens, [layer])[layer])


@pytest.mark.parametrize("pooling", POOLED)
def test_padded_path_of_every_pooling(pooling):
    encoder = build_small(pooling=pooling)
    tokens = encoder.tokenize(TEXTS)
    ids, mask = tokens.padded(encoder.pad_id)
    torch.testing.assert_close(encoder.forward_padded(ids, mask, 2), encoder(tokens, [2])[2])


def test_a_pooling_that_there_is_not(small_encoder):
    with pytest.raises(ConfigError, match="pooling is 'middle'; choose one of mean, cls, max, last"):
        TextEncoder(small_encoder.body, small_encoder.tokenizer, pooling="middle")


@pytest.mark.parametrize("pooling", ["mean", "last", "weighted_mean", "max", "mean_sqrt_len"])
def test_padding_may_stand_on_the_left(pooling):
    hidden = torch.randn(2, 5, 4)
    tokens = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    left = torch.stack([hidden[0].roll(2, 0), hidden[1]])
    torch.testing.assert_close(
        pool_padded(left, torch.stack([tokens[0].flip(0), tokens[1]]), pooling),
        pool_padded(hidden, tokens, pooling),
    )


def test_static_is_the_mean_of_token_vectors(static_encoder):
    tokens = static_encoder.tokenize(["return value", "", "value value"])
    table = static_encoder.body.token_embedding.weight
    pooled = static_encoder(tokens, [1])[1]
    rows = tokens.ids.split(tokens.lengths.tolist())
    torch.testing.assert_close(pooled[0], table[rows[0]].mean(0))
    assert tokens.lengths[1] == 1
    assert not pooled[1].any()
    assert static_encoder.flops([3, 4], 1) == 7 * 16
    with pytest.raises(ConfigError, match="1 … 1"):
        static_encoder(tokens, [0])


def test_static_in_bfloat16_and_its_gradient(static_encoder):
    tokens = static_encoder.tokenize(["return value", ""])
    exact = static_encoder(tokens, [1])[1]
    exact.sum().backward()
    gradient = static_encoder.body.token_embedding.weight.grad
    assert gradient[static_encoder.pad_id].abs().sum() == 0
    assert gradient.sum().item() == pytest.approx(16)  # one text of weight 1 for each of 16 dimensions
    short = static_encoder.to(torch.bfloat16)(tokens, [1])[1]
    torch.testing.assert_close(short, exact.detach(), atol=0.02, rtol=0)


def test_flops_grow_linearly_with_layers(small_encoder):
    assert small_encoder.flops([7, 9], 3) == 3 * small_encoder.flops([7, 9], 1) > 0
    assert small_encoder.flops_per_token(2, length=7) * 7 == small_encoder.flops([7], 2)
    assert small_encoder.flops_per_token(2) == small_encoder.flops_per_token(2, small_encoder.max_tokens)


def test_collate(small_encoder):
    columns = {
        "anchor": ["a", "b c"],
        "label": [1, 0],
        "score": [0.5, 1],
        "group": np.array([3, 4], np.int32),
    }
    batch = small_encoder.collate(columns)
    assert isinstance(batch["anchor"], TokenBatch)
    assert torch.equal(batch["anchor"].ids, small_encoder.tokenize(["a", "b c"]).ids)
    assert torch.equal(batch["label"], torch.tensor([1, 0]))
    assert torch.equal(batch["score"], torch.tensor([0.5, 1.0]))
    assert batch["group"].dtype == torch.int64


def test_columns_in_one_pass(small_encoder):
    columns = {"anchor": small_encoder.tokenize(["a", "b c"]), "positive": small_encoder.tokenize(TEXTS[1:])}
    together = encode_columns(small_encoder, columns, [1, 3])
    for name, tokens in columns.items():
        for layer in (1, 3):
            torch.testing.assert_close(together[name][layer], small_encoder(tokens, [layer])[layer])
    joined = join_tokens(list(columns.values()))
    assert len(joined) == 4
    assert torch.equal(joined.slice(2, 4).ids, columns["positive"].ids)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_onnx_gives_the_same_vectors(small_encoder, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")

    class Exported(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = small_encoder

        def forward(self, input_ids, attention_mask):
            return self.encoder.forward_padded(input_ids, attention_mask, 2)

    example = small_encoder.tokenize(TEXTS).padded(small_encoder.pad_id)
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    path = tmp_path / "model.onnx"
    names = ["input_ids", "attention_mask"]
    torch.onnx.export(
        Exported(), example, path, input_names=names, dynamo=True, dynamic_shapes=(free, free), verbose=False
    )
    session = onnxruntime.InferenceSession(path)
    for texts in (TEXTS, ["one"], ["of other sizes", "than the example", "that was", "traced before"]):
        tokens = small_encoder.tokenize(texts)
        inputs = dict(zip(names, (x.numpy() for x in tokens.padded(small_encoder.pad_id))))
        (vectors,) = session.run(None, inputs)
        expected = small_encoder(tokens, [2])[2].detach().numpy()
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
