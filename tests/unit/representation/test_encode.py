"""Encoding in sorted batches gives what encoding one text at a time gives.

The oracle is the encoder's own forward on a single text, normalised in float64; that forward itself is
compared with transformers and sentence-transformers in tests/unit/encoders and tests/interop.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from brickwork.core.errors import BrickworkWarning, ConfigError, DataError, ResourceError
from brickwork.data.types import Document, Examples, RetrievalSet, TaskData
from brickwork.evaluation.measure import measure
from brickwork.index import encoding as index_encoding
from brickwork.representation import batches
from brickwork.representation.cuts import counting_cuts
from brickwork.representation.encode import encode_exits
from brickwork.representation.export_parquet import encode_to_disk
from brickwork.representation.inference import for_inference
from brickwork.representation.inputs import images_of

from .conftest import make_representation, make_texts


def one_by_one(model, texts, dim, layers):
    rows = []
    for text in texts:
        with torch.no_grad():
            vector = model.encoder(model.encoder.tokenize([text]), [layers])[layers][0].double().numpy()
        rows.append(vector[:dim] / np.linalg.norm(vector[:dim]))
    return np.array(rows)


@pytest.mark.parametrize(("dim", "layers"), [(32, 3), (8, 2), (16, 1)])
@pytest.mark.parametrize("options", [{}, {"batch_size": 1}, {"batch_size": 5}, {"token_budget": 60}])
def test_batches_do_not_change_the_vectors_or_their_order(model, texts, dim, layers, options):
    results = model.encode(texts, dim=dim, layers=layers, precision="fp32", **options)
    assert_allclose(results, one_by_one(model, texts, dim, layers), atol=2e-6)


def test_more_texts_than_one_slab(model, texts, monkeypatch):
    expected = model.encode(texts, precision="fp32")
    monkeypatch.setattr(batches, "SLAB_TEXTS", 7)
    assert_allclose(model.encode(texts, precision="fp32"), expected, atol=2e-6)


def test_all_depths_from_one_pass(model, texts):
    exits = encode_exits(model.encoder, texts, layers=[1, 3], precision="fp32")
    assert list(exits) == [1, 3]
    for layers, vectors in exits.items():
        expected = model.encode(texts, layers=layers, normalize=False, precision="fp32")
        assert_allclose(vectors, expected, atol=1e-5)
    assert encode_exits(model.encoder, texts, layers=[]) == {}


def test_deeper_layers_do_not_run(model, texts):
    ran = []
    for number, block in enumerate(model.encoder.body.blocks, 1):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    model.encode(texts, layers=2, precision="fp32")
    assert set(ran) == {1, 2}


def test_batches_hold_no_more_tokens_than_the_budget(model, texts):
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.encode(texts, token_budget=100, precision="fp32")
    assert max(len(tokens) * tokens.max_length for tokens in seen) <= 100
    assert sum(len(tokens) for tokens in seen) == len(texts)
    # Sorted: the padding that is left is small.
    slots = sum(len(tokens) * tokens.max_length for tokens in seen)
    assert slots <= 1.15 * sum(int(tokens.lengths.sum()) for tokens in seen)


def test_a_string_is_one_vector_and_an_empty_list_is_none(model):
    assert model.encode("a text", dim=8).shape == (8,)
    assert_array_equal(model.encode("a text"), model.encode(["a text"])[0])
    assert model.encode([], dim=8).shape == (0, 8)
    assert encode_exits(model.encoder, [], layers=[2])[2].shape == (0, 32)


def test_tuples_and_arrays_of_strings_are_texts(model):
    expected = model.encode(["one", "two"])
    assert_array_equal(model.encode(("one", "two")), expected)
    assert_array_equal(model.encode(np.array(["one", "two"])), expected)


def test_what_is_not_a_text_is_named(model):
    with pytest.raises(DataError, match=r"input 1 is None \(NoneType\)"):
        model.encode(["a", None])


@pytest.mark.parametrize(
    "options", [{"dim": 0}, {"dim": 33}, {"layers": 4}, {"layers": 0}, {"precision": "fp8"}]
)
def test_a_size_or_precision_that_does_not_exist_is_refused(model, options):
    with pytest.raises(ConfigError):
        model.encode(["a"], **options)


def test_a_size_in_between_works_and_is_noted_once(model, recwarn):
    assert model.encode(["a"], dim=10).shape == (1, 10)
    model.encode(["a"], dim=10)
    notes = [str(w.message) for w in recwarn if issubclass(w.category, BrickworkWarning)]
    assert len(notes) == 1
    assert "dim=10 was not trained" in notes[0]


def test_texts_that_were_cut_are_counted_and_told_once(model, recwarn):
    model.encode(["cat " * 100, "cat", "mat " * 100_000])
    model.encode(["cat " * 100])
    notes = [str(w.message) for w in recwarn if issubclass(w.category, BrickworkWarning)]
    assert len(notes) == 1
    assert "2 of 3 texts are longer than 48 tokens" in notes[0]


def test_a_job_of_many_batches_tells_once_with_the_sum(model, recwarn, tmp_path):
    long, short = "cat " * 100, "cat"
    with pytest.raises(DataError), counting_cuts(model):
        model.encode([long, 5])  # a job that fails has told nothing
    encode_to_disk(model, iter([long, short, long, short, long]), tmp_path / "vectors", shard_size=2)
    notes = [str(w.message) for w in recwarn if issubclass(w.category, BrickworkWarning)]
    assert len(notes) == 1
    assert "3 of 5 texts are longer than 48 tokens" in notes[0]


@pytest.mark.parametrize("depths", [(3,), (1, 3)])
def test_an_index_tells_once_how_many_texts_were_cut(model, recwarn, monkeypatch, depths):
    monkeypatch.setattr(index_encoding, "ROWS_PER_BATCH", 2)
    documents = [
        Document(id=str(n), title="", text="cat " * (100 if n % 2 else 3), source="") for n in range(7)
    ]
    list(index_encoding.encoded_batches(model, documents, depths))
    notes = [str(w.message) for w in recwarn if issubclass(w.category, BrickworkWarning)]
    assert len(notes) == 1
    assert "3 of 7 texts are longer than 48 tokens" in notes[0]


def test_a_measurement_counts_queries_and_documents(model, recwarn):
    texts = ["cat " * 100, "mat"]
    retrieval = RetrievalSet(name="x", queries=texts, documents=[*texts, "hat"], relevant=[{0: 1}, {1: 1}])
    none = Examples({"anchor": [], "positive": []})
    data = TaskData(
        name="x",
        kind="pairs",
        modality="text",
        train=none,
        validation=none,
        test=none,
        retrieval={"x": retrieval},
    )
    measure(model, data)  # which also times single queries, cut ones among them
    notes = [str(w.message) for w in recwarn if issubclass(w.category, BrickworkWarning)]
    assert len(notes) == 1
    assert "2 of 5 texts are longer than 48 tokens" in notes[0]


def test_bf16_is_close_and_leaves_the_encoder_as_it_was(model, texts):
    before = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
    low, full = model.encode(texts, precision="bf16"), model.encode(texts, precision="fp32")
    cosines = (low * full).sum(1)
    assert cosines.min() > 0.999
    assert not np.array_equal(low, full)  # it did run in bf16
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_bf16_copy_follows_the_weights(model, texts):
    before = model.encode(texts, precision="bf16")
    with for_inference(model.encoder, "bf16") as first, for_inference(model.encoder, "bf16") as second:
        assert first is second  # kept while nothing changes
    with torch.no_grad():
        model.encoder.body.blocks[0].mlp.up.weight.mul_(-1)
    after = model.encode(texts, precision="bf16")
    assert np.abs(after - before).max() > 0.01
    assert ((after * model.encode(texts, precision="fp32")).sum(1)).min() > 0.999


def test_dropout_is_off_while_encoding_and_the_mode_comes_back(texts):
    model = make_representation(dropout=0.5)
    model.encoder.train()
    model.encoder.body.blocks[0].eval()
    assert_array_equal(model.encode(texts, precision="fp32"), model.encode(texts, precision="fp32"))
    assert model.encoder.training
    assert not model.encoder.body.blocks[0].training


def test_static_embeddings(static_model, texts):
    table = static_model.encoder.body.token_embedding.weight.detach().double().numpy()
    for text, vector in zip(texts, static_model.encode(texts)):
        mean = table[static_model.encoder.tokenizer.encode(text, add_special_tokens=False).ids].mean(0)
        assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)
    assert_array_equal(static_model.encode([""]), np.zeros((1, 32)))


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_images(image_model, images, batch_size):
    with torch.no_grad():
        expected = image_model.encoder(image_model.encoder.prepare(images))[1].numpy()[:, :4]
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    results = image_model.encode(images, dim=4, batch_size=batch_size, precision="fp32")
    assert_allclose(results, expected, atol=1e-5)
    assert image_model.encode(images[:0], dim=4).shape == (0, 4)
    assert (image_model.encode(images, dim=4, precision="bf16") * expected).sum(1).min() > 0.99
    with pytest.raises(DataError, match="uint8"):
        image_model.encode(images[:, :4])


def out_of_memory_above(model, monkeypatch, rows, error):
    """The encoder's forward, refusing batches of more than ``rows``; returns the sizes that were tried."""
    forward, tried = model.encoder.forward, []

    def limited(tokens, layers):
        tried.append(len(tokens))
        if len(tokens) > rows:
            raise error
        return forward(tokens, layers)

    monkeypatch.setattr(model.encoder, "forward", limited)
    return tried


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_halves_the_batch(model, texts, monkeypatch, error):
    expected = model.encode(texts, precision="fp32")
    tried = out_of_memory_above(model, monkeypatch, 3, error)
    results = model.encode(texts, precision="fp32", batch_size=10)
    assert_allclose(results, expected, atol=2e-6)
    # After 10 and 5 failed, 3 works, and the coming batches are planned small from the start.
    assert tried[:3] == [10, 5, 3]
    assert max(tried[6:]) <= 3


