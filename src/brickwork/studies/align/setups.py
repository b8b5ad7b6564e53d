"""The arms of ALIGN's comparisons: the same small encoders on made-up scenes of known noise, searched on clean pairs."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from brickwork.core.config import fingerprint
from brickwork.data.generators.scenes import COLOURS, SHAPES, Noise, Scene, draw, make_scenes, scene_pairs
from brickwork.data.types import Examples
from brickwork.evaluation.cross_modal import PROMPTS, cross_modal_recall, zero_shot
from brickwork.evaluation.probes import knn_probe, linear_probe, normalise
from brickwork.studies.bench import PILOT_SEED, Trained
from brickwork.studies.study import Lab, Scale
from brickwork.systems.align.caption_filters import CaptionFilter, filter_captions
from brickwork.systems.align.recipes import smoke
from brickwork.training.run import RunConfig

POOL = {"mismatched": 0.2, "boilerplate": 0.3, "rare": 0.1}
"""The noise of the raw pool that the filter cleans."""
_FILTER = CaptionFilter(enabled=True, min_words=2)
_LABELLED = (
    4000  # the first 500 to learn from, the others to be right on: one standard error is 0.8 points at most
)
_RIDGES = (1e-3, 1e-2, 1e-1, 1.0)


def pairs_at(scale: Scale) -> int:
    """Pairs of the smallest clean set."""
    return 500 if scale == "smoke" else 1000


def scenes(
    scale: Scale,
    pairs: int,
    noise: Mapping[str, float] | None = None,
    *,
    filtered: bool = False,
    width: int = 96,
    embedding_dim: int = 32,
    **model: Any,
) -> RunConfig:
    """A run on ``pairs`` scenes, spoilt by ``noise`` (shares by kind); equal steps and batches in every arm.

    ``filtered`` cleans them by the paper's rules, with texts from two words on, since the scenes' own have as few.
    """
    run = smoke()
    image = replace(run.model.image, width=width, embedding_dim=embedding_dim)
    captions = _FILTER if filtered else CaptionFilter()
    return replace(
        run,
        model=replace(run.model, image=image, **model),
        data=replace(run.data, noise=Noise(**(noise or {})), limit=pairs, captions=captions),
        train=replace(run.train, steps=150 if scale == "smoke" else 700, save_every=0, validate_every=0),
    )


def stopped_well(lab: Lab, run: RunConfig) -> RunConfig:
    """``run`` with the number of steps, from a sixteenth of its own, the budget of every arm, to all, whose model recalls
    validation pairs best; one pilot seed decides for all seeds.

    Where pairs are few a model is soon trained for too long, and a comparison of sets would be one of that.
    """
    factors = [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0]

    def of(factor: float) -> RunConfig:
        return replace(run, train=replace(run.train, steps=round(factor * run.train.steps)))

    def score(factor: float) -> float:
        return validation_recall(lab.bench.train(replace(of(factor), seed=PILOT_SEED)))

    return of(lab.bench.best(("steps", fingerprint(run)), factors, score))


def untrained(run: RunConfig) -> RunConfig:
    """The model of a run as good as untrained: one step that moves nothing."""
    return replace(run, train=replace(run.train, steps=1, learning_rate=1e-9))


# ---- what is measured ------------------------------------------------------------------------------------------


def vectors(trained: Trained, inputs: np.ndarray | Sequence[str]) -> np.ndarray:
    """Unit vectors (N, D) of images or of texts."""
    return trained.system.representation().encode(inputs, precision="fp32")


def recall(trained: Trained, part: str = "test") -> float:
    """Points of recall@1 among 500 clean pairs, the mean of both directions."""
    columns = getattr(trained.data, part).columns
    return _recall(vectors(trained, columns["image"]), vectors(trained, columns["text"]))


def validation_recall(trained: Trained) -> float:
    """The same among the validation pairs: what settings are chosen by."""
    return recall(trained, "validation")


def _recall(images: np.ndarray, texts: np.ndarray) -> float:
    scores = cross_modal_recall(images, texts, range(len(texts)), (1,))
    return 50 * (scores["text_to_image_recall@1"] + scores["image_to_text_recall@1"])


def kept_by_filter(trained: Trained, pool: int) -> dict[str, float]:
    """Kind of pair → share that the filter keeps of the raw pool of this seed."""
    _, texts, _, fate = scene_pairs(pool, trained.seed, Noise(**POOL))
    rows, _ = filter_captions(texts, range(pool), _FILTER)
    left = [fate[row] for row in rows]
    return {kind: left.count(kind) / fate.count(kind) for kind in sorted(set(fate))}


def named_shapes(trained: Trained) -> dict[str, float]:
    """Accuracy for eight shapes by their names alone, one or eight prompts, and by one label a class or 500 labels."""
    images, labels = labelled_scenes(_LABELLED, trained.seed)
    x, model = vectors(trained, images), trained.system.representation()
    single, ensemble = (
        100 * float((zero_shot(model, SHAPES, x[500:], prompts)[0] == labels[500:]).mean())
        for prompts in (("{}",), PROMPTS)
    )
    first = [int(np.flatnonzero(labels[:500] == number)[0]) for number in range(len(SHAPES))]
    return {
        "name alone": single,
        "8 prompts": ensemble,
        "1 label a class": 100 * knn_probe(x[first], labels[first], x[500:], labels[500:], k=1).accuracy,
        "500 labels": _probe(x, labels),
    }


def shape_probe(trained: Trained, of: str = "vectors") -> dict[str, float]:
    """Accuracy of a linear probe for shapes, on the model's frozen vectors of images or on all of their pixels."""
    images, labels = labelled_scenes(_LABELLED, trained.seed)
    features = all_pixels(images) if of == "pixels" else vectors(trained, images)
    return {"shape": _probe(features, labels)}


