"""Cross-encoders give the scores of sentence-transformers' CrossEncoder, whatever their shape."""

import numpy as np
import pytest

from brickwork.index.reranking import Reranker

from .cross_encoders import PAIRS, SHAPES, write

pytestmark = pytest.mark.filterwarnings("ignore")  # the other libraries' own


def predicted(folder):
    from sentence_transformers import CrossEncoder

    return CrossEncoder(str(folder), device="cpu", local_files_only=True)


@pytest.mark.parametrize("model_type", SHAPES)
def test_scores_are_those_of_sentence_transformers(model_type, tmp_path):
    folder = write(model_type, tmp_path / model_type)
    theirs = predicted(folder)
    wanted = theirs.predict(PAIRS)
    scores = Reranker.load(folder, precision="fp32").scores(PAIRS)
    assert np.ptp(wanted) > 1e-3  # the pairs are told apart
    np.testing.assert_allclose(scores, wanted, atol=1e-5)
    theirs.save_pretrained(str(tmp_path / "saved"))  # with modules.json, as it writes them now
    np.testing.assert_allclose(
        Reranker.load(tmp_path / "saved", precision="fp32").scores(PAIRS), wanted, atol=1e-5
    )


@pytest.mark.parametrize("written", ["now", "before"])
def test_the_function_on_the_score_is_the_model_s_own(written, tmp_path):
    path = "torch.nn.modules.linear.Identity"
    settings = {
        "now": {"sentence_transformers": {"activation_fn": path}},
        "before": {"sbert_ce_default_activation_function": path},
    }[written]
    folder = write("bert", tmp_path / "bert", **settings)
    scores = Reranker.load(folder, precision="fp32").scores(PAIRS)
    assert (scores < 0).any() or (scores > 1).any()
    np.testing.assert_allclose(scores, predicted(folder).predict(PAIRS), atol=1e-5)
