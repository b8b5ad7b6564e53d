"""Images as pretrained models have them: the same from a file and from an array, and bounded."""

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from brickwork.core.config import ConfigError, from_dict, to_dict
from brickwork.core.framing import Framing
from brickwork.data.config import ImageDataConfig
from brickwork.data.image_text import image_text_task
from brickwork.data.load import load_task
from brickwork.data.readers.images import decode
from vision_checkpoints import IMAGE_MODELS, pictures

FRAMING = Framing(height=32, width=32, scale=(40,))


def saved(image, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    file.seek(0)
    return file


@pytest.mark.parametrize("kind", ["dinov2", "siglip_vision_model"])
def test_a_file_and_an_array_become_what_transformers_makes_of_them(kind):
    processor = IMAGE_MODELS[kind][1]()
    scale = (40,) if kind == "dinov2" else (32, 32)
    framing = Framing(height=32, width=32, scale=scale)
    images = pictures(5)
    wanted = [
        processor(image, do_rescale=False, do_normalize=False)["pixel_values"][0].transpose(1, 2, 0)
        for image in images
        if image.shape != framing.shape
    ]
    images = [image for image in images if image.shape != framing.shape]
    assert np.array_equal(framing.of_arrays(images), np.stack(wanted))
    assert np.array_equal(np.stack([decode(saved(image), framing) for image in images]), np.stack(wanted))


def test_dinov3_scales_numbers_and_differs_by_a_level_at_most():
    """Its processor needs torchvision, which scales as torch does here."""
    framing = Framing(height=24, width=24, scale=(24, 24), resample=2)
    for image in pictures(5):
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        scaled = F.interpolate(x, (24, 24), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
        assert np.abs(framing.of_arrays([image])[0] - scaled).max() <= 1.0


def test_a_jpeg_is_read_in_full_for_a_model_and_grey_becomes_what_it_takes():
    image = pictures(1)[0].repeat(20, 0).repeat(20, 1)
    whole = np.asarray(Image.open(saved(image, "JPEG")).convert("RGB"))
    assert np.array_equal(decode(saved(image, "JPEG"), FRAMING), FRAMING.of_arrays([whole])[0])
    grey = Framing(height=8, width=8, channels=1, scale=(8, 8))
    assert grey.of_arrays([image]).shape == (1, 8, 8, 1)
    assert FRAMING.of_arrays([image[:, :, :1]]).shape == (1, 32, 32, 3)


def test_images_of_extreme_proportions_fill_no_memory():
    """Scaled as they are, 4 × 30,000 pixels would become 40 × 300,000."""
    line = np.zeros((4, 30_000, 3), np.uint8)
    line[:, 14_990:15_010] = 200
    assert FRAMING.of_arrays([line])[0, 16, 16].tolist() == [200, 200, 200]
    assert FRAMING.of_arrays([line.transpose(1, 0, 2)])[0, 16, 16].tolist() == [200, 200, 200]


def test_what_is_too_small_has_black_sides():
    framed = Framing(height=6, width=7).of_arrays([np.full((3, 9, 3), 255, np.uint8)])[0]
    assert framed[:, :, 0].any(1).tolist() == [False, False, True, True, True, False]
    assert framed.shape == (6, 7, 3)


def test_options_are_checked():
    wrong = {"height": 0, "width": 8, "channels": 2, "scale": [1, 2, 3], "resample": 9}
    with pytest.raises(ConfigError) as caught:
        from_dict(Framing, wrong)
    assert [line.split()[0] for line in str(caught.value).splitlines()] == [
        *("height", "channels", "scale", "resample")
    ]
    assert from_dict(Framing, to_dict(FRAMING)) == FRAMING
    assert FRAMING.describe() == "shorter side scaled to 40 (bicubic), 32 × 32 pixels, middle cut out"
    with pytest.raises(ConfigError, match="image_size has no effect with framing"):
        from_dict(ImageDataConfig, {"image_size": 8, "framing": to_dict(FRAMING)})


def test_tasks_are_read_with_it(tmp_path):
    for number, image in enumerate(pictures(8)):
        folder = tmp_path / f"class{number % 2}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"image {number}")
    config = ImageDataConfig(source=str(tmp_path), framing=FRAMING, test_share=0.0, validation_share=0.0)
    pairs = image_text_task(config, 0, framing=FRAMING)
    assert pairs.train.columns["image"].shape == (8, 32, 32, 3)
    for file in tmp_path.rglob("*.txt"):
        file.unlink()
    task = load_task(config, 0)
    assert task.train.columns["input"].shape == (8, 32, 32, 3)
    assert task.notes[0].startswith("images as the model takes them: shorter side scaled to 40")
