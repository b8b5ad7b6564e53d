"""The language model that is looked into, and prompts as it reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.encoders.causal_lm import HubCausalLM, load_causal_lm
from brickwork.modules.model_hash import model_hash
from brickwork.modules.places import find_places
from brickwork.representation.language_models import language_model_in
from brickwork.systems.sae_circuits.config import WIRED
from brickwork.systems.sae_circuits.wired import WiredModel

NO_TOKEN = -1


@dataclass(frozen=True)
class Subject:
    """``model`` is a :class:`~brickwork.core.types.CausalLM`; ``described``: JSON values from which it is rebuilt."""

    name: str
    model: Any
    described: dict[str, Any]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Layers, heads of each, dimensions of a head, width.

        Raises:
            ConfigError: its layers have different numbers of heads, or none that can be told apart.
        """
        try:
            places = find_places(self.model).choose("heads")
        except ConfigError as error:
            raise ConfigError(f"model.subject={self.name}: {error}") from error
        sizes = {(place.parts, place.size) for place in places}
        if len(sizes) != 1 or [place.layer for place in places] != list(range(len(places))):
            raise ConfigError(
                f"model.subject={self.name}: its layers have different heads; use a model that is as it was made"
            )
        ((heads, size),) = sizes
        return len(places), heads, size, places[0].weight().shape[-1]

    def fingerprint(self) -> str:
        """Of its weights, settings and tokenizer."""
        inner = self.model.model if isinstance(self.model, HubCausalLM) else self.model
        return model_hash(inner, self.model.tokenizer)


def load_subject(name: str, distractor: float | None = None) -> Subject:
    """The language model called ``name``: ``wired``, the run folder of one of ours (adapters merged), or what
    transformers knows.

    Raises:
        ArtifactError: it is missing, damaged, unsafe, or no causal language model.
    """
    if name == WIRED:
        model = WiredModel(1.0 if distractor is None else distractor)
        return Subject(name, model.eval(), {"body": WIRED})
    folder = Path(name).expanduser()
    if not (folder / "brickwork.json").is_file():
        try:
            pretrained = load_causal_lm(name)
        except ArtifactError as error:
            raise ArtifactError(f"model.subject={name}: {error}") from error
        return Subject(name, pretrained.eval(), pretrained.architecture())
    from brickwork.representation.load import load

    system = load(folder)
    inner = language_model_in(system, name, "model.subject")
    if isinstance(inner, HubCausalLM):
        return Subject(name, inner.eval(), inner.architecture())
    described = {"body": "run", "slug": system.slug, "architecture": system.architecture()}
    return Subject(name, inner.eval(), described)


def rebuild(described: Mapping[str, Any], tokenizer_json: str) -> Any:
    """The model of a subject with fresh weights.

    Raises:
        ArtifactError: the description does not fit this version.
    """
    if described.get("body") == WIRED:
        return WiredModel()
    if described.get("body") == "run":
        from brickwork.representation.contract import restore_system

        system = restore_system(described["slug"], described["architecture"], tokenizer_json)
        return language_model_in(system, described["slug"], "model.subject")
    return HubCausalLM.from_architecture(described, tokenizer_json)


@dataclass(frozen=True)
class Prompts:
    """Token ids of each prompt, and the first token of its answer and of what would be wrong (:data:`NO_TOKEN`: none)."""

    ids: list[list[int]]
    behaves: Bool[np.ndarray, " prompts"]
    groups: Int64[np.ndarray, " prompts"]
    answer: Int64[np.ndarray, " prompts"]
    wrong: Int64[np.ndarray, " prompts"]
    rows: Int64[np.ndarray, " prompts"]
    """Of the file that they are from."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def answered(self) -> bool:
        """Whether every prompt with the behaviour has an answer."""
        return bool((self.answer[self.behaves] != NO_TOKEN).all()) and bool(self.behaves.any())

    @property
    def all_answered(self) -> bool:
        """Whether those without the behaviour have an answer too: what would be one if it occurred."""
        return bool((self.answer != NO_TOKEN).all())

    def partners(self) -> list[int]:
        """For each prompt the other one of its group, which has the other label and as many tokens.

        Raises:
            DataError: there is none, or it is longer or shorter.
        """
        found = []
        for row, group in enumerate(self.groups):
            others = np.flatnonzero((self.groups == group) & (self.behaves != self.behaves[row]))
            if len(others) != 1 or len(self.ids[others[0]]) != len(self.ids[row]):
                why = "not one partner" if len(others) != 1 else "a partner of another number of tokens"
                raise DataError(
                    f"row {self.rows[row]} has {why}: model.ablation=resample needs, in the column group, pairs of "
                    "a prompt with the behaviour and one without, token by token alike; or use model.ablation=mean"
                )
            found.append(int(others[0]))
        return found


def read_prompts(subject: Subject, columns: Mapping[str, Any]) -> Prompts:
    """The prompts as ``subject`` reads them.

    Raises:
        DataError: a prompt without tokens or with more than it can read; an answer and what would be wrong that begin alike.
    """
    tokenizer = subject.model.tokenizer
    limit = getattr(subject.model, "max_positions", None)
    ids, answers, wrongs = [], [], []
    numbers = columns.get("row", range(1, len(columns["text"]) + 1))
    for row, text in enumerate(columns["text"]):
        where = f"row {numbers[row]} ({text[:40]!r})"
        tokens = tokenizer.encode(text).ids
        if not tokens or (limit is not None and len(tokens) > limit):
            raise DataError(
                f"{where} has {len(tokens)} tokens; {subject.name} reads 1 to {limit or 'any number'}"
            )
        answer, wrong = (first_token(tokenizer, text, columns[name][row]) for name in ("answer", "wrong"))
        if wrong != NO_TOKEN and wrong == answer:
            raise DataError(
                f"{where}: answer {columns['answer'][row]!r} and wrong {columns['wrong'][row]!r} begin with the same token, "
                "so that they cannot be told apart"
            )
        ids.append(tokens)
        answers.append(answer)
        wrongs.append(wrong)
    return Prompts(
        ids,
        np.asarray(columns["behaves"], dtype=bool),
        *(np.array(c, dtype=np.int64) for c in (columns["group"], answers, wrongs, numbers)),
    )


def first_token(tokenizer: Any, text: str, answer: str) -> int:
    """The first token of ``answer`` where it follows ``text``; :data:`NO_TOKEN` without one.

    Of an answer that is encoded alone, some tokenizers (Llama 2, T5) begin with a piece that is only the start of a text.
    Where text and answer have a token in common, which a model that has read the text cannot give any more, it is the
    first one after a new line.
    """
    if not answer:
        return NO_TOKEN
    for before in (text, "\n"):
        own = tokenizer.encode(before, add_special_tokens=False).ids
        both = tokenizer.encode(before + answer, add_special_tokens=False).ids
        if both[: len(own)] == own and len(both) > len(own):
            return both[len(own)]
    ids = tokenizer.encode(answer, add_special_tokens=False).ids
    return ids[0] if ids else NO_TOKEN


def padded(
    rows: Sequence[Sequence[int]],
) -> tuple[Int64[Tensor, "batch tokens"], Bool[Tensor, "batch tokens"]]:
    """Ids and which of them exist; padding comes last."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows])
    return ids, mask


@torch.no_grad()
def next_token(model: Any, rows: Sequence[Sequence[int]]) -> Float[Tensor, "batch vocabulary"]:
    """Log-probabilities of what follows each row."""
    ids, mask = padded(rows)
    logits = model(ids, mask).logits
    last = mask.sum(1) - 1
    return logits[torch.arange(len(rows)), last].float().log_softmax(-1)
