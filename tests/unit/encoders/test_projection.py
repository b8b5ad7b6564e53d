"""A matrix after the pooling: other widths, in every way in which an encoder runs, is saved and is exported."""

import numpy as np
import pytest
import torch
from sample_encoders import TEXTS, build_small

from brickwork.core.elastic import ElasticAxes
from brickwork.representation.export_sentence_transformers import export_sentence_transformers
from brickwork.representation.load import load_representation
from brickwork.representation.model import Representation

SHORT = [text[:30] for text in TEXTS]


@pytest.fixture(params=["scratch", "static"])
def pair(request):
    """An encoder, and the same one with a projection to 7 dimensions."""
    shape = {} if request.param == "scratch" else {"num_heads": None, "num_layers": None}
    plain = build_small(backbone=request.param, **shape)
    projected = build_small(backbone=request.param, projection=7, **shape)
    projected.load_state_dict(plain.state_dict(), strict=False)
    return plain, projected


def test_vectors_are_the_projected_ones(pair):
    plain, projected = pair
    tokens = plain.tokenize(TEXTS[-5:])
    layer = plain.num_layers
    expected = plain(tokens, [layer])[layer] @ projected.projection.weight.T
    assert (plain.embedding_dim, projected.embedding_dim) == (16, 7)
    torch.testing.assert_close(projected(tokens, [layer])[layer], expected)
    padded = projected.forward_padded(*tokens.padded(projected.pad_id), layer)
    torch.testing.assert_close(padded, expected)


def test_it_costs_one_product_a_text(pair):
    plain, projected = pair
    assert projected.flops([3, 5], 1) - plain.flops([3, 5], 1) == 2 * 2 * 16 * 7


def test_it_is_saved_and_named_in_the_description_only_where_it_is(pair, tmp_path):
    plain, projected = pair
    assert "projection" not in plain.architecture()
    model = Representation(projected, ElasticAxes(dims=(7,), layers=(projected.num_layers,)))
    again = load_representation(model.save(tmp_path / "model"))
    assert again.fingerprint == model.fingerprint
    np.testing.assert_array_equal(
        again.encode(SHORT, precision="fp32"), model.encode(SHORT, precision="fp32")
    )
    rough = model.encode(SHORT, precision="bf16")
    assert (rough * model.encode(SHORT, precision="fp32")).sum(1).min() > 0.99


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("dim", [None, 4])
def test_sentence_transformers_gives_the_same_vectors(pair, dim, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    _, projected = pair
    model = Representation(projected, ElasticAxes(dims=(4, 7), layers=(projected.num_layers,)))
    folder = export_sentence_transformers(model, tmp_path / "st", dim=dim)
    theirs = library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    results = theirs.encode(SHORT, show_progress_bar=False)
    np.testing.assert_allclose(results, model.encode(SHORT, dim=dim, precision="fp32"), atol=1e-5)
