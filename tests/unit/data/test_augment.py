"""Views of images: each change against what somebody else computes for it, and draws that depend on the row alone."""

import colorsys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.ndimage import gaussian_filter

from brickwork.core.errors import ConfigError
from brickwork.core.seeding import uniforms
from brickwork.data.augment import IDENTITY, Augmentation, Mixing, augmented, draw, mixed, two_views
from brickwork.objectives.classification import cross_entropy

EVERYTHING = Augmentation(
    crop=0.3,
    flip=0.5,
    rotate=30.0,
    hue=40.0,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    grey=0.2,
    blur=1.0,
)


def images(count=3, channels=3, height=12, width=12):
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0))


def of(**values):
    return {name: torch.as_tensor(value, dtype=torch.float64).expand(3) for name, value in values.items()}


def test_a_quarter_turn_is_rot90_and_a_flip_is_a_flip():
    x = images()
    torch.testing.assert_close(augmented(x, of(angle=90.0)), torch.rot90(x, 1, (2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(augmented(x, of(angle=-90.0)), torch.rot90(x, -1, (2, 3)), atol=1e-5, rtol=0)
    torch.testing.assert_close(augmented(x, of(flip=1.0)), x.flip(3), atol=1e-5, rtol=0)


def test_a_wide_image_is_turned_without_being_stretched():
    x = images(height=8, width=16)
    turned = augmented(x, of(angle=180.0))
    torch.testing.assert_close(turned, torch.rot90(x, 2, (2, 3)), atol=1e-5, rtol=0)
    middle = augmented(x, of(angle=90.0))[:, :, :, 4:12]
    torch.testing.assert_close(middle, torch.rot90(x[:, :, :, 4:12], 1, (2, 3)), atol=1e-5, rtol=0)


def test_a_crop_is_cut_out_and_scaled_back():
    x = images()
    cut = augmented(x, of(top=0.25, left=0.5, height=0.5, width=0.5))
    scaled = torch.nn.functional.interpolate(
        x[:, :, 3:9, 6:12], size=(12, 12), mode="bilinear", align_corners=False
    )
    inner = (slice(None), slice(None), slice(1, 11), slice(1, 11))  # at its edge a crop sees what is beyond
    torch.testing.assert_close(cut[inner], scaled[inner], atol=1e-5, rtol=0)


def test_a_shift_of_hue_is_that_of_the_standard_library():
    x = images(height=4, width=4)
    shifted = augmented(x, of(hue=77.0))
    for place in np.ndindex(3, 4, 4):
        h, s, v = colorsys.rgb_to_hsv(*x[place[0], :, place[1], place[2]].tolist())
        expected = colorsys.hsv_to_rgb((h + 77 / 360) % 1, s, v)
        assert shifted[place[0], :, place[1], place[2]].tolist() == pytest.approx(expected, abs=1e-5)


def test_brightness_contrast_saturation_and_grey_by_hand():
    x = images()
    luma = 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]
    torch.testing.assert_close(augmented(x, of(brightness=0.5)), 0.5 * x)
    torch.testing.assert_close(augmented(x, of(brightness=4.0)), (4 * x).clamp(max=1))
    mean = luma.mean((2, 3), keepdim=True)
    torch.testing.assert_close(augmented(x, of(contrast=0.5)), 0.5 * x + 0.5 * mean)
    torch.testing.assert_close(augmented(x, of(saturation=0.5)), 0.5 * x + 0.5 * luma)
    torch.testing.assert_close(augmented(x, of(grey=1.0)), luma.expand_as(x))


def test_blur_is_that_of_scipy_with_one_deviation_an_image():
    x = images(height=16, width=16)
    blurred = augmented(x, {"blur": torch.tensor([0.0, 0.7, 1.3])})
    for row, sigma in ((1, 0.7), (2, 1.3)):
        expected = gaussian_filter(
            x[row].double().numpy(), (0, sigma, sigma), mode="mirror", radius=(0, 4, 4)
        )
        np.testing.assert_allclose(blurred[row].numpy(), expected, atol=1e-6)
    torch.testing.assert_close(blurred[0], x[0])


def test_nothing_drawn_is_nothing_done():
    x = images()
    first, second, g = two_views(x, Augmentation(), seed=1, step=2, rows=[0, 1, 2])
    assert first is x
    assert second is x
    assert all((g[name] == value).all() for name, value in IDENTITY.items())


def test_a_view_depends_on_seed_step_and_row_and_on_nothing_else():
    x = images()
    first, second, g = two_views(x, EVERYTHING, seed=1, step=2, rows=[7, 3, 9])
    order = [2, 0, 1]
    again = two_views(x[order], EVERYTHING, seed=1, step=2, rows=[9, 7, 3])
    torch.testing.assert_close(again[0], first[order])
    torch.testing.assert_close(again[1], second[order])
    for name in g:
        assert torch.equal(again[2][name], g[name][order])
        changes = name not in ("flip", "grey")
        assert not changes or not (g[name][:, 0] == g[name][:, 1]).any(), "the two views are drawn apart"
    for other in ({"seed": 2, "step": 2}, {"seed": 1, "step": 3}):
        assert not torch.equal(draw(EVERYTHING, rows=[7], **other)["angle"], g["angle"][:1, 0])
    # What is said of a view is what was done to it.
    torch.testing.assert_close(augmented(x, {name: value[:, 1] for name, value in g.items()}), second)


def test_draws_are_uniform_and_within_their_bounds():
    u = uniforms("a key", range(20_000), 3)
    assert stats.kstest(u[0], "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(u)[0, 1]) < 0.03
    assert abs(np.corrcoef(u[0, :-1], u[0, 1:])[0, 1]) < 0.03
    drawn = draw(EVERYTHING, seed=0, step=0, rows=range(5000))
    area = drawn["height"] * drawn["width"]
    assert area.min() > 0.28
    assert (drawn["top"] + drawn["height"]).max() <= 1
    assert (drawn["left"] + drawn["width"]).max() <= 1
    assert drawn["angle"].abs().max() <= 30
    assert drawn["angle"].mean().abs() < 1
    assert drawn["grey"].mean().item() == pytest.approx(0.2, abs=0.02)
    assert drawn["brightness"].min() >= 0.6


def test_grey_images_have_no_colours_to_change():
    x = images(channels=1)
    with pytest.raises(ConfigError, match="have no colours: hue has no effect"):
        augmented(x, of(hue=10.0))
    grey = replace(EVERYTHING, hue=0.0, saturation=0.0, grey=0.0)
    assert two_views(x, grey, seed=0, step=0, rows=[0, 1, 2])[0].shape == x.shape


# ---- images mixed in pairs -------------------------------------------------------------------------------------------


def pairs_of_colours():
    """Four images, each of one number, and their classes."""
    values = torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.float64)
    return values[:, None, None, None].expand(4, 2, 8, 8).clone(), torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize("mixing", [Mixing(mixup=0.7), Mixing(cutmix=1.0), Mixing(mixup=1.0, cutmix=1.0)])
def test_labels_say_how_much_of_each_image_is_there(mixing):
    """By hand: each pixel is of one of two images, or a mean of both, so the mean over pixels is that of the labels."""
    images, label = pairs_of_colours()
    values = images[:, 0, 0, 0]
    for step in range(6):
        x, y = mixed(images, label, 4, mixing, seed=1, step=step, rows=[3, 5, 8, 9])
        y = y.double()
        torch.testing.assert_close(y.sum(1), torch.ones(4, dtype=y.dtype), atol=1e-6, rtol=0)
        torch.testing.assert_close(x.mean((1, 2, 3)), y @ values, atol=1e-6, rtol=0)
        # the mirrored image and no other
        assert y[0, 1] == y[0, 2] == y[1, 0] == y[1, 3] == 0


def test_cut_images_are_of_two_and_in_one_rectangle():
    images, label = pairs_of_colours()
    x, _ = mixed(images, label, 4, Mixing(cutmix=1.0), seed=0, step=2, rows=range(4))
    for number, image in enumerate(x[:, 0]):
        other = image != images[number, 0]
        assert (image[other] == images[3 - number, 0, 0, 0]).all()
        rows, columns = other.any(1).nonzero().flatten(), other.any(0).nonzero().flatten()
        if len(rows):
            assert other[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


def test_mixing_is_a_function_of_seed_step_and_row():
    images, label = pairs_of_colours()
    given = {"seed": 3, "step": 5}
    first, _ = mixed(images, label, 4, Mixing(mixup=0.4), **given, rows=[1, 2, 3, 4])
    again, _ = mixed(images, label, 4, Mixing(mixup=0.4), **given, rows=[1, 2, 3, 4])
    other, _ = mixed(images, label, 4, Mixing(mixup=0.4), **given, rows=[1, 2, 3, 7])
    assert torch.equal(first, again)
    assert torch.equal(first[:3], other[:3])
    assert not torch.equal(first[3], other[3])


def test_shares_are_of_the_beta_distribution():
    """Against scipy.stats, by the Kolmogorov–Smirnov distance: below 1.63/√n with 99 % certainty, and seeds are fixed."""
    images, label = torch.ones(2000, 1, 1, 1), torch.zeros(2000, dtype=torch.int64)
    images[1000:], label[1000:] = 0.0, 1
    x, _ = mixed(images, label, 2, Mixing(mixup=0.4), seed=0, step=0, rows=range(2000))
    statistic = stats.kstest(x[:1000].flatten().double().numpy(), stats.beta(0.4, 0.4).cdf).statistic
    assert statistic < 1.63 / 1000**0.5


def test_smoothed_labels_without_mixing():
    images, label = pairs_of_colours()
    x, y = mixed(images, label, 4, Mixing(smoothing=0.2), seed=0, step=0, rows=range(4))
    assert torch.equal(x, images)
    torch.testing.assert_close(y, torch.full((4, 4), 0.05) + 0.8 * torch.eye(4))
    expected = torch.nn.functional.cross_entropy(torch.eye(4), label, label_smoothing=0.2)
    torch.testing.assert_close(cross_entropy(torch.eye(4), y), expected)
