"""The models that the claims compare, and how they are read.

Every arm is this system under another objective: same data, seeds, examples seen and optimiser. Its learning rate is chosen
from the same three, on validation data (nearest neighbours of μ), for each objective and batch size apart. "No augmentation"
is meant literally: only ``info_nce_views`` ever sees a changed image.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from brickwork.studies.old import Scale, Trained, Workbench
from brickwork.studies.tuning import tuned

if TYPE_CHECKING:
    import numpy as np

    from brickwork.data.types import Examples
    from brickwork.training.run import RunConfig

TEMPERATURES = (0.1, 0.5, 1.0)
BATCH = 64
_PROBED = 3000


def images(scale: Scale) -> "RunConfig":
    """MNIST (10,000 images, perceptrons 784-256-256, 64 numbers, 3 epochs); at smoke, the digits of scikit-learn."""
    from brickwork.systems.cmim.recipes import small, smoke

    if scale == "smoke":
        run = smoke()
        train = replace(run.train, steps=60, batch_size=BATCH)
        data = replace(run.data, test_share=0.4)
    else:
        run = small()
        train = replace(run.train, steps=30_000 // BATCH, batch_size=BATCH)
        data = replace(run.data, limit=10_000)
        coded = replace(run.model.encoder, width=256)
        run = replace(
            run, model=replace(run.model, encoder=coded, decoder=replace(run.model.decoder, width=256))
        )
    return replace(
        run,
        recipe=f"claims: {data.source}",
        data=data,
        train=replace(train, save_every=0, validate_every=0),
    )


def molecules(scale: Scale) -> "RunConfig":
    """The SMILES of ESOL without labels: one layer of width 64 reads, a recurrent network of 64 writes, 32 numbers."""
    from brickwork.systems.cmim.recipes import molecules as recipe

    run = recipe()
    encoder = replace(run.model.encoder, width=64, num_layers=1, max_tokens=96, projection=32)
    steps = 20 if scale == "smoke" else 120
    return replace(
        run,
        recipe="claims: esol",
        model=replace(run.model, encoder=encoder, decoder=replace(run.model.decoder, width=64)),
        data=replace(run.data, source="esol", limit=300 if scale == "smoke" else None),
        train=replace(
            run.train,
            steps=steps,
            batch_size=32,
            learning_rate=4e-3,
            precision="fp32",
            save_every=0,
            validate_every=0,
        ),
    )


def objective(run: "RunConfig", terms: str, temperature: float | None = None) -> "RunConfig":
    """The same run under another objective."""
    return replace(run, model=replace(run.model, objective=terms, temperature=temperature))


def with_batch(run: "RunConfig", batch: int) -> "RunConfig":
    """The same number of examples in batches of another size."""
    examples = run.train.steps * run.train.batch_size
    return replace(run, train=replace(run.train, steps=examples // batch, batch_size=batch))


def train_arm(bench: Workbench, run: "RunConfig", seed: int) -> Trained:
    """The run at the rate that suits it."""
    return bench.train(replace(tuned(bench, run, validation_score), seed=seed))


def train_objective(
    bench: Workbench, run: "RunConfig", seeds: Sequence[int], terms: str, temperature: float | None = None
) -> list[Trained]:
    """One objective, all seeds."""
    return [train_arm(bench, objective(run, terms, temperature), seed) for seed in seeds]


def validation_score(trained: Trained) -> float:
    """Leave-one-out nearest neighbours of μ where there are labels, else how well validation data is known."""
    import numpy as np

    from brickwork.evaluation.codes import leave_one_out_accuracy

    found = trained.data.validation
    if "label" not in found.columns:
        return -trained.system.evaluate(found)["nll"]
    codes = embed(trained, found.columns["input"])
    return leave_one_out_accuracy(codes, np.asarray(found.columns["label"]))


def best_temperature(bench: Workbench, run: "RunConfig", terms: str) -> float:
    """Of :data:`TEMPERATURES`, the one whose pilot (seed 0) scores best on validation data."""
    scores = {t: validation_score(train_arm(bench, objective(run, terms, t), 0)) for t in TEMPERATURES}
    return max(TEMPERATURES, key=scores.__getitem__)


def embed(trained: Trained, inputs: Any, kind: str = "mean") -> "np.ndarray":
    """Embeddings as they are, not normalised."""
    if kind == "informative":
        return trained.system.informative(inputs, normalize=False)
    return trained.system.encode(inputs, normalize=False, precision="fp32")


def rows_of(part: "Examples", rows: int = _PROBED) -> tuple[Any, "np.ndarray"]:
    """Inputs and labels of the first ``rows`` examples (sets are shuffled or drawn at random)."""
    import numpy as np

    return part.columns["input"][:rows], np.asarray(part.columns["label"])[:rows]


def read_outs(
    train: "np.ndarray", train_labels: "np.ndarray", test: "np.ndarray", test_labels: "np.ndarray"
) -> dict[str, float]:
    """Accuracy in percent of 5 nearest neighbours (cosine, Euclidean), logistic regression, a support vector machine."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    from brickwork.evaluation.probes import knn_probe, linear_probe

    near = KNeighborsClassifier(5).fit(train, train_labels)
    svm = make_pipeline(StandardScaler(), SVC()).fit(train, train_labels)
    return {
        "5-NN cosine": 100 * knn_probe(train, train_labels, test, test_labels, k=5).accuracy,
        "5-NN Euclidean": 100 * float(near.score(test, test_labels)),
        "linear": 100 * linear_probe(train, train_labels, test, test_labels).accuracy,
        "SVM": 100 * float(svm.score(test, test_labels)),
    }


def scores_of(bench: Workbench, trained: Trained) -> dict[str, float]:
    """The read-outs of μ on the test part, and its numbers of the test part, computed once for each model."""

    def measure() -> dict[str, float]:
        left, labels = rows_of(trained.data.train)
        right, wanted = rows_of(trained.data.test)
        found = read_outs(embed(trained, left), labels, embed(trained, right), wanted)
        return found | trained.system.evaluate(trained.data.test.select(range(len(wanted))))

    return bench.memo(("scores", id(trained)), measure)


def principal(train: "np.ndarray", dim: int) -> Any:
    """A function that brings vectors to ``dim`` numbers: the principal components of ``train``."""
    from sklearn.decomposition import PCA

    fitted = PCA(min(dim, *train.shape), random_state=0).fit(train)
    return fitted.transform


def ridge_rmse(vectors: "np.ndarray", values: "np.ndarray", seed: int) -> float:
    """Root mean square error of ridge regression on standardised vectors, 5-fold, strength chosen inside each fold."""
    import numpy as np
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    folds = KFold(5, shuffle=True, random_state=seed)
    return float(np.sqrt(np.square(cross_val_predict(model, vectors, values, cv=folds) - values).mean()))
