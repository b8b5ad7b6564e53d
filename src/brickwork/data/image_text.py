"""Images with texts as a learning task: the user's own, emoji, or made-up scenes."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from brickwork.core.errors import ConfigError, DataError
from brickwork.core.framing import Framing
from brickwork.data import splits
from brickwork.data.config import DataConfig
from brickwork.data.generators.scenes import Noise, scene_pairs
from brickwork.data.readers.captions import Captioned, fingerprint, read_captions
from brickwork.data.readers.images import DEFAULT_SIDE, Shape, decode
from brickwork.data.sets.sources import locate
from brickwork.data.types import Examples, TaskData

Choose = Callable[[Sequence[str], Sequence[int], Mapping[int, tuple[int, int]]], tuple[list[int], str]]
"""Which training pairs to keep, and a note about it: from the texts, the number of each text's image, and the width and
height of images where they are known."""

_SCENES = 4000
_HELD_OUT_SCENES = 500


def image_text_task(
    config: DataConfig,
    seed: int,
    *,
    image_size: int | None = None,
    framing: Framing | None = None,
    noise: Noise | None = None,
    choose: Choose | None = None,
) -> TaskData:
    """Pairs of images and texts: columns ``image`` (uint8) and ``text``; ``image_group`` and ``text_group`` are
    numbers that are equal for equal pixels and equal texts.

    ``source``: a folder or table of :func:`read_captions`; ``emoji``; or ``scenes``, made-up images, of which ``noise``
    spoils some (what is held out is clean). ``image_size``: the side of squares of all but the scenes; ``framing``: in
    its place, how a pretrained model takes them. An image or a text is
    wholly in one part. ``choose`` cleans the training part.

    Raises:
        DataError: nothing that can be used, or ``choose`` leaves nothing.
        ConfigError: noise or a size that has no effect on the source.
    """
    noise = noise or Noise()
    if config.source == "scenes":
        if image_size is not None:
            raise ConfigError(f"data.image_size={image_size} has no effect with scenes; leave it out")
        return _scenes(config, noise, seed, choose)
    if noise != Noise():
        raise ConfigError(f"data.noise has no effect with '{config.source}', only with scenes; leave it out")
    side = image_size or DEFAULT_SIDE
    shape = framing or (side, side, 3)
    if config.source == "emoji":
        train, test = (_emoji(part, config, shape) for part in ("train", "test"))
        parts = _split(train, config, seed, test=False)
        return _task("emoji", train, parts, choose, test=test)
    captioned = read_captions(
        Path(config.source), shape, config.columns, config.limit, allow_outside=config.allow_outside
    )
    return _task(Path(config.source).name, captioned, _split(captioned, config, seed, test=True), choose)


def _scenes(config: DataConfig, noise: Noise, seed: int, choose: Choose | None) -> TaskData:
    count = config.limit or _SCENES
    images, texts, _, _ = scene_pairs(count, seed, noise)
    held_out = 2 * _HELD_OUT_SCENES
    clean, clean_texts, _, _ = scene_pairs(held_out, seed + 1_000_003, missing=0.0)
    every = Captioned(
        [f"scene {n}" for n in range(count + held_out)],
        np.concatenate([images, clean]),
        [*texts, *clean_texts],
        list(range(count + held_out)),
    )
    middle = count + _HELD_OUT_SCENES
    parts = splits.Parts(
        list(range(count)), list(range(count, middle)), list(range(middle, count + held_out))
    )
    return _task(config.source, every, parts, choose)


def _emoji(part: str, config: DataConfig, shape: Shape | Framing) -> Captioned:
    """Images of emoji, each with its name and its aliases as texts."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(locate("emoji") / "emoji" / "emoji64.parquet").to_pylist()
    rows = [row for row in table if row["split"] == part]
    rows = [rows[number] for number in splits.pick(len(rows), config.limit)]
    images = np.stack([decode(io.BytesIO(row["image"]), shape) for row in rows])
    captioned = Captioned([], images, [], [])
    for number, row in enumerate(rows):
        captioned.names.append(row["description"])
        aliases = [alias.replace("_", " ") for alias in row["aliases"]] if part == "train" else []
        for text in dict.fromkeys([row["description"], *aliases]):
            captioned.texts.append(text)
            captioned.image_of.append(number)
    return captioned


def _split(captioned: Captioned, config: DataConfig, seed: int, *, test: bool) -> splits.Parts:
    seen = [fingerprint(image) for image in captioned.images]  # an image may be there under two names
    groups_of_images = [seen[number] for number in captioned.image_of]
    groups = splits.connect(groups_of_images, captioned.texts)
    return splits.split(
        [str(group) for group in groups],
        validation_share=config.validation_share,
        test_share=config.test_share if test else 0.0,
        max_held_out=config.max_held_out,
        seed=seed,
    )


def _task(
    name: str,
    captioned: Captioned,
    parts: splits.Parts,
    choose: Choose | None,
    test: Captioned | None = None,
) -> TaskData:
    train, notes = parts.train, list(captioned.notes)
    if choose is not None and parts.train:
        texts, numbers = [captioned.texts[row] for row in train], [captioned.image_of[row] for row in train]
        kept, note = choose(texts, numbers, dict(enumerate(captioned.sizes)))
        train, notes = [train[row] for row in kept], [*notes, note]
    if len(train) < 2 and len(parts.train):
        raise DataError(
            f"{name}: {len(train)} of {len(parts.train)} pairs are left for training. {'; '.join(notes)}; give more, or "
            "loosen what they are chosen by"
        )
    held_out = captioned if test is None else test
    test_rows = parts.test if test is None else list(range(len(test.texts)))
    return TaskData(
        name=name,
        kind="pairs",
        modality="image-text",
        train=_examples(captioned, train),
        validation=_examples(captioned, parts.validation),
        test=_examples(held_out, test_rows),
        notes=tuple(notes),
    )


def _examples(captioned: Captioned, rows: list[int]) -> Examples:
    numbers = [captioned.image_of[row] for row in rows]
    seen = {number: fingerprint(captioned.images[number]) for number in dict.fromkeys(numbers)}
    texts = [captioned.texts[row] for row in rows]
    return Examples(
        {
            "image": captioned.images[numbers],
            "text": texts,
            "image_group": splits.group_numbers(seen[number] for number in numbers),
            "text_group": splits.group_numbers(map(splits.normalised, texts)),
        }
    )