def test_images_are_halved_too(image_model, images, monkeypatch):
    expected = image_model.encode(images, precision="fp32")
    out_of_memory_above(image_model, monkeypatch, 2, MemoryError())
    assert_allclose(image_model.encode(images, precision="fp32"), expected, atol=1e-5)


def test_out_of_memory_on_a_single_text_is_told(model, monkeypatch):
    out_of_memory_above(model, monkeypatch, 0, MemoryError())
    with pytest.raises(ResourceError, match="single input"):
        model.encode(["a", "b"], precision="fp32")


def test_other_errors_are_not_swallowed(model, monkeypatch):
    tried = out_of_memory_above(model, monkeypatch, 0, RuntimeError("a defect"))
    with pytest.raises(RuntimeError, match="a defect"):
        model.encode(["a", "b"], precision="fp32")
    assert tried == [2]


def test_progress_counts_every_input(model, capfd, monkeypatch):
    counts = []
    texts = make_texts(50)
    model.encode(texts, progress=counts.append, batch_size=8)
    assert sum(counts) == 50
    assert len(counts) > 3
    model.encode(texts, progress=True)
    assert capfd.readouterr() == ("", "")  # no terminal: a log is not drawn on
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for one
    model.encode(texts, progress=True)
    shown = capfd.readouterr()
    assert "50/50" in shown.err
    assert shown.out == ""


