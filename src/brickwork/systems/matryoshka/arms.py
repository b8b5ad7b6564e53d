"""The models that the claims compare, and how they are read.

Every arm is this system with other ``dims`` and ``weights``: same data, seeds, steps, optimiser and learning rate.
The learning rate of each set-up suits the ordinary model; it is not tuned for either side (the paper re-tuned nothing for
MRL). AdamW does not notice that a sum of k losses has a larger gradient.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from brickwork.evaluation.claims import ArmCost, Scale, Trained, Workbench, arm_cost

if TYPE_CHECKING:
    import numpy as np

    from brickwork.training.run import RunConfig


# ---- set-ups ---------------------------------------------------------------------------------------------------


def digits() -> "RunConfig":
    """Digits of scikit-learn, perceptron 64-256-256-64, 40 epochs; half of the images are held out."""
    from brickwork.systems.matryoshka.recipes import smoke

    run = smoke()
    encoder = replace(run.model.encoder, embedding_dim=64, width=256, depth=2)
    return replace(
        run,
        recipe="claims: digits",
        model=replace(run.model, encoder=encoder, dims=(4, 8, 16, 32, 64)),
        data=replace(run.data, test_share=0.45),
        train=replace(run.train, steps=560, save_every=0, validate_every=0),
    )


def cifar10() -> "RunConfig":
    """CIFAR-10 (JPEG), averaged to 16 × 16, perceptron 768-512-512-128, 2 epochs.

    A perceptron, since 21 trainings of a convolutional network do not fit into the time of this scale.
    """
    from brickwork.systems.matryoshka.recipes import images

    run = images()
    encoder = replace(run.model.encoder, architecture="mlp", width=512, depth=2, shrink=2)
    return replace(
        run,
        recipe="claims: cifar10",
        model=replace(run.model, encoder=encoder),
        train=replace(
            run.train, steps=750, learning_rate=1e-3, precision="fp32", save_every=0, validate_every=0
        ),
    )


def tiny_imagenet() -> "RunConfig":
    """Tiny-ImageNet-100 averaged to 16 × 16, small residual network of 128 numbers, 100 classes, 3 epochs."""
    from brickwork.systems.matryoshka.recipes import images

    run = images()
    return replace(
        run,
        recipe="claims: tiny_imagenet100",
        model=replace(run.model, encoder=replace(run.model.encoder, width=8, shrink=4), dims=(8, 32, 128)),
        data=replace(run.data, source="tiny_imagenet100"),
        train=replace(run.train, steps=450, precision="fp32", save_every=0, validate_every=0),
    )


def mnist(scale: Scale) -> "RunConfig":
    """MNIST as the database, perceptron to 256 numbers."""
    run = digits()
    encoder = replace(run.model.encoder, embedding_dim=256)
    small = scale != "smoke"
    return replace(
        run,
        recipe="claims: mnist",
        model=replace(run.model, encoder=encoder, dims=(8, 16, 32, 64, 128, 256)),
        data=replace(
            run.data, source="mnist" if small else "digits", validation_share=0.0 if small else 0.05
        ),
        train=replace(
            run.train, steps=800 if small else 560, batch_size=128 if small else 64, learning_rate=1e-3
        ),
    )


def text(scale: Scale) -> "RunConfig":
    """Text pairs, the mean of token vectors from scratch: the made-up language, or AG News titles and descriptions."""
    from brickwork.systems.matryoshka.recipes import static

    run = static()
    small = scale != "smoke"
    encoder = replace(
        run.model.encoder, width=256 if small else 64, max_tokens=64, vocab_size=8000 if small else 500
    )
    return replace(
        run,
        recipe="claims: text",
        model=replace(
            run.model, encoder=encoder, dims=(8, 16, 32, 64, 128, 256) if small else (8, 16, 32, 64)
        ),
        data=replace(run.data, source="ag_news") if small else replace(run.data, source="toy", limit=5000),
        train=replace(
            run.train,
            steps=200 if small else 60,
            batch_size=128 if small else 32,
            save_every=0,
            validate_every=0,
        ),
    )


# ---- the arms --------------------------------------------------------------------------------------------------


def train_arm(bench: Workbench, run: "RunConfig", seed: int, **model: Any) -> Trained:
    """The run with other fields of its model; without any, MRL itself."""
    return bench.train(replace(run, seed=seed, model=replace(run.model, **model)))


def train_ordinary(bench: Workbench, run: "RunConfig", seed: int) -> Trained:
    """The loss at full width only."""
    return train_arm(bench, run, seed, dims=run.model.dims[-1:])


def train_fixed(bench: Workbench, run: "RunConfig", seed: int, dim: int) -> Trained:
    """FF-m: the backbone keeps its width D, the loss reads m features."""
    full = run.model.dims[-1]
    return (
        train_ordinary(bench, run, seed)
        if dim == full
        else train_arm(bench, run, seed, dims=(dim, full), weights=(1.0, 0.0))
    )


def train_family(
    bench: Workbench, run: "RunConfig", seeds: Sequence[int]
) -> tuple[list[Trained], dict[int, list[Trained]]]:
    """MRL for every seed, and FF-m for every m and seed."""
    nested = [train_arm(bench, run, seed) for seed in seeds]
    return nested, {m: [train_fixed(bench, run, seed, m) for seed in seeds] for m in run.model.dims}


def family_costs(nested: list[Trained], fixed: dict[int, list[Trained]]) -> list[ArmCost]:
    """What both sides cost, for the record."""
    return [arm_cost("MRL", nested), *(arm_cost(f"FF-{m}", arms) for m, arms in fixed.items())]


# ---- what is measured ------------------------------------------------------------------------------------------


def full_vectors(trained: Trained, inputs: Any) -> "np.ndarray":
    """Full-width vectors, not normalised."""
    return trained.system.representation().encode(inputs, normalize=False, precision="fp32")


def head_logits(trained: Trained, features: "np.ndarray", dim: int) -> "np.ndarray":
    """What the trained linear head says about a prefix. Shapes: (N, D) → (N, C)."""
    import torch

    with torch.no_grad():
        return trained.system.head.at(torch.from_numpy(features[:, :dim])).numpy()


def held_out(trained: Trained, rows: int = 4000) -> tuple[Any, "np.ndarray"]:
    """Inputs and labels of the first ``rows`` of the test part (sets are shuffled)."""
    import numpy as np

    test = trained.data.test.columns
    return test["input"][:rows], np.asarray(test["label"])[:rows]


def head_accuracy(trained: Trained, features: "np.ndarray", labels: "np.ndarray", dim: int) -> float:
    """Top-1 of the trained linear head on a prefix, in percent."""
    return 100 * float((head_logits(trained, features, dim).argmax(1) == labels).mean())
