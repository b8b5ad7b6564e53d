"""The models that the claims compare, and how they are read.

Every arm is this system under another objective: same data, seeds, examples seen and optimiser. Its learning rate is chosen
from the same grid, on validation data (nearest neighbours of μ), for each objective and batch size apart. "No augmentation"
is meant literally: only ``info_nce_views`` ever sees a changed image.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from brickwork.studies.bench import PILOT_SEED, Trained
from brickwork.studies.study import Lab, Scale

if TYPE_CHECKING:
    from brickwork.data.types import Examples
    from brickwork.training.run import RunConfig

TEMPERATURES = (0.1, 0.5, 1.0)
READ_OUTS = ("5-NN cosine", "5-NN Euclidean", "linear", "SVM")
BATCH = 64
_PROBED = 3000


def images(scale: Scale) -> "RunConfig":
    """MNIST (10,000 images, MLPs 784-256-256, 64 dimensions, 10 epochs); at smoke, the digits of scikit-learn."""
    from brickwork.systems.cmim.recipes import small, smoke

    if scale == "smoke":
        run, width, steps, data = smoke(), 64, 60, {"test_share": 0.4}
    else:
        run, width, steps, data = small(), 256, 100_000 // BATCH, {"limit": 10_000}
    model = replace(
        run.model,
        encoder=replace(run.model.encoder, width=width),
        decoder=replace(run.model.decoder, width=width),
    )
    train = replace(run.train, steps=steps, batch_size=BATCH, save_every=0, validate_every=0)
    return replace(
        run, recipe=f"claims: {run.data.source}", model=model, data=replace(run.data, **data), train=train
    )


def molecules(scale: Scale) -> "RunConfig":
    """The SMILES of ESOL without labels: one layer of width 64 reads, a recurrent network of 64 writes, 32 dimensions."""
    from brickwork.systems.cmim.recipes import molecules as recipe

    run = recipe()
    steps, limit = (20, 300) if scale == "smoke" else (120, None)
    encoder = replace(run.model.encoder, width=64, num_layers=1, max_tokens=96, projection=32)
    train = replace(run.train, steps=steps, batch_size=32, learning_rate=4e-3, precision="fp32")
    return replace(
        run,
        recipe="claims: esol",
        model=replace(run.model, encoder=encoder, decoder=replace(run.model.decoder, width=64)),
        data=replace(run.data, source="esol", limit=limit),
        train=replace(train, save_every=0, validate_every=0),
    )


def with_batch(run: "RunConfig", batch: int) -> "RunConfig":
    """The same number of examples in batches of another size."""
    examples = run.train.steps * run.train.batch_size
    return replace(run, train=replace(run.train, steps=examples // batch, batch_size=batch))


def validation_score(trained: Trained) -> float:
    """Leave-one-out nearest neighbours of μ where there are labels, else minus the nats of validation data."""
    from brickwork.evaluation.codes import leave_one_out_accuracy

    part = trained.data.validation
    if "label" not in part.columns:
        return -trained.system.evaluate(part)["nll"]
    codes = embed(trained, part.columns["input"])
    return leave_one_out_accuracy(codes, np.asarray(part.columns["label"]))


def best_temperature(lab: Lab, objective: str) -> float:
    """Of :data:`TEMPERATURES`, the one whose pilot (seed 0, at the rate that suits it) scores best on validation images."""
    run, bench = images(lab.scale), lab.bench

    def score(temperature: float) -> float:
        model = replace(run.model, objective=objective, temperature=temperature)
        tuned = bench.tuned(replace(run, model=model), validation_score)
        return validation_score(bench.train(replace(tuned, seed=PILOT_SEED)))

    return bench.best(("temperature", objective, run.recipe), TEMPERATURES, score)


def embed(trained: Trained, inputs: Any) -> np.ndarray:
    """μ as it is, not normalised."""
    return trained.system.encode(inputs, normalize=False, precision="fp32")


def first_rows(part: "Examples") -> tuple[Any, np.ndarray]:
    """Inputs and labels of the first 3000 examples (sets are shuffled or drawn at random)."""
    return part.columns["input"][:_PROBED], np.asarray(part.columns["label"])[:_PROBED]


def scores(trained: Trained) -> dict[str, float]:
    """Accuracies in percent, read from μ of the test part by 5 nearest neighbours (cosine, Euclidean), logistic regression
    and a support vector machine; and what the system says of the test part itself (nll, kl, rank, …)."""
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    from brickwork.evaluation.probes import knn_probe, linear_probe

    inputs, labels = first_rows(trained.data.train)
    test_inputs, test_labels = first_rows(trained.data.test)
    train, test = embed(trained, inputs), embed(trained, test_inputs)
    near = KNeighborsClassifier(5).fit(train, labels)
    svm = make_pipeline(StandardScaler(), SVC()).fit(train, labels)
    accuracies = (
        knn_probe(train, labels, test, test_labels, k=5).accuracy,
        float(near.score(test, test_labels)),
        linear_probe(train, labels, test, test_labels).accuracy,
        float(svm.score(test, test_labels)),
    )
    own = trained.system.evaluate(trained.data.test.select(range(len(test_labels))))
    return {name: 100 * accuracy for name, accuracy in zip(READ_OUTS, accuracies)} | own
