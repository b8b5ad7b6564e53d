"""The user's own images without classes."""

import numpy as np
from PIL import Image

from brickwork.data.config import ImageDataConfig
from brickwork.data.sets.images import own_images


def test_equal_images_stay_in_one_part(tmp_path):
    """Each is there three times under other names, as copies in other folders would be."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (20, 8, 8, 3), dtype=np.uint8)
    for copy in "abc":
        (tmp_path / copy).mkdir()
        for place, image in enumerate(pixels):
            Image.fromarray(image).save(tmp_path / copy / f"{place}.png")
    np.save(tmp_path / "all.npy", np.concatenate([pixels] * 3))
    for source in (tmp_path, tmp_path / "all.npy"):
        config = ImageDataConfig(
            source=str(source), image_size=8 if source.is_dir() else None, test_share=0.3
        )
        task = own_images(source, config, 0)
        parts = [{i.tobytes() for i in part.columns["input"]} for part in (task.train, task.test)]
        assert not parts[0] & parts[1]
        assert [len(part) % 3 for part in (task.train, task.validation, task.test)] == [0, 0, 0]
        assert len(task.test) > 0
