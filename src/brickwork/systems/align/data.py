"""What ``align`` reads: images with texts, spoilt or cleaned where that is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from brickwork.core.errors import DataError
from brickwork.core.framing import Framing
from brickwork.data.config import DataConfig, image_size_problems
from brickwork.data.generators.scenes import Noise
from brickwork.data.image_text import image_text_task
from brickwork.data.types import TaskData
from brickwork.systems.align.caption_filters import CaptionFilter, filter_captions


@dataclass(frozen=True, kw_only=True)
class Data(DataConfig):
    """The data of a run of ``align``."""

    image_size: int | None = None
    """The side of the squares that images become (none: as a pretrained model takes them, else 32)."""
    framing: Framing | None = None
    """How images are scaled and cut; a run takes it from its pretrained model."""
    captions: CaptionFilter = field(default_factory=CaptionFilter)
    """Which texts of images are worth learning from; the training part alone is filtered."""
    noise: Noise = field(default_factory=Noise)
    """Shares of the made-up scenes that are spoilt; what is held out is clean."""

    def validate(self) -> list[str]:
        """Every problem with the values."""
        return [*super().validate(), *image_size_problems(self.image_size, self.framing)]


def load_data(config: Data, seed: int) -> TaskData:
    """Images with texts: a folder or table, ``emoji``, or made-up ``scenes``.

    Raises:
        DataError: the source cannot be read, or the filter leaves nothing of it.
        ConfigError: options that have no effect on the source.
    """

    def choose(
        texts: Sequence[str], numbers: Sequence[int], sizes: Mapping[int, tuple[int, int]]
    ) -> tuple[list[int], str]:
        kept, audit = filter_captions(texts, numbers, config.captions, sizes)
        if len(kept) < 2:
            raise DataError(
                f"{config.source}: {len(kept)} of {len(texts)} pairs are left for training. {audit.note()}; loosen "
                "data.captions, or switch it off: --set data.captions.enabled=false"
            )
        return kept, audit.note()

    return image_text_task(
        config,
        seed,
        image_size=config.image_size,
        framing=config.framing,
        noise=config.noise,
        choose=choose if config.captions.enabled else None,
    )
