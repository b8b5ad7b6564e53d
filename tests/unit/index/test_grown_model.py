"""A model that grew under a live index: its first dimensions are the old one's, bit for bit, and others come after them."""

import numpy as np
import pytest
from scipy.stats import percentileofscore
from word_vectors import WIDTH, WordVectors

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ArtifactError
from brickwork.index.build import build_index
from brickwork.index.index import open_index
from brickwork.index.lifecycle import verify_index
from brickwork.index.manifest import read_manifest
from brickwork.representation.truncate import truncate

QUERIES = ["word3 word7 word7", "word1 word2", "word5"]


class Grown(WordVectors):
    """The old vectors and, behind them, as many other ones of the same words."""

    def __init__(self, extends, name="grown", scale=1.0):
        super().__init__()
        self.axes = ElasticAxes(dims=(*WordVectors().axes.dims, 2 * WIDTH), layers=(2,))
        self.fingerprint = name
        self.lineage = {"extends": list(extends)}
        self.scale = scale

    def raw(self, texts, layers):
        first = super().raw(texts, layers)
        turned = np.linalg.qr(np.random.default_rng(5).normal(size=(WIDTH, WIDTH)))[0]
        return np.concatenate([first, self.scale * (first**3) @ turned], axis=1).astype(np.float32)


@pytest.fixture
def index(tmp_path, model, documents):
    return build_index(model, documents, tmp_path / "index", layers=[2], kind="flat")


@pytest.fixture
def grown(model):
    return Grown([model.fingerprint])


def answers(index, **options):
    hits = index.search(QUERIES, top=8, mode="dense", **options)
    return [[hit.id for hit in one] for one in hits], np.array([[hit.score for hit in one] for one in hits])


def test_the_old_index_answers_as_before(index, grown):
    before = answers(index)
    opened = open_index(index.folder, grown)
    asked = answers(opened)  # it has not taken over yet
    assert asked[0] == before[0]
    np.testing.assert_allclose(asked[1], before[1], atol=1e-6)
    assert opened.replace_model()
    assert not opened.replace_model()
    for options in ({}, {"dim": WIDTH}):
        ids, scores = answers(opened, **options)
        assert ids == before[0]
        np.testing.assert_allclose(scores, before[1], atol=1e-6)
    manifest = read_manifest(index.folder)
    assert (manifest.contents.width, manifest.widths) == (2 * WIDTH, (WIDTH, 2 * WIDTH))
    assert not verify_index(index.folder)


def test_pairs_are_compared_by_the_dimensions_that_both_have(index, grown, documents):
    """Cosines of the whole vectors where a document was encoded anew, of the first half where it was not; by hand. Too few
    are new for a scale."""
    opened = open_index(index.folder, grown)
    anew = documents[:60:4]
    opened.update(anew)
    ids, scores = answers(opened)
    names = {document.id: document for document in documents}
    queries = grown.encode(QUERIES)
    for number, (row, got) in enumerate(zip(ids, scores)):
        for name, score in zip(row, got):
            document = names[name]
            (vector,) = opened.encode([document])[2]
            dim = 2 * WIDTH if document in anew else WIDTH
            expected = truncate(queries[number : number + 1], dim) @ truncate(vector[None], dim).T
            assert score == pytest.approx(float(expected[0, 0]), abs=1e-5)
    every = opened.search(QUERIES[0], top=len(documents), mode="dense")[0]
    assert [hit.score for hit in every] == sorted((hit.score for hit in every), reverse=True)
    assert len(every) == len(documents)


def test_old_rows_are_put_on_the_scale_of_new_ones(index, grown, documents):
    """By scipy's quantiles of the cosines of pairs of rows that have both; the order among old rows stays."""
    before = index.search(QUERIES[0], top=len(documents), mode="dense")[0]
    opened = open_index(index.folder, grown)
    anew = documents[::2]
    opened.update(anew)
    hits = opened.search(QUERIES[0], top=len(documents), mode="dense")[0]
    names = {document.id for document in anew}
    old = [hit for hit in hits if hit.id not in names]
    assert [hit.id for hit in old] == [hit.id for hit in before if hit.id not in names]
    vectors = opened.encode(anew)[2]
    pairs = np.triu_indices(len(anew), 1)
    few, every = (
        np.sort((unit @ unit.T)[pairs]) for unit in (truncate(vectors, dim) for dim in (WIDTH, 2 * WIDTH))
    )
    plain = {hit.id: hit.score for hit in before}
    for hit in old:
        share = percentileofscore(few, plain[hit.id]) / 100
        if 0.02 < share < 0.98:
            assert hit.score == pytest.approx(float(np.quantile(every, share)), abs=0.02)


def test_funnels_filters_and_words_see_the_same_scores(index, grown, documents):
    opened = open_index(index.folder, grown)
    opened.update(documents[::2])
    plain = {hit.id: hit.score for hit in opened.search(QUERIES[0], top=len(documents), mode="dense")[0]}
    funnel = opened.search(QUERIES[0], top=10, mode="dense", funnel=[(WIDTH, len(documents))])[0]
    for hit in funnel:
        assert hit.score == pytest.approx(plain[hit.id], abs=1e-5)
    both = opened.search(QUERIES[0], top=10, mode="hybrid")[0]
    for hit in both:
        assert hit.dense == pytest.approx(plain[hit.id], abs=1e-5)


def test_all_encoded_anew_is_an_index_of_the_grown_model(index, grown, documents, tmp_path):
    opened = open_index(index.folder, grown)
    opened.update(documents)
    whole = build_index(grown, documents, tmp_path / "whole", layers=[2], kind="flat")
    expected, got = answers(whole), answers(opened)
    assert got[0] == expected[0]
    np.testing.assert_allclose(got[1], expected[1], atol=1e-6)
    opened.backend.compact()
    assert answers(opened)[0] == expected[0]


def test_a_model_that_did_not_grow_from_it_is_refused(index, model):
    with pytest.raises(ArtifactError, match="holds vectors of"):
        open_index(index.folder, Grown(["another"]))
    short = Grown([model.fingerprint])
    short.axes = ElasticAxes(dims=(2 * WIDTH,), layers=(2,))
    with pytest.raises(ArtifactError, match="grew from one of"):
        open_index(index.folder, short)