def test_similarity_is_the_cosine(model):
    texts = ["cat", "mat", "bird"]
    vectors = model.encode(texts)
    expected = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    assert_allclose(model.similarity(texts, texts), expected, atol=1e-6)
    assert_allclose(model.similarity(5 * vectors, "cat"), expected[:, :1], atol=1e-6)
    with pytest.raises(ConfigError, match="8 and 32"):
        model.similarity(vectors[:, :8], vectors)


NO_TEXTS = {
    "data frame": (lambda: pd.DataFrame({"text": ["a", "b", "c"]}), r"a table \(DataFrame\).*x\['text'\]"),
    "empty frame": (lambda: pd.DataFrame(), r"a table \(DataFrame\)"),
    "arrow table": (lambda: pa.table({"text": ["a"]}), r"a table \(Table\).*x\['text'\]"),
    "mapping": (lambda: {"q1": "a", "q2": "b"}, r"a mapping \(dict\).*values\(\)"),
    "keys": (lambda: {"q1": "a"}.keys(), r"a set \(dict_keys\)"),
    "set": (lambda: {"a", "b"}, r"a set \(set\) has no order"),
    "nothing": (lambda: None, "None .* is no list of texts"),
    "number": (lambda: 3, r"3 \(int\) is no list"),
    "bytes": (lambda: b"abc", "is no list of texts"),
    "path": (lambda: Path("a/b"), "is no list of texts"),
    "array of two dimensions": (lambda: np.array([["a", "b"]]), r"shape \(1, 2\)"),
    "array of none": (lambda: np.array("a"), r"shape \(\)"),
    "nested": (lambda: [["a", "b"]], r"input 0 is .*\(list\)"),
    "pairs": (lambda: [("a", "b")], r"input 0 is .*\(tuple\)"),
    "numbers": (lambda: np.arange(3), r"input 0 is 0 \(int\)"),
    "a gap": (lambda: ["a", None], r"input 1 is None"),
    "a gap in a series": (lambda: pd.Series(["a", float("nan")]), r"input 1 is nan \(float\)"),
    "bytes inside": (lambda: ["a", b"b"], r"input 1 is b'b' \(bytes\)"),
}


