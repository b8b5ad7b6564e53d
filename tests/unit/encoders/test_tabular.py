"""Cells to features: scikit-learn's scaler and encoder as oracles, NaN never gets through, order and padding of series."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from brickwork.core.errors import ArtifactError
from brickwork.encoders.tabular import (
    TEXT_WIDTH,
    SeriesEncoder,
    TabularEncoder,
    column_statistics,
    from_architecture,
    hashed_words,
)


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    numbers = rng.normal(5, 3, size=(40, 3))
    numbers[:, 1] = 7.0
    numbers[rng.random((40, 3)) < 0.2] = np.nan
    numbers[0] = np.nan
    categories = rng.choice(np.array(["a", "b", "c"], dtype=object), size=(40, 2))
    categories[0] = None
    categories[5, 0] = None
    return numbers, categories


def test_features_are_those_of_scikit_learn(cells):
    numbers, categories = cells
    x, present = TabularEncoder.fitted(*cells).prepare(*cells)
    scaled = np.nan_to_num(StandardScaler().fit_transform(numbers))
    np.testing.assert_allclose(x[:, :3], scaled, atol=1e-6)
    known = OneHotEncoder(categories=[["a", "b", "c"]] * 2, handle_unknown="ignore", sparse_output=False)
    filled = np.where(np.equal(categories, None), "-", categories)
    np.testing.assert_array_equal(x[:, 3:], known.fit_transform(filled))
    assert present.tolist() == [False] + [True] * 39
    assert np.isfinite(x).all()


def test_a_new_category_is_none_of_the_known_but_there(cells):
    encoder = TabularEncoder.fitted(*cells)
    x, present = encoder.prepare(np.full((1, 3), np.nan), np.array([["z", None]], dtype=object))
    assert not x.any()
    assert present.tolist() == [True]


def test_statistics_of_nothing_and_of_constants():
    mean, scale = column_statistics(np.array([[np.nan, 1e9], [np.nan, 1e9]]))
    assert mean == [0.0, 1e9]
    assert scale == [1.0, 1.0]


def test_words_are_hashed_to_unit_vectors():
    results = hashed_words(["a b a", None, "", "B a"])
    assert results.shape == (4, TEXT_WIDTH)
    np.testing.assert_allclose(np.linalg.norm(results, axis=1), [1, 0, 0, 1])
    assert results[0] @ results[3] == pytest.approx(3 / np.sqrt(5 * 2))


def test_a_series_is_read_as_if_it_were_alone():
    """Padding and the other rows change nothing; the oracle is torch's own packed sequence."""
    rng = np.random.default_rng(0)
    rows = [rng.normal(2, 3, size=(n, 2)) for n in (4, 1, 7)] + [None]
    rows[0][1, 0] = np.nan
    torch.manual_seed(0)
    encoder = SeriesEncoder.fitted(rows, 5)
    x, lengths, present = encoder.prepare(rows)
    assert present.tolist() == [True, True, True, False]
    results = encoder(torch.from_numpy(x), torch.from_numpy(lengths))
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        torch.from_numpy(x), torch.from_numpy(lengths), batch_first=True, enforce_sorted=False
    )
    torch.testing.assert_close(results, encoder.gru(packed)[1][0], rtol=1e-5, atol=1e-6)
    finite = np.concatenate(rows[:3])
    np.testing.assert_allclose(encoder.mean, np.nanmean(finite, axis=0))
    np.testing.assert_allclose(encoder.scale, np.nanstd(finite, axis=0))
    assert x[0, 1, 0] == 0


def test_architecture_rebuilds_the_encoder(cells):
    encoder = TabularEncoder.fitted(*cells)
    again = from_architecture(encoder.architecture())
    np.testing.assert_array_equal(again.prepare(*cells)[0], encoder.prepare(*cells)[0])
    assert from_architecture(SeriesEncoder([0.0], [1.0], 3).architecture()).width == 3
    with pytest.raises(ArtifactError, match="damaged"):
        from_architecture({"kind": "table", "mean": [0.0]})
    with pytest.raises(ArtifactError, match="damaged"):
        from_architecture({"kind": "spreadsheet"})
