"""Binary paragraph vectors: a document as a code of bits from which its words are predicted.

Grzegorczyk, Kurdziel: Binary Paragraph Vectors. RepL4NLP 2017, arXiv 1611.01116. No code of the authors is known.

What is learnt: numbers d_i for each document, whose signs are its code, and a softmax over words from codes. All are trained
together; a document that comes later gets the numbers that predict its words best, the softmax kept as it is.

| paper | here              | shape  | meaning                                                     |
|-------|-------------------|--------|-------------------------------------------------------------|
| d_i   | documents         | (N, b) | numbers of a document, with real vectors (N, D)              |
| h_i   | bits              | (B, b) | 1[d > 0]; backward as σ(d) (binariser.py)               |
| U, c  | words, frequency  | (b, V) | softmax over words                                          |
| W     | to_bits           | (D, b) | real vector → numbers of the code (Real-Binary)              |
| x_i   | counts            | (B, V) | how often a document has each word                          |
| L     | loss              |        | −Σ_w x_iw ln softmax(U h_i + c)_w over the words of i          |

Flow: data.load → data.vocabulary → encoder.py (binariser.py, modules.sampled_softmax) → training.loop →
representation.model → index (--bits).

Differences from the paper: see README.md. Shape legend: N documents, B of a batch, V words, b bits, D real dimensions.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from brickwork.core.config import from_dict, to_dict
from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import DataError
from brickwork.core.types import Batch, LossOutput, TokenBatch
from brickwork.data.types import Examples, TaskData
from brickwork.data.vocabulary import Vocabulary
from brickwork.inspection.drawings import Drawing
from brickwork.representation.contract import encodes
from brickwork.representation.kept import SystemRepresentation
from brickwork.systems.binary_paragraph_vector.config import Config, Data
from brickwork.systems.binary_paragraph_vector.data import LABEL, load_data
from brickwork.systems.binary_paragraph_vector.encoder import START, ParagraphEncoder
from brickwork.systems.binary_paragraph_vector.measures import by_chance, hamming, quality
from brickwork.systems.binary_paragraph_vector.predictors import Draw

__all__ = ["Config", "Data", "System", "load_data"]
_MEASURED = 1000  # documents at most


@encodes
class System(nn.Module):
    """The encoder, and while it learns the numbers of the documents that it learns from."""

    reads = ("texts", "labelled")
    transient = ("documents",)

    def __init__(
        self,
        config: Config,
        encoder: ParagraphEncoder,
        *,
        num_documents: int,
        class_names: Sequence[str],
        seed: int,
    ):
        super().__init__()
        self.config, self.encoder, self.seed = config, encoder, seed
        self.class_names = tuple(class_names)
        self.documents = nn.Embedding(num_documents, encoder.width) if num_documents else None
        if self.documents is not None:
            nn.init.normal_(self.documents.weight, std=START)
        dims = (*config.nested, *([encoder.embedding_dim] if config.real else []))
        self.axes = ElasticAxes(dims=dims, layers=(1,))

    @classmethod
    def build(cls, config: Config, data: TaskData, assets: Path | None, seed: int) -> "System":
        """The untrained system with the vocabulary of the training part; names of classes are for pictures.

        Raises:
            DataError: no word is there often enough.
        """
        texts = data.train.columns["input"]
        try:
            vocabulary = Vocabulary.from_texts(texts, min_count=config.min_count, max_size=config.vocabulary)
        except DataError as error:
            more = " (--set model.min_count=1 takes all)" if config.min_count > 1 else ""
            raise DataError(f"{data.name}: {error}{more}") from error
        encoder = ParagraphEncoder(config, vocabulary)
        return cls(config, encoder, num_documents=len(texts), class_names=data.class_names, seed=seed)

    def architecture(self) -> dict[str, Any]:
        """Configuration, vocabulary and names of classes."""
        vocabulary = self.encoder.vocabulary.state()
        return {"config": to_dict(self.config), "vocabulary": vocabulary, "classes": list(self.class_names)}

    @classmethod
    def restore(cls, architecture: Mapping[str, Any], tokenizer_json: str | None) -> "System":
        """The system of :meth:`architecture`, without documents."""
        config = from_dict(Config, architecture["config"])
        vocabulary = Vocabulary.from_state(architecture["vocabulary"])
        encoder = ParagraphEncoder(config, vocabulary)
        return cls(config, encoder, num_documents=0, class_names=architecture["classes"], seed=0)

    def param_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """The numbers of documents learn faster: each is met once an epoch."""
        rest = [p for name, p in self.named_parameters() if not name.startswith("documents.")]
        groups: list[dict[str, Any]] = [{"params": rest, "lr": learning_rate, "weight_decay": weight_decay}]
        if self.documents is not None:
            own = {
                "params": [self.documents.weight],
                "lr": self.config.rate * learning_rate,
                "weight_decay": 0.0,
            }
            groups.append(own)
        return groups

    def loss(self, batch: Batch) -> LossOutput:
        """L per word, summed over the sizes of codes; documents that are not learnt from are inferred first."""
        tokens = batch["input"]
        if self.training and self.documents is not None and "indices" in batch:
            rows = np.asarray(batch["indices"])
            documents = self.documents(torch.from_numpy(rows).to(self.documents.weight.device))
            losses = self.encoder.losses(documents, tokens, Draw(self.seed, batch.get("step", 0), rows))
        else:
            losses = self.encoder.losses(self._inferred(tokens), tokens)
        return LossOutput.of({f"bits_{size}": loss.mean() for size, loss in losses.items()})

    def _inferred(self, tokens: TokenBatch) -> Float[Tensor, "batch width"]:
        return self.encoder.infer(tokens).to(self.encoder.predictor.frequency)

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """``nats_per_word`` as in the loss, from inferred codes, by size; ``balance``: how far bits are from being 1 in half
        of the documents, 0 to ½, on average; ``distinct``: different codes over documents. With labels ``map``: mean
        average precision of codes of each size among these documents, and of random order. Of no documents with known
        words, nothing."""
        rows = [row for row, text in enumerate(examples.columns["input"][:_MEASURED]) if self._knows(text)]
        if not rows:
            return {}
        columns = examples.take(rows)
        tokens = self.encoder.tokenize(columns["input"])
        with torch.no_grad():
            documents = self._inferred(tokens)
            losses = self.encoder.losses(documents, tokens)
            bits = (self.encoder.numbers(documents) > 0).cpu().numpy()
        scores = {f"nats_per_word_{size}": float(loss.mean()) for size, loss in losses.items()}
        scores["balance"] = float(np.abs(bits.mean(0) - 0.5).mean())
        scores["distinct"] = len(np.unique(bits, axis=0)) / len(bits)
        labels = np.asarray(columns.get(LABEL, ()))
        if len(np.unique(labels)) > 1:
            for size in self.config.nested:
                levels = hamming(bits[:, :size], bits[:, :size])
                scores[f"map_{size}"] = float(quality(levels, labels)["map"].mean())
            scores["map_random"] = by_chance(labels)
        return scores

    def _knows(self, text: str) -> bool:
        return len(self.encoder.tokenize([text]).ids) > 0

    def bits(self, texts: Sequence[str]) -> Bool[np.ndarray, "texts bits"]:
        """The codes of texts."""
        return self.representation().encode(list(texts), normalize=False)[:, : self.config.bits] > 0

    def draw(self, examples: Examples) -> list[Drawing]:
        """The codes of held-out documents, and with labels what they find against their bytes."""
        from brickwork.systems.binary_paragraph_vector.drawing import drawings

        return drawings(self, examples)

    def representation(self) -> "DocumentCodes":
        """Codes of documents, and real vectors behind them where they were learnt."""
        return DocumentCodes(self, axes=self.axes)


class DocumentCodes(SystemRepresentation):
    """Saved as the whole system: a document's code is found by what predicts its words."""

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """:meth:`System.evaluate`."""
        scores: dict[str, float] = self.system.evaluate(examples)
        return scores

    def draw(self, examples: Examples) -> list[Drawing]:
        """:meth:`System.draw`."""
        drawn: list[Drawing] = self.system.draw(examples)
        return drawn