def all_pixels(images: np.ndarray) -> np.ndarray:
    """Every value of every image, as rows: shapes (N, H, W, C) → (N, H·W·C)."""
    return images.reshape(len(images), -1).astype(np.float32)


def _probe(x: np.ndarray, labels: np.ndarray) -> float:
    return 100 * linear_probe(x[:500], labels[:500], x[500:], labels[500:]).accuracy


def recoloured(trained: Trained, questions: int) -> dict[str, float]:
    """Precision@1 of an image and the name of another colour, which ask for the same scene in that colour, and of each
    alone."""
    images, colours, gallery, answers = recolouring(questions, trained.seed)
    x, words, choices = (vectors(trained, inputs) for inputs in (images, colours, gallery))
    queries = (("picture + word", x + words), ("picture", x), ("word", words))
    right = {name: 100 * float(((q @ choices.T).argmax(1) == answers).mean()) for name, q in queries}
    return {"to choose from": float(len(gallery)), **right}


# ---- canonical correlations, the classical way to one space ----------------------------------------------------


def cca_recall(trained: Trained, dim: int = 32) -> float:
    """Points of recall@1 of canonical correlations between pixels and bags of words, on the data of a model.

    Both sides are reduced to ``4·dim`` principal components first; the ridge is chosen on validation pairs.
    """
    from sklearn.decomposition import PCA, TruncatedSVD
    from sklearn.feature_extraction.text import CountVectorizer

    data = trained.data
    bag = CountVectorizer().fit(data.train.columns["text"])
    pixels = PCA(4 * dim, random_state=0).fit(_pixels(data.train))
    bags = bag.transform(data.train.columns["text"])
    words = TruncatedSVD(min(4 * dim, bags.shape[1] - 1), random_state=0).fit(bags)

    def sides(part: Examples) -> tuple[np.ndarray, np.ndarray]:
        return pixels.transform(_pixels(part)), words.transform(bag.transform(part.columns["text"]))

    x, y = sides(data.train)
    means = x.mean(0), y.mean(0)

    def score(part: Examples, maps: tuple[np.ndarray, np.ndarray]) -> float:
        mapped = ((side - mean) @ matrix for side, mean, matrix in zip(sides(part), means, maps))
        return _recall(*(normalise(side) for side in mapped))

    ridges = (canonical_maps(x - means[0], y - means[1], dim, ridge) for ridge in _RIDGES)
    return max((score(data.validation, maps), score(data.test, maps)) for maps in ridges)[1]


def canonical_maps(x: np.ndarray, y: np.ndarray, dim: int, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """The ``dim`` pairs of directions in which x (N, P) and y (N, Q), both centred, correlate most, scaled by the
    correlation (Hotelling 1936); ``ridge`` times the mean variance is added to both covariances."""

    def whitening(side: np.ndarray) -> np.ndarray:
        covariance = side.T @ side / len(side)
        loaded = covariance + ridge * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        return np.linalg.inv(np.linalg.cholesky(loaded)).T

    left, right = whitening(x), whitening(y)
    u, s, vt = np.linalg.svd(left.T @ (x.T @ y / len(x)) @ right, full_matrices=False)
    return left @ u[:, :dim] * s[:dim], right @ vt[:dim].T * s[:dim]


def _pixels(part: Examples) -> np.ndarray:
    """The images at half their side, as rows from −1 to 1."""
    images = np.asarray(part.columns["image"])
    count, height, width, channels = images.shape
    halves = images.reshape(count, height // 2, 2, width // 2, 2, channels).mean((2, 4))
    return halves.reshape(count, -1) / 127.5 - 1


# ---- scenes to ask about ---------------------------------------------------------------------------------------


@functools.cache
def labelled_scenes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of made-up scenes and the number of each one's shape; none was in a training part."""
    scenes = make_scenes(count, seed + 2_000_003)
    return _drawn(scenes, seed), np.asarray([SHAPES.index(scene.shape) for scene in scenes])


def recolouring(count: int, seed: int) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
    """Questions of image and word: images, a colour for each, the images to choose from, and the right ones.

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
