"""What is compared, and on which texts.

Smoke: the made-up language, whose homonyms are easy. Small: natural texts (WikiText-2 small, Brown and other small corpora)
with 30 pseudo-words, of which 10 choose rates and ways of reading and 20 are scored; and the contexts of SemEval, learnt
from without their senses.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from brickwork.core.seeding import seed_everything
from brickwork.studies.bench import PILOT_SEED, Trained
from brickwork.studies.disambiguated_skipgram.measures import tuning_score
from brickwork.studies.disambiguated_skipgram.mssg import MultiSense
from brickwork.studies.study import Lab

if TYPE_CHECKING:
    from brickwork.training.run import RunConfig

DSG, MSSG, SKIPGRAM = "DSG", "MSSG", "skip-gram"
RATES = (0.5, 1.0, 2.0)
"""Of the recipe's learning rate, for each arm."""
PSEUDOWORDS = 30


def run_of(lab: Lab, source: str = "") -> "RunConfig":
    """The run that arms differ from; ``source``: other texts at scale small."""
    from brickwork.systems.disambiguated_skipgram.config import Config, Data
    from brickwork.systems.disambiguated_skipgram.recipes import smoke

    if lab.smoke:
        return smoke()
    if source:
        data = Data(source=source, also=("wikitext2",))
        return replace(smoke(), model=Config(epochs=3), data=data)
    data = Data(
        source="wikitext2", also=("domain_corpora",), pseudowords=PSEUDOWORDS, validation_share=0.0,
        test_share=0.1,
    )  # fmt: skip
    return replace(smoke(), model=Config(epochs=3), data=data)


def arms(lab: Lab, *names: str, source: str = "") -> dict[str, Callable[[int], Trained]]:
    """Name -> seed -> what was trained, each at the rate that suits it: as many epochs and tokens for all."""
    run = run_of(lab, source)
    changes: dict[str, dict[str, Any]] = {
        DSG: {},
        MSSG: {"pretraining": 0, "epochs": run.model.pretraining + run.model.epochs},
        SKIPGRAM: {"senses": 1, "pretraining": 0, "epochs": run.model.pretraining + run.model.epochs},
        "no first stage": {"pretraining": 0, "epochs": run.model.pretraining + run.model.epochs},
        "no noise": {"noise": False},
        "no entropy": {"entropy": 0.0, "pretraining_entropy": 0.0},
        "published λ": {"entropy": 0.0},
    }
    return {name: _at_its_rate(lab, run, name, changes[name]) for name in names}


def _at_its_rate(lab: Lab, run: "RunConfig", name: str, change: dict[str, Any]) -> Callable[[int], Trained]:
    plain = replace(run, model=replace(run.model, **change))
    key = ("rate", name, run.data.source, lab.scale)

    def at(factor: float, of: "RunConfig", seed: int) -> Trained:
        model = replace(of.model, learning_rate=factor * of.model.learning_rate)
        return _train(lab, replace(of, model=model, seed=seed), name == MSSG)

    def score(factor: float) -> float:
        return tuning_score(at(factor, _pilot(lab, plain), PILOT_SEED))

    def make(seed: int) -> Trained:
        factor = 1.0 if lab.bench.max_steps is not None else lab.bench.best(key, RATES, score)
        trained = at(factor, plain, seed)
        rate = factor * plain.model.learning_rate
        return replace(trained, learning_rate=rate, rates=tuple(f * plain.model.learning_rate for f in RATES))

    return lambda seed: lab.bench.memo((*key, "seed", seed), lambda: make(seed))


def _pilot(lab: Lab, run: "RunConfig") -> "RunConfig":
    """The texts that rates are chosen on: at scale small a fifth of them, whatever is measured later."""
    if lab.smoke:
        return run
    data = replace(
        run.data, source="wikitext2", also=(), pseudowords=PSEUDOWORDS, validation_share=0.0, test_share=0.1
    )
    return replace(run, data=data)


def _train(lab: Lab, run: "RunConfig", clusters: bool) -> Trained:
    if not clusters:
        return lab.bench.train(run)
    return lab.bench.memo(("clusters", run), lambda: _train_clusters(lab, run))


def _train_clusters(lab: Lab, run: "RunConfig") -> Trained:
    lab.bench.progress(f"training {MSSG}, seed {run.seed}")
    data = lab.bench.data(run)
    seed_everything(run.seed)
    system = MultiSense.build(run.model, data, None, run.seed)
    return replace(lab.bench.fit(system, data.train, run.train, run.seed), data=data)
