"""What cmim reads: images, or molecules written as SMILES."""

from pathlib import Path

from brickwork.data.config import ImageDataConfig, refuse_image_size
from brickwork.data.sets.images import PARTS as IMAGE_SETS
from brickwork.data.sets.images import image_task, own_images
from brickwork.data.types import TaskData
from brickwork.systems.cmim.smiles import smiles_task

Data = ImageDataConfig


def load_data(config: ImageDataConfig, seed: int) -> TaskData:
    """Images or molecules to learn from: a known set, arrays (.npy, .npz), a folder of images; else SMILES in a table or
    one a line.

    Raises:
        DataError: the source does not exist or cannot be used.
    """
    path = Path(config.source).expanduser()
    if not path.is_dir():
        refuse_image_size(config)
    if config.source in IMAGE_SETS:
        return image_task(config, seed)
    if path.is_dir() or (path.is_file() and path.suffix.lower() in (".npy", ".npz")):
        return own_images(path, config, seed)
    return smiles_task(config, seed)
