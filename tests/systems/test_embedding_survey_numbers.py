"""embedding-survey: encodings of numbers, by what is known of them."""

import numpy as np

from brickwork.systems.embedding_survey import numbers


def test_cosines_of_dice_fall_with_the_distance():
    x = np.linspace(0, 100, 201)
    vectors = numbers.dice(x, 8, 0.0, 100.0)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-9)
    cosines = vectors @ vectors.T
    assert (np.diff(cosines[0]) < 0).all()
    middle = cosines[100]
    assert (np.diff(middle[100:]) <= 1e-12).all()
    assert (np.diff(middle[:101]) >= -1e-12).all()
    np.testing.assert_allclose(
        numbers.dice(np.array([-5.0, 120.0]), 8, 0.0, 100.0), vectors[[0, -1]], atol=1e-12
    )


def test_dice_is_its_arc_turned():
    """In two dimensions, from the angle alone."""
    x = np.array([0.0, 25.0, 60.0])
    found = numbers.dice(x, 2, 0.0, 100.0, seed=3)
    np.testing.assert_allclose(found @ found.T, np.cos(np.pi * (x[:, None] - x) / 100), atol=1e-9)


def test_fourier_features_are_sines_and_cosines_of_the_logarithm():
    x = np.array([-3.0, 0.0, 3.0, 1000.0])
    found = numbers.fourier(x, 7, shortest=0.5, longest=8.0)
    assert found.shape == (4, 7)
    waves = 8.0 * (0.5 / 8.0) ** (np.arange(4) / 3)
    angles = 2 * np.pi * np.log(1 + np.abs(x))[:, None] / waves
    np.testing.assert_allclose(found[:, :4], np.cos(angles), atol=1e-9)
    np.testing.assert_allclose(found[:, 4:], np.sign(x)[:, None] * np.sin(angles)[:, :3], atol=1e-9)
    np.testing.assert_allclose(found[0, 4:], -found[2, 4:])


def test_a_prototype_is_nearest_to_itself():
    places = np.array([-100.0, -1.0, 0.0, 1.0, 100.0])
    found = numbers.prototypes(places, places)
    np.testing.assert_allclose(found.sum(1), 1)
    assert found.argmax(1).tolist() == [0, 1, 2, 3, 4]
    share = np.exp(-np.abs(np.log1p(1) - np.array([-np.log(101), -np.log(2), 0, np.log(2), np.log(101)])))
    np.testing.assert_allclose(found[3], share / share.sum())


def test_mantissa_and_exponent_make_the_number_again():
    x = np.array([0.0, 7.0, -0.0042, 123456.0, 1e-20])
    sign, mantissa, exponent, zero = numbers.mantissa_exponent(x).T
    np.testing.assert_allclose(sign * mantissa * 10**exponent, x, rtol=1e-12)
    assert ((mantissa >= 1) & (mantissa < 10))[1:].all()
    assert zero.tolist() == [1, 0, 0, 0, 0]
