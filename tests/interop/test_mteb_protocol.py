"""A real mteb evaluation, offline, on a task made here."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import spearmanr

from brickwork.core.errors import ConfigError
from brickwork.representation.mteb_adapter import MtebEncoder

from .conftest import tiny

mteb = pytest.importorskip("mteb")
datasets = pytest.importorskip("datasets")

from mteb.abstasks.sts import AbsTaskSTS  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402
from mteb.models.models_protocols import EncoderProtocol  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

LEFT = [
    "a capital of France",
    "one sentence",
    "what is that",
    "code has tokens",
    "emoji and tabs",
    "the model",
]
RIGHT = ["the capital", "sentence that goes on", "France", "code has many tokens", "Paris", "model reads"]
SCORES = [4.0, 3.0, 0.5, 4.5, 1.0, 3.5]


class HomeMadeSTS(AbsTaskSTS):
    metadata = TaskMetadata(
        name="HomeMadeSTS",
        dataset={"path": "home/made", "revision": "1"},
        description="Six pairs.",
        type="STS",
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="cosine_spearman",
        reference=None,
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation="",
    )

    def load_data(self, *_, **__) -> None:
        columns = {"sentence1": LEFT, "sentence2": RIGHT, "score": SCORES}
        self.dataset = {"test": datasets.Dataset.from_dict(columns)}
        self.data_loaded = True


def test_mteb_evaluates_a_cut_representation():
    model = tiny()
    encoder = MtebEncoder(model, dim=8, layers=2, name="home/tiny")
    assert isinstance(encoder, EncoderProtocol)
    result = mteb.evaluate(encoder, [HomeMadeSTS()], cache=None, show_progress_bar=False)
    results = result.task_results[0].scores["test"][0]["cosine_spearman"]
    left, right = (model.encode(texts, dim=8, layers=2).astype(np.float64) for texts in (LEFT, RIGHT))
    assert results == pytest.approx(spearmanr((left * right).sum(1), SCORES).statistic, abs=1e-6)
    assert result.model_name == "home/tiny"
    assert result.model_revision == f"{model.fingerprint}-dim=8,layers=2"


def test_similarities_are_cosines():
    encoder = MtebEncoder(tiny())
    a, b = np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[4.0, 3.0], [0.0, 2.0]])
    assert_allclose(encoder.similarity(a, b), [[0.96, 0.8], [0.8, 0.0]], atol=1e-6)
    assert_allclose(encoder.similarity_pairwise(a, b), [0.96, 0.0], atol=1e-6)


def test_a_name_or_size_that_mteb_or_the_model_cannot_have():
    with pytest.raises(ConfigError, match="organisation/name"):
        MtebEncoder(tiny(), name="tiny")
    with pytest.raises(ConfigError, match="dim=64"):
        MtebEncoder(tiny(), dim=64)
