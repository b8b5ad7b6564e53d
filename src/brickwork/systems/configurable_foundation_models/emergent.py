"""Emergent bricks: which neurons of a finished language model serve which domain, and what erasing them costs.

Xiao et al.: Configurable Foundation Models, arXiv 2409.02877, section 4.

| paper            | here           | shape     | meaning                                                             |
|------------------|----------------|-----------|---------------------------------------------------------------------|
| FFN_I(x)_i       | a_i            |           | factor of neuron i's output weights; of a gated layer the product   |
|                  | text_activity  | (N, L, M) | mean of |a_i| over the tokens of a text                             |
| FuncScore(n, f)  | score          | (F, L, M) | average precision of that as a detector of domain f                 |
|                  | null_score     | (F, L, M) | the same with the labels of the texts in another order, one for each |
|                  | brick          | (L, M)    | the 5 % of all neurons with the highest score for f                 |
| (resident)       | residents      | (L, M)    | the 5 % of each layer that are the most active whatever the domain  |
| Fig. 9           | matrix         | (R, F)    | rise of perplexity in %: rows erased, columns measured              |
| Figs. 6, 7       | thin           | (I, S)    | rise of the loss with a share of neurons left out, token by token   |
| Fig. 10          | overlap        | (F, F)    | of the bricks of two domains                                        |

Texts of a domain are halved: scores come from the first half, all that is measured from the second. The language model is
not in the state, and is read again where it is needed. Differences from the paper: see README.md.

Shape legend: N texts, L layers, M neurons of a layer, F domains, R erased rows, E groups, I indicators, S shares.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from brickwork.core.config import to_dict
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.seeding import generator_for
from brickwork.data.types import Examples, TaskData
from brickwork.modules.bricks import check_name
from brickwork.modules.ffn_split import balanced_groups, feed_forwards, random_groups
from brickwork.modules.model_hash import differences, model_hash
from brickwork.representation.contract import complete
from brickwork.representation.language_models import load_language_model
from brickwork.systems.configurable_foundation_models.config import BricksConfig
from brickwork.systems.configurable_foundation_models.data import halves
from brickwork.systems.configurable_foundation_models.erasing import (
    INDICATORS,
    SHARES,
    domain_nats,
    per_token,
    perplexity_rise,
    silenced,
    thinned,
    window_nats,
)
from brickwork.systems.configurable_foundation_models.found_bricks import save_found, save_without
from brickwork.systems.configurable_foundation_models.found_tables import found_tables
from brickwork.systems.configurable_foundation_models.neurons import (
    functional_scores,
    neuron_places,
    one_vs_rest,
    overlap,
    residents,
    shuffled,
    text_activity,
    top_neurons,
)

_THINNED = 3  # texts of each domain for the curve of neurons left out
_CLUSTER_STEPS = 30  # of the groups of a layer


@complete
class EmergentBricks(nn.Module):
    """What was found out about each neuron. ``shape``: layers and neurons; ``base``: hash of the language model."""

    reads = ("texts",)
    input_kind = "texts"
    about: ClassVar[dict[str, Any]] = {
        "name": "The emergent bricks of a language model",
        "summary": "Which neurons of a language model serve which domain of texts, and what erasing them costs each domain.",
        "capabilities": ["predicts", "evaluates", "analyses", "draws", "bricks"],
    }
    score: Tensor
    null_score: Tensor
    null_best: Tensor
    null_mean: Tensor
    null_overlap: Tensor
    activity: Tensor
    spread: Tensor
    groups: Tensor
    thin: Tensor
    nats: Tensor

    def __init__(
        self, config: BricksConfig, *, seed: int, domains: Sequence[str], shape: Sequence[int], base: str
    ):
        super().__init__()
        assert config.find is not None, "the system's variant looks at it"
        self.config, self.find, self.seed, self.base = config, config.find, seed, base
        self.domains, self.shape = tuple(domains), (int(shape[0]), int(shape[1]))
        self.facts: dict[str, Any] = {}
        self._held: tuple[Any, ...] = ()  # in a tuple: no module of this one
        domains_, own = len(self.domains), self.shape
        for name, size in {
            "score": (domains_, *own), "null_score": (domains_, *own), "activity": own, "spread": own,
            "null_best": (domains_, own[0]), "null_mean": (domains_, own[0]),
            "null_overlap": (domains_, domains_), "thin": (len(INDICATORS), len(SHARES)),
            "nats": (1 + len(self.rows()), domains_),
        }.items():  # fmt: skip
            self.register_buffer(name, torch.zeros(size))
        self.register_buffer("groups", torch.zeros(own, dtype=torch.int64))

    @staticmethod
    def build(config: BricksConfig, data: TaskData, assets: Path | None, seed: int) -> "EmergentBricks":
        """The system for a language model and for domains of texts.

        Raises:
            ArtifactError: the language model is missing, damaged or none.
            ConfigError: it has no neurons that can be told apart, or does not read so many tokens.
            DataError: one domain alone, or one with too few texts.
        """
        assert config.find is not None, "the system's variant looks at it"
        assert isinstance(config.base, str), "checked by the configuration"
        domains = [str(name) for name in data.train.columns["domain"]]
        names = sorted(set(domains))
        for name in names:
            check_name(name)
        halves(domains, config.find.texts)
        lm = load_language_model(config.base, config.revision)
        if (limit := getattr(lm, "max_positions", None)) is not None and config.context > limit:
            raise ConfigError(
                f"context={config.context} is more than the {limit} that the base reads; use at most these"
            )
        return EmergentBricks.of(lm, config, names, seed)

    @staticmethod
    def of(lm: Any, config: BricksConfig, domains: Sequence[str], seed: int) -> "EmergentBricks":
        """The system for a language model that is there; only what it finds is kept, and the name that ``config`` has for
        the model.

        Raises:
            ConfigError: it has no neurons that can be told apart, or they do not divide into groups.
        """
        assert config.find is not None, "the system's variant looks at it"
        places = neuron_places(lm, str(config.base))
        try:
            random_groups(places[0].parts, config.find.groups)
        except ConfigError as error:
            raise ConfigError(f"model.find.groups={config.find.groups}: {error}") from error
        facts: dict[str, Any] = {
            "domains": list(domains),
            "shape": [len(places), places[0].parts],
            "base": _hash(lm),
        }
        system = EmergentBricks(config, seed=seed, **facts)
        system._held, system.facts = (lm,), facts
        return system

    def architecture(self) -> dict[str, Any]:
        """Without the language model, which is no part of the state."""
        return {"config": to_dict(self.config), "facts": self.facts}

    @property
    def lm(self) -> Any:
        """The language model, read when it is first needed.

        Raises:
            ArtifactError: it is not there any more, or is another one now.
        """
        if not self._held:
            lm = load_language_model(str(self.config.base), self.config.revision)
            if differ := differences(_hash(lm), self.base):
                raise ArtifactError(
                    f"{self.config.base} is not the model that was looked into: it differs in {differ}; run it anew"
                )
            self._held = (lm.to(self.score.device),)
        return self._held[0]

    # ---- finding ----------------------------------------------------------------------------------------------

    def rows(self) -> list[str]:
        """What is erased in each row of the matrix: every domain, again without residents, and what chance chose."""
        every = [f"{name}{kind}" for kind in ("", ", no residents") for name in self.domains]
        return [*every, *(f"chance {number + 1}" for number in range(self._nulls))]

    @property
    def _nulls(self) -> int:
        return min(self.find.nulls, len(self.domains))

    def foretell(self, examples: Examples) -> str:
        """How long finding takes here, from reading a few texts."""
        split = halves([str(name) for name in examples.columns["domain"]], self.find.texts)
        texts = list(examples.columns["input"])
        some = [texts[row] for row in split.scored[:: max(1, len(split.scored) // 4)]][:4]
        began = time.perf_counter()
        _, counts = window_nats(self.lm, some, self.config.context)
        seconds = (time.perf_counter() - began) / max(counts.sum(), 1)
        left_out = min(_THINNED * len(self.domains), len(split.measured)) * len(INDICATORS) * len(SHARES)
        passes = len(split.scored) + len(split.measured) * (1 + len(self.rows())) + left_out
        tokens = passes * counts.mean()
        return (
            f"finding reads about {tokens:,.0f} tokens of {len(split.scored) + len(split.measured)} texts at "
            f"{1 / max(seconds, 1e-9):,.0f} tokens a second: about {tokens * seconds / 60:.1f} minutes, and groups"
        )

    def fit(self, examples: Examples, *, start: int) -> Iterator[float]:
        """Scores; groups, a layer a round; neurons left out by token; then a row of the matrix a round."""
        texts, domains = list(examples.columns["input"]), [str(name) for name in examples.columns["domain"]]
        split = halves(domains, self.find.texts)
        layers, rows = self.shape[0], 1 + len(self.rows())
        rounds = 1 + layers + 1 + rows
        for number in range(start, rounds):
            if number == 0:
                self._score([texts[row] for row in split.scored], [domains[row] for row in split.scored])
            elif number <= layers:
                self._group(number - 1)
            elif number == layers + 1:
                own = [[row for row in split.measured if domains[row] == name] for name in self.domains]
                self._thin([texts[row] for some in own for row in some[:_THINNED]])
            else:
                measured = split.measured
                self._erase(
                    number - layers - 2, [texts[row] for row in measured], [domains[row] for row in measured]
                )
            yield (number + 1) / rounds

    def _score(self, texts: Sequence[str], domains: Sequence[str]) -> None:
        find = self.find
        activity = text_activity(self.lm, texts, self.config.context, find.activation)
        labels = one_vs_rest(domains, self.domains)
        self.activity.copy_(activity.mean(0))
        self.spread.copy_(activity.std(0))
        self.score.copy_(functional_scores(activity, labels, find.direction))
        best, mean, shares = [], [], []
        times = max(find.permutations, len(self.domains))
        for number, other in enumerate(shuffled(labels, times, generator_for(self.seed, 0, "labels"))):
            by_chance = functional_scores(activity, other, find.direction)
            best.append(by_chance.amax(2))
            mean.append(by_chance.mean(2))
            shares.append(overlap(torch.stack([top_neurons(one, find.share) for one in by_chance])))
            if number < len(
                self.domains
            ):  # an order of its own for each domain, so that no two exclude each other
                self.null_score[number] = by_chance[number].to(self.null_score.device)
        self.null_best.copy_(torch.stack(best).mean(0))
        self.null_mean.copy_(torch.stack(mean).mean(0))
        self.null_overlap.copy_(torch.stack(shares).mean(0))

    def _group(self, layer: int) -> None:
        half = feed_forwards(self.lm)[f"layers.{layer}.ffn"]
        labels = balanced_groups(half.keys(), self.find.groups, self.seed, iterations=_CLUSTER_STEPS)
        self.groups[layer] = labels.to(self.groups.device)

    def _thin(self, texts: Sequence[str]) -> None:
        sums, counts = window_nats(self.lm, texts, self.config.context)
        whole = sums.sum() / counts.sum()
        for row, indicator in enumerate(INDICATORS):
            for column, share in enumerate(SHARES):
                generator = generator_for(self.seed, column, "thinned")
                with thinned(self.lm, share, indicator, generator):
                    sums, counts = window_nats(self.lm, texts, self.config.context)
                self.thin[row, column] = float(sums.sum() / counts.sum() - whole)

    def _erase(self, row: int, texts: Sequence[str], domains: Sequence[str]) -> None:
        def measured() -> Tensor:
            return torch.from_numpy(domain_nats(self.lm, texts, domains, self.domains, self.config.context))

        if row == 0:
            self.nats[0] = measured()
            return
        with silenced(self.lm, self.erased(row - 1)):
            self.nats[row] = measured()

    # ---- what was found ---------------------------------------------------------------------------------------

    def erased(self, row: int) -> Bool[Tensor, "layers neurons"]:
        """The neurons that row ``row`` of the matrix is without."""
        number = len(self.domains)
        if row < 2 * number:
            return self.brick(self.domains[row % number], residents=row < number)
        return top_neurons(self.null_score[row - 2 * number], self.find.share)

    def brick(self, domain: str, *, residents: bool = False) -> Bool[Tensor, "layers neurons"]:
        """The neurons of a domain's emergent brick, with or without those that serve every domain.

        Raises:
            ConfigError: no such domain.
        """
        if domain not in self.domains:
            raise ConfigError(f"there is no domain '{domain}'; there are {', '.join(self.domains)}")
        score = self.score[self.domains.index(domain)]
        return top_neurons(score, self.find.share, None if residents else self.residents())

    def residents(self) -> Bool[Tensor, "layers neurons"]:
        """The neurons that are active whatever the domain."""
        return residents(self.activity, self.find.share)

    def matrix(self) -> Float[np.ndarray, "rows domains"]:
        """Rise of perplexity in %, of each measured domain (column) without what each of :meth:`rows` erases."""
        nats = self.nats.double().cpu().numpy()
        return perplexity_rise(nats[1:], nats[0])

    def locality(self) -> dict[str, float]:
        """Of erasing a domain: rise of its own perplexity (efficacy), mean rise of the others', and the share of domains
        whose own rise is the larger; with residents in the brick, without, and (one number) what chance chose."""
        matrix, number = self.matrix(), len(self.domains)
        results: dict[str, float] = {}
        for name, part in (("", matrix[:number]), ("/no_residents", matrix[number : 2 * number])):
            own = np.diag(part)
            others = (part.sum(1) - own) / (number - 1)
            results |= {
                f"erased_own{name}": float(own.mean()),
                f"erased_others{name}": float(others.mean()),
                f"own_above_others{name}": float((own > others).mean()),
            }
        return {**results, "erased_chance": float(matrix[2 * number :].mean())}

    def overlaps(self, *, by_chance: bool = False) -> Float[Tensor, "domains domains"]:
        """How much the bricks (residents among them) of two domains share; ``by_chance``: of labels shuffled for each by
        itself (``null_overlap``: shuffled together, so that a text is still of one domain)."""
        scores = self.null_score if by_chance else self.score
        return overlap(torch.stack([top_neurons(score, self.find.share) for score in scores]))

    def texts_by_domain(self, texts: Sequence[str]) -> Float[Tensor, "texts domains"]:
        """How active the brick of each domain is on each text: mean over its neurons of (A − mean) / spread."""
        activity = text_activity(self.lm, texts, self.config.context, self.find.activation)
        scaled = (activity - self.activity.cpu()) / self.spread.cpu().clamp(min=1e-6)
        bricks = torch.stack([self.brick(name).cpu() for name in self.domains]).flatten(1).float()
        return scaled.flatten(1) @ bricks.T / bricks.sum(1)

    # ---- the verbs --------------------------------------------------------------------------------------------

    def predict(self, columns: Mapping[str, Any], erase: str = "", residents: bool = False) -> dict[str, Any]:
        """The ``domain`` whose brick is the most active on each text, and how much (``activity``); its ``nats_per_token``;
        with ``erase``, a domain, also ``nats_erased``, without that domain's brick. ``residents``: erased with it.

        Raises:
            ConfigError: no such domain, or residents of none.
            ArtifactError: the language model is not there any more.
        """
        if residents and not erase:
            raise ConfigError("residents has no effect without erase=DOMAIN; leave it out")
        chosen = self.brick(erase, residents=residents) if erase else None
        texts = [str(text) for text in columns["input"]]
        if not texts:
            return {name: [] for name in ("domain", "activity", "nats_per_token")}
        active = self.texts_by_domain(texts)
        best, place = active.max(1)
        results: dict[str, Any] = {
            "domain": [self.domains[one] for one in place.tolist()],
            "activity": best.numpy(),
            "nats_per_token": self._nats_per_token(texts),
        }
        if chosen is not None:
            with silenced(self.lm, chosen):
                results["nats_erased"] = self._nats_per_token(texts)
        return results

    def _nats_per_token(self, texts: Sequence[str]) -> Float[np.ndarray, " texts"]:
        sums, counts = window_nats(self.lm, texts, self.config.context)
        return per_token(sums, counts)

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """The share of ``examples`` whose domain has the most active brick; and what erasing did (:meth:`locality`)."""
        texts, domains = list(examples.columns["input"]), [str(name) for name in examples.columns["domain"]]
        places = self.texts_by_domain(texts).argmax(1).tolist()
        right = np.mean([self.domains[place] == name for place, name in zip(places, domains)])
        return {"domain_right": float(right), "domain_chance": 1 / len(self.domains), **self.locality()}

    def export_bricks(self, folder: Path | str, brick: str = "", residents: bool = False) -> Path:
        """Adds to a library, for each domain, the brick ``without-DOMAIN`` that silences its neurons. ``brick``: domains
        joined by ``+`` (none: all). ``residents``: those as well that serve every domain.

        Raises:
            ConfigError: no such domain.
        """
        return save_found(self, folder, brick or "+".join(self.domains), residents)

    def export_merged(self, folder: Path | str, brick: str = "", residents: bool = False) -> Path:
        """The language model without the bricks of some domains, as a folder that transformers loads: the output weights
        of their neurons are zero. ``brick``: domains joined by ``+``.

        Raises:
            ConfigError: no domain, or no such one; a language model of ours, which transformers does not know.
        """
        return save_without(self, folder, brick, residents)

    def analyse(self, examples: Examples) -> dict[str, dict[str, Any]]:
        """``specialists``: the best neurons of each domain; ``matrix``: what erasing costs; ``thinned``: the loss with
        neurons left out; ``texts``: how active the brick of each domain is on ``examples``."""
        return found_tables(self, examples)

    def draw(self, examples: Examples) -> list[Any]:
        """The matrices, scores by layer, neurons left out, and the map of ``examples``."""
        from brickwork.systems.configurable_foundation_models.found_drawing import found_drawings

        return found_drawings(self, examples)


def _hash(lm: Any) -> str:
    """As a brick's hash of its base: of the model of transformers inside, where there is one."""
    return model_hash(getattr(lm, "model", lm), lm.tokenizer)
