"""Cut, then normalise."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from brickwork.representation.truncate import truncate


def test_the_prefix_has_length_one():
    # By hand: (3, 4) has length 5, whatever comes after it.
    assert_allclose(truncate(np.array([[3.0, 4.0, 12.0]]), 2), [[0.6, 0.8]], rtol=1e-7)


def test_without_normalising_it_is_the_prefix_and_the_input_is_untouched():
    given = np.array([[3.0, 4.0, 12.0]], dtype=np.float32)
    cut = truncate(given, 2, normalize=False)
    cut[:] = 0
    assert_array_equal(given, [[3.0, 4.0, 12.0]])


def test_zeros_stay_zeros_and_no_rows_stay_no_rows():
    assert_array_equal(truncate(np.zeros((2, 3)), 2), np.zeros((2, 2)))
    assert truncate(np.zeros((0, 3)), 2).shape == (0, 2)


def test_half_precision_is_normalised_in_float32():
    # 300² overflows float16: the length must be computed in float32.
    cut = truncate(np.array([[300.0, 400.0]], dtype=np.float16), 2)
    assert cut.dtype == np.float32
    assert_allclose(cut, [[0.6, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("dim", [0, 4])
def test_a_prefix_longer_than_the_vector_is_refused(dim):
    with pytest.raises(ValueError, match=f"dim={dim}"):
        truncate(np.ones((1, 3)), dim)
