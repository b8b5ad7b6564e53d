"""Smooth images: the mean of what is painted on each pixel."""

import numpy as np

from brickwork.data.generators.drawing import smooth_image


def test_a_pixel_is_the_mean_of_what_is_painted_on_it():
    """A white square from (2, 2) to (5, 5) of 8 × 8, at twice the size of 4 × 4: four whole pixels in the middle; one more
    row of it covers half of the pixels below."""
    whole = smooth_image(4, lambda pen: pen.rectangle((2, 2, 5, 5), fill=(255, 255, 255)), scale=2)
    expected = np.zeros((4, 4, 3))
    expected[1:3, 1:3] = 255
    assert whole.dtype == np.uint8
    np.testing.assert_array_equal(whole, expected)
    more = smooth_image(
        4, lambda pen: pen.rectangle((2, 2, 5, 6), fill=(200, 200, 200)), scale=2, ground=(100, 50, 0)
    )
    assert more[3].tolist() == [[100, 50, 0], [150, 125, 100], [150, 125, 100], [100, 50, 0]]
