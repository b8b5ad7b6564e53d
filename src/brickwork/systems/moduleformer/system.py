"""ModuleFormer: a language model in which every half layer is a mixture of modules.

Shen, Zhang, Cao, Tan, Chen, Gan: ModuleFormer: Modularity Emerges from Mixture-of-Experts. arXiv 2306.04640, 2023.

What is learnt: a decoder whose tokens each pick ``top_k`` of N attention modules and of N feed-forward modules. A mutual
information loss keeps use even over the corpus and decisive for each token, so that modules specialise without being
given domains; then modules can be added for new texts, or pruned.

| paper  | here               | shape     | meaning                                                     |
|--------|--------------------|-----------|-------------------------------------------------------------|
| x      | hidden states      | (B, T, D) | one vector a token                                          |
| p, ℓ   | RouterOutput       | (B·T, N)  | softmax of the router's logits; the k largest weigh modules |
| Q, O   | HeadMixture        | (N, D, A) | query and output matrix of each attention module            |
| K, V   | key, value         | (D, A)    | shared by all attention modules                             |
| U, V   | ExpertMlp          | (N, D, F) | up and down matrix of each feed-forward module              |
| β, a   | stick_breaking     | (B, H, T, T) | share of the stick, attention weight                     |
| L_MI   | balance            |           | H(m|x) − H(m), mean over routers                            |

    x ← x + Σ_m p_m O_mᵀ attend(Q_mᵀ LN(x), K LN(x), V LN(x));   x ← x + Σ_m p_m V_mᵀ GELU(U_mᵀ LN(x))
    L = L_LM + λ L_MI

Differences from the paper: see README.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor, nn

from brickwork.core.config import from_dict, to_dict
from brickwork.core.errors import ConfigError
from brickwork.core.seeding import generator_for
from brickwork.core.types import Batch, LossOutput, RouterOutput, Trace
from brickwork.data.config import DataConfig
from brickwork.data.sets.language import text_task
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.tokenization import (
    load_tokenizer,
    read_tokenizer,
    token_windows,
    train_text_tokenizer,
)
from brickwork.evaluation.usage import module_shares, normalised_information
from brickwork.modules.decoders import DecoderLM
from brickwork.modules.sampling import continue_text, text_after
from brickwork.representation.contract import complete
from brickwork.systems.moduleformer.architecture import Growth, ModuleFormerConfig, build_block
from brickwork.systems.moduleformer.growth import add_modules, trained_as

Config = ModuleFormerConfig
_WINDOWS = 64
_BITS = 1 / np.log(2)


@dataclass(frozen=True, kw_only=True)
class Data(DataConfig):
    """The data of a run of ``moduleformer``."""

    also: tuple[str, ...] = ()
    """Known sets of texts that are read together with the known set ``source``, each with domains of its own."""


@complete
class System(nn.Module):
    """The decoder, its tokenizer and the loss. ``sizes``: the attention and feed-forward modules of each layer."""

    reads = ("texts",)
    route_reg: float = 0.0  # set by add_modules; like what routers remember, not kept

    def __init__(self, config: ModuleFormerConfig, tokenizer: Tokenizer, sizes: Sequence[tuple[int, int]]):
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.decoder = DecoderLM(
            tokenizer.get_vocab_size(),
            config.width,
            [build_block(config, *size) for size in sizes],
            tokenizer,
        )

    def collate(self, columns: dict[str, Any]) -> Batch:
        """Windows of at most ``context`` + 1 tokens, none left out: ``ids`` and ``mask`` of (windows, tokens)."""
        ids, mask, _ = token_windows(self.tokenizer, columns["input"], self.config.context)
        return {"ids": ids, "mask": mask}

    def forward(self, batch: Batch) -> tuple[Tensor, list[RouterOutput]]:
        """−log p of each next token (0 where there is none), and the routings."""
        ids, mask = batch["ids"], batch["mask"]
        out = self.decoder(ids[:, :-1], mask)
        nats = F.cross_entropy(out.logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
        return nats.view(mask.shape) * mask, out.routings

    def loss(self, batch: Batch) -> LossOutput:
        """L_LM + λ·mean over routers of L_MI (or the Switch loss) + the z loss + how far routers moved since growth."""
        nats, routings = self(batch)
        terms = {"language": nats.sum() / batch["mask"].sum().clamp(min=1)}
        weights, stats = {}, {}
        for term, name, weight in (
            ("balance", self.config.balance, self.config.balance_weight),
            ("z", "z", self.config.z_weight),
            ("route", "route", self.route_reg),
        ):
            values = [routed.aux[name] for routed in routings if name in routed.aux]
            if values:
                terms[term] = torch.stack(values).mean()
                weights[term] = weight
        for name in routings[0].stats if routings else ():
            stats[name] = torch.stack([torch.as_tensor(routed.stats[name]) for routed in routings]).mean()
        return LossOutput.of(terms, weights, stats)

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Matrices decay; vectors do not, nor what holds modules that are frozen."""
        frozen = {
            id(p)
            for part in self.modules()
            if getattr(part, "frozen", 0)
            for p in part.parameters(recurse=False)
        }
        trained = [p for p in self.parameters() if p.requires_grad]
        decaying = [p for p in trained if p.ndim >= 2 and id(p) not in frozen]
        kept = [p for p in trained if p.ndim < 2 or id(p) in frozen]
        groups = [{"params": decaying, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
        return [group for group in groups if group["params"]]

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """``nats_per_token`` (also of each domain), ``perplexity``, ``bits_per_byte``; ``dead_modules``, the share with less
        than a tenth of an even share, and ``domain_information``, the NMI of module and domain in the best mixture."""
        sums, counts = token_nats(self, examples)
        characters = sum(len(text.encode("utf-8", "replace")) for text in examples.columns["input"])
        mean = float(sums.sum() / max(counts.sum(), 1))
        scores = {
            "nats_per_token": mean,
            "perplexity": float(np.exp(min(mean, 50.0))),
            "bits_per_byte": float(sums.sum() * _BITS / max(characters, 1)),
        }
        domains = np.asarray(examples.columns.get("domain", []))
        names = sorted(set(domains.tolist()))
        if len(names) > 1:
            for name in names:
                rows = domains == name
                scores[f"nats_per_token/{name}"] = float(sums[rows].sum() / max(counts[rows].sum(), 1))
        use, _ = module_use(self, examples)
        if use:
            shares = [table.sum(0) / max(table.sum(), 1) for table in use.values()]
            scores["dead_modules"] = float(np.mean([(share < 0.1 / len(share)).mean() for share in shares]))
        if use and len(names) > 1:
            labels = domains.tolist()
            scores["domain_information"] = max(
                normalised_information(table, labels) for table in use.values()
            )
        return scores

    def trace(self, examples: Examples) -> list[Trace]:
        """For each mixture the share of each module in the tokens of each text, and at each place of a window."""
        use, places = module_use(self, examples)
        domains = examples.columns.get("domain")
        # A text of one token predicts nothing, and so uses no module.
        used = next((table.sum(1) > 0 for table in use.values()), np.zeros(0, dtype=bool))
        domain = None if domains is None else tuple(str(d) for d, kept in zip(domains, used) if kept)
        return [
            Trace(
                name=name,
                modules=tuple(f"module {number}" for number in range(1, table.shape[1] + 1)),
                usage=module_shares(table[used]),
                time=places[name],
                domain=domain,
            )
            for name, table in use.items()
        ]

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[str], *, max_tokens: int, temperature: float, top_k: int, seed: int
    ) -> list[str]:
        """Continuations, each drawn by itself: a prompt gives the same text whatever stands beside it."""
        newest = 4 * self.config.context  # keys and values that each layer keeps
        results = []
        for prompt in prompts:
            ids = self.tokenizer.encode(prompt or "\n").ids
            new = continue_text(
                self.decoder,
                ids,
                max_tokens=max_tokens,
                temperature=temperature,
                top_k=top_k,
                generator=generator_for(seed, 0, prompt),
                shorten=lambda cache: [part.last(newest) for part in cache],
                device=self.decoder.embedding.weight.device,
            )
            results.append(text_after(self.tokenizer, ids, new))
        return results

    def sizes(self) -> list[tuple[int, int]]:
        """The attention and feed-forward modules of each layer, now."""
        return [block.num_modules() for block in self.decoder.blocks]  # type: ignore[operator]

    def architecture(self) -> dict[str, Any]:
        """What the system is rebuilt from."""
        return {"config": to_dict(self.config), "facts": {"sizes": [list(size) for size in self.sizes()]}}

    @staticmethod
    def build(config: ModuleFormerConfig, data: TaskData, assets: Path | None, seed: int) -> "System":
        """The untrained system for ``data``.

        Raises:
            ConfigError: modules to add, and no finished run to add them to.
        """
        if config.growth != Growth():
            raise ConfigError(
                "model.growth adds modules to a finished run; name its folder: --set start=FOLDER"
            )
        if assets is not None and (assets / "tokenizer.json").is_file():
            tokenizer = load_tokenizer(assets / "tokenizer.json")
        else:
            tokenizer = train_text_tokenizer(data.train.columns["input"], config.vocab_size)
        size = (config.attention_modules, config.feed_forward_modules)
        return System(config, tokenizer, [size] * config.num_layers)

    @staticmethod
    def continued(finished: "System", config: ModuleFormerConfig, *, seed: int) -> "System":
        """The finished system with the modules of ``config.growth`` more, trained from now on as ``config`` has it. Fresh
        weights come from the global generators, which ``seed`` has set."""
        growth = config.growth
        grown = add_modules(
            finished,
            attention=growth.attention,
            feed_forward=growth.feed_forward,
            train=growth.train,
            route_reg=growth.route_reg,
        )
        return trained_as(grown, config)

    @staticmethod
    def restore(architecture: Mapping[str, Any], tokenizer_json: str | None) -> "System":
        """The system that ``architecture()`` described, with fresh weights, and a computation that runs everywhere."""
        config = replace(from_dict(ModuleFormerConfig, architecture["config"]), computation="sorted")
        tokenizer = read_tokenizer(tokenizer_json or "", "tokenizer.json")
        return System(config, tokenizer, [(int(a), int(f)) for a, f in architecture["facts"]["sizes"]])


# ---- what it does on texts --------------------------------------------------------------------------------------


def _batches(
    system: System, texts: list[str], context: int
) -> Iterator[tuple[list[int], Tensor, Tensor, list[Tensor]]]:
    """(whose text, mask, nats, index of each mixture as (windows, tokens, K)) of 64 windows at a time."""
    ids, mask, owners = token_windows(system.tokenizer, texts, context)
    device = system.decoder.embedding.weight.device
    for start in range(0, len(ids), _WINDOWS):
        rows = slice(start, start + _WINDOWS)
        batch = {"ids": ids[rows].to(device), "mask": mask[rows].to(device)}
        with torch.no_grad():
            nats, routings = system(batch)
        index = [routed.index.view(*nats.shape, -1).cpu() for routed in routings]
        yield owners[rows], mask[rows], nats.cpu(), index


def token_nats(
    system: System, examples: Examples, context: int | None = None
) -> tuple[Float[np.ndarray, " texts"], Float[np.ndarray, " texts"]]:
    """The sum of −log p over the predicted tokens of each text, and their number; in windows of ``context`` tokens."""
    texts = list(examples.columns["input"])
    sums, counts = np.zeros(len(texts)), np.zeros(len(texts))
    for owners, mask, nats, _ in _batches(system, texts, context or system.config.context):
        np.add.at(sums, owners, nats.sum(1).double().numpy())
        np.add.at(counts, owners, mask.sum(1).double().numpy())
    return sums, counts


def module_use(
    system: System, examples: Examples
) -> tuple[dict[str, Float[np.ndarray, "texts _"]], dict[str, Float[np.ndarray, "_ _"]]]:
    """For each mixture the assignments of each module in each text, and its share at each place of a window."""
    texts = list(examples.columns["input"])
    mixtures = system.decoder.mixtures()
    context = system.config.context
    counts = {name: np.zeros((len(texts), half.router.num_modules)) for name, half in mixtures.items()}
    places = {name: np.zeros((context, half.router.num_modules)) for name, half in mixtures.items()}
    for owners, mask, _, index in _batches(system, texts, context):
        window, place = (part.numpy() for part in mask.nonzero(as_tuple=True))
        for name, chosen in zip(mixtures, index):
            modules = chosen[mask].numpy()  # (tokens, K)
            for column in modules.T:
                np.add.at(counts[name], (np.asarray(owners)[window], column), 1)
                np.add.at(places[name], (place, column), 1)
    reached = max((int(p.sum(1).nonzero()[0].max(initial=-1)) + 1 for p in places.values()), default=0)
    return counts, {name: module_shares(table[:reached]) for name, table in places.items()}


def load_data(config: Data, seed: int) -> TaskData:
    """Texts with a domain each, cut into pieces."""
    return text_task(config, seed, config.also)
