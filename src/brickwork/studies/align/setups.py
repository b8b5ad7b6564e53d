"""The arms of ALIGN's comparisons: the same small encoders on made-up scenes of known noise, searched on clean pairs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from brickwork.data.config import CaptionFilter
from brickwork.data.generators.scenes import COLOURS, SHAPES, Scene, draw, make_scenes
from brickwork.data.types import TaskData
from brickwork.evaluation.cross_modal import cross_modal_recall
from brickwork.studies.old import Scale, Trained, Workbench
from brickwork.systems.align.recipes import smoke
from brickwork.training.run import RunConfig

_STEPS = {"smoke": 150, "small": 700}
_FILTER = CaptionFilter(enabled=True, min_words=2)


def run_of(
    scale: Scale,
    seed: int,
    pairs: int,
    noise: str = "",
    *,
    filtered: bool = False,
    width: int = 96,
    **model: Any,
) -> RunConfig:
    """A run on ``pairs`` scenes, spoilt by ``noise`` (``mismatched=0.5,…``); equal steps and batches in every arm.

    ``filtered`` cleans them by the paper's rules, with texts from two words on, since the scenes' own have as few.
    """
    run = smoke()
    source = f"scenes:{noise}" if noise else "scenes"
    captions = _FILTER if filtered else CaptionFilter()
    steps = _STEPS.get(scale, _STEPS["small"])
    config = replace(run.model, **model)
    if width != 96:
        config = replace(config, image=replace(config.image, width=width))
    return replace(
        run,
        seed=seed,
        model=config,
        data=replace(run.data, source=source, limit=pairs, captions=captions),
        train=replace(run.train, steps=steps, save_every=0, validate_every=0),
    )


def recall(trained: Trained, part: str = "test") -> float:
    """Points of recall@1 among 500 clean pairs, the mean of both directions."""
    examples = getattr(trained.data, part)
    shown, said = vectors(trained, examples.columns["image"], examples.columns["text"])
    found = cross_modal_recall(shown, said, range(len(said)), (1,))
    return 50 * (found["text_to_image_recall@1"] + found["image_to_text_recall@1"])


def validation_recall(trained: Trained) -> float:
    """The same among the validation pairs: what settings are chosen by."""
    return recall(trained, "validation")


def vectors(trained: Trained, images: np.ndarray, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of pictures and of texts."""
    model = trained.system.representation()
    return model.encode(images, precision="fp32"), model.encode(list(texts), precision="fp32")


def cca_recall(bench: Workbench, run: RunConfig, dim: int = 32) -> float:
    """Points of recall@1 of canonical correlations between pixels and bags of words, the classical way to one space.

    Both sides are reduced to ``4·dim`` principal components first; the ridge is chosen on validation pairs.
    """
    from sklearn.decomposition import PCA, TruncatedSVD
    from sklearn.feature_extraction.text import CountVectorizer

    data = bench.data(run)
    bag = CountVectorizer().fit(data.train.columns["text"])
    pixels = PCA(4 * dim, random_state=0).fit(_pixels(data, "train"))
    bags = bag.transform(data.train.columns["text"])
    words = TruncatedSVD(min(4 * dim, bags.shape[1] - 1), random_state=0).fit(bags)

    def sides(part: str) -> tuple[np.ndarray, np.ndarray]:
        texts = getattr(data, part).columns["text"]
        return pixels.transform(_pixels(data, part)), words.transform(bag.transform(texts))

    x, y = sides("train")
    means = x.mean(0), y.mean(0)
    best = (-1.0, 0.0)
    for ridge in (1e-3, 1e-2, 1e-1, 1.0):
        maps = canonical_maps(x - means[0], y - means[1], dim, ridge)
        scores = [_cca_score(sides(part), means, maps) for part in ("validation", "test")]
        best = max(best, (scores[0], scores[1]))
    return best[1]


def canonical_maps(x: np.ndarray, y: np.ndarray, dim: int, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """The ``dim`` pairs of directions in which x (N, P) and y (N, Q), both centred, correlate most, scaled by the
    correlation (Hotelling 1936); ``ridge`` times the mean variance is added to both covariances."""

    def inverse_root(covariance: np.ndarray) -> np.ndarray:
        values, directions = np.linalg.eigh(
            covariance + ridge * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        )
        return directions / np.sqrt(values) @ directions.T

    left, right = inverse_root(x.T @ x / len(x)), inverse_root(y.T @ y / len(y))
    u, s, vt = np.linalg.svd(left @ (x.T @ y / len(x)) @ right)
    kept = min(dim, len(s))
    return left @ u[:, :kept] * s[:kept], right @ vt[:kept].T * s[:kept]


def _cca_score(
    sides: tuple[np.ndarray, np.ndarray],
    means: tuple[np.ndarray, np.ndarray],
    maps: tuple[np.ndarray, np.ndarray],
) -> float:
    shown, said = ((side - mean) @ matrix for side, mean, matrix in zip(sides, means, maps))
    shown, said = (v / np.linalg.norm(v, axis=1, keepdims=True).clip(1e-12) for v in (shown, said))
    found = cross_modal_recall(shown.astype(np.float32), said.astype(np.float32), range(len(said)), (1,))
    return 50 * (found["text_to_image_recall@1"] + found["image_to_text_recall@1"])


def _pixels(data: TaskData, part: str) -> np.ndarray:
    images = np.asarray(getattr(data, part).columns["image"])
    count, height, width, channels = images.shape
    halves = images.reshape(count, height // 2, 2, width // 2, 2, channels).mean((2, 4))
    return halves.reshape(count, -1) / 127.5 - 1


def labelled_scenes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of made-up scenes and the number of each one's shape; none was in a training part."""
    scenes = make_scenes(count, seed + 2_000_003)
    return _drawn(scenes, seed), np.asarray([SHAPES.index(scene.shape) for scene in scenes])


def recolouring(count: int, seed: int) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
    """Questions of picture and word: pictures, a colour for each, the pictures to choose from, and the right ones.

    Each question shows a scene and names another colour; the answer is the same scene in that colour. To choose from are
    all scenes of the questions, in every colour.
    """
    scenes = make_scenes(count, seed + 3_000_017)
    rng = np.random.default_rng([seed, 9])
    wanted = [str(rng.choice([c for c in COLOURS if c != scene.colour])) for scene in scenes]
    gallery = list(dict.fromkeys(replace(scene, colour=colour) for scene in scenes for colour in COLOURS))
    place = {scene: number for number, scene in enumerate(gallery)}
    answers = np.asarray([place[replace(scene, colour=colour)] for scene, colour in zip(scenes, wanted)])
    return _drawn(scenes, seed), wanted, _drawn(gallery, seed + 1), answers


def _drawn(scenes: Sequence[Scene], seed: int) -> np.ndarray:
    jitter = np.random.default_rng([seed, 7]).integers(-2, 3, size=(len(scenes), 2))
    return np.stack([draw(scene, (int(dx), int(dy))) for scene, (dx, dy) in zip(scenes, jitter)])
