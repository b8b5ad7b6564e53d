"""The models that the claims compare, and how they are read.

Every arm is this system under another objective: same data, seeds, examples seen and optimiser. Its learning rate is chosen
from the same three, on validation data (nearest neighbours of μ), for each objective and batch size apart. "No augmentation"
is meant literally: only ``info_nce_views`` ever sees a changed image.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from brickwork.studies.bench import PILOT_SEED, Trained
from brickwork.studies.study import Lab, Scale

if TYPE_CHECKING:
    import numpy as np

    from brickwork.data.types import Examples
    from brickwork.training.run import RunConfig

TEMPERATURES = (0.1, 0.5, 1.0)
READ_OUTS = ("5-NN cosine", "5-NN Euclidean", "linear", "SVM")
BATCH = 64
_PROBED = 3000


def images(scale: Scale) -> "RunConfig":
    """MNIST (10,000 images, MLPs 784-256-256, 64 dimensions, 3 epochs); at smoke, the digits of scikit-learn."""
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
    """The SMILES of ESOL without labels: one layer of width 64 reads, a recurrent network of 64 writes, 32 dimensions."""
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


def validation_score(trained: Trained) -> float:
    """Leave-one-out nearest neighbours of μ where there are labels, else how well validation data is known."""
    import numpy as np

    from brickwork.evaluation.codes import leave_one_out_accuracy

    part = trained.data.validation
    if "label" not in part.columns:
        return -trained.system.evaluate(part)["nll"]
    codes = embed(trained, part.columns["input"])
    return leave_one_out_accuracy(codes, np.asarray(part.columns["label"]))


def best_temperature(lab: Lab) -> float:
    """Of :data:`TEMPERATURES`, the one whose pilot (seed 0, at the rate that suits it) scores best on validation images."""
    run, bench = images(lab.scale), lab.bench

    def score(temperature: float) -> float:
        tuned = bench.tuned(objective(run, "cmim", temperature), validation_score)
        return validation_score(bench.train(replace(tuned, seed=PILOT_SEED)))

    return bench.best(("temperature", run.recipe), TEMPERATURES, score)


def embed(trained: Trained, inputs: Any, kind: str = "mean") -> "np.ndarray":
    """Embeddings as they are, not normalised."""
    if kind == "informative":
        return trained.system.informative(inputs, normalize=False)
    return trained.system.encode(inputs, normalize=False, precision="fp32")


def first_rows(part: "Examples", rows: int = _PROBED) -> tuple[Any, "np.ndarray"]:
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


def scores(trained: Trained) -> dict[str, float]:
    """The read-outs of μ on the test part, and what the system says of the test part itself (nll, kl, rank, …)."""
    left, labels = first_rows(trained.data.train)
    right, wanted = first_rows(trained.data.test)
    accuracies = read_outs(embed(trained, left), labels, embed(trained, right), wanted)
    return accuracies | trained.system.evaluate(trained.data.test.select(range(len(wanted))))