@pytest.mark.parametrize("name", NO_TEXTS)
def test_what_is_no_list_of_texts_is_refused_by_name(model, name):
    make, message = NO_TEXTS[name]
    with pytest.raises(DataError, match=message):
        model.encode(make())


def test_every_one_dimensional_sequence_of_texts_is_taken(model):
    texts = ["a text", "another", "a third é \ud83d"]
    wanted = model.encode([*texts[:2], "a third é \ufffd"])
    for given in (
        tuple(texts),
        np.array(texts, dtype=object),
        pd.Series(texts, dtype=object),
        iter(texts),
        (t for t in texts),
    ):
        assert_array_equal(model.encode(given), wanted)
    for given in (
        np.array(texts[:2]),
        pa.array(texts[:2]),
        pa.chunked_array([texts[:2]]),
        pd.Index(texts[:2]),
    ):
        assert_allclose(model.encode(given), wanted[:2], atol=1e-6)
    assert model.encode(pd.Series([], dtype=object)).shape == (0, wanted.shape[1])


NO_IMAGES = {
    "fractions": (np.random.default_rng(0).random((2, 8, 8, 3)), r"float64.*\(255 \* images\).round"),
    "large fractions": (np.full((2, 8, 8, 3), 7.0), r"float64.*: images.round"),
    "whole numbers": (np.zeros((2, 8, 8, 3), dtype=np.int64), "int64; they must be one array of uint8"),
    "truth values": (np.zeros((2, 8, 8, 3), dtype=bool), "bool; they must be one array of uint8"),
    "one image": (np.zeros((8, 8, 3), dtype=np.uint8), r"one image is images\[None\]"),
    "grey images": (np.zeros((5, 8, 8), dtype=np.uint8), r"images\[..., None\]"),
    "rows": (np.zeros((5, 8), dtype=np.uint8), r"shape \(5, 8\)"),
    "several shapes": ([np.zeros((8, 8, 3), np.uint8), np.zeros((4, 8, 3), np.uint8)], "different shapes"),
    "a text": ("cat", "is a text"),
    "texts": (["cat"], "is a text"),
    "a mapping": ({"a": np.zeros((8, 8, 3), np.uint8)}, "a dict is no array of images"),
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_is_no_array_of_images_is_refused_by_name(name):
    given, message = NO_IMAGES[name]
    with pytest.raises(DataError, match=message):
        images_of(given)
    good = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    assert images_of(good) is good
    assert images_of(list(good)).shape == good.shape
