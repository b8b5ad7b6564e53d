"""Files that users are given."""

import numpy as np
from PIL import Image

from brickwork.data.writers import write_images


def test_two_names_are_never_in_one_folder(tmp_path):
    names = ["a.b", "a_b", "A b", "a b", "a.b"]
    images = np.stack([np.full((2, 2, 3), 40 * place, dtype=np.uint8) for place in range(5)])
    write_images(tmp_path / "out", names, images)
    found = {
        path.relative_to(tmp_path / "out").as_posix(): int(np.asarray(Image.open(path))[0, 0, 0])
        for path in (tmp_path / "out").glob("*/*.png")
    }
    assert found == {
        "a_b/0001.png": 0, "a_b/0002.png": 160, "a_b-2/0001.png": 40, "A b/0001.png": 80, "a b-2/0001.png": 120,
    }  # fmt: skip
