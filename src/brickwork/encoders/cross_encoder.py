"""Cross-encoders: models of transformers that read a query and a document together and give one score for the pair.

Nogueira and Cho 2019, "Passage Re-ranking with BERT". The folders are those of transformers'
``AutoModelForSequenceClassification`` with one output, as sentence-transformers' ``CrossEncoder`` reads and writes them, and
the scores are those of its ``predict``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ArtifactError
from brickwork.encoders.bert import position_offset
from brickwork.encoders.folder_tokenizer import read_object
from brickwork.encoders.hub import check_known
from brickwork.encoders.hub_weights import check_weights, few
from brickwork.encoders.partial import quiet_transformers
from brickwork.encoders.text_folder import module_chain, transformer_settings

_TASK = "sequence-classification"
_MAX_TOKENS = 512  # of a folder that sets no limit
_LENGTH_STEP = 8
_NO_LIMIT = 1e9  # without a limit, transformers writes a number of thirty digits
# Functions on the score that are known; paths of other code are refused.
_ENDINGS: Mapping[str, type[nn.Module]] = {"Sigmoid": nn.Sigmoid, "Identity": nn.Identity, "Tanh": nn.Tanh}


class CrossEncoder(nn.Module):
    """Pairs of texts to one score each.

    ``model`` and ``tokenizer`` are transformers'; ``max_tokens`` what a pair may have; ``ending`` the function on the score
    (sigmoid, where a folder says nothing); ``lower_case``: texts are lower-cased first.
    """

    def __init__(
        self, model: nn.Module, tokenizer: Any, *, max_tokens: int, ending: nn.Module, lower_case: bool
    ):
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.ending = ending
        self.lower_case = lower_case

    def tokenize(self, pairs: Sequence[tuple[str, str]]) -> list[dict[str, list[int]]]:
        """The inputs of the model for each pair, not padded.

        A pair that is too long loses tokens of its longer text, which is the document until it is as short as the query.
        """
        texts = [tuple(text.lower() for text in pair) if self.lower_case else pair for pair in pairs]
        read = self.tokenizer(
            [first for first, _ in texts],
            [second for _, second in texts],
            truncation="longest_first",
            max_length=self.max_tokens,
        )
        return [{name: read[name][row] for name in read} for row in range(len(pairs))]

    def forward(self, inputs: Sequence[Mapping[str, list[int]]]) -> Float[Tensor, " pairs"]:
        """The scores of tokenized pairs as float32, after the model's last function."""
        # Lengths in steps: the matrix library keeps code for every shape that it meets.
        longest = max(len(one["input_ids"]) for one in inputs)
        length = min(-(-longest // _LENGTH_STEP) * _LENGTH_STEP, self.max_tokens)
        padded = self.tokenizer.pad(
            list(inputs), padding="max_length", max_length=length, return_tensors="pt"
        )
        device = next(self.model.parameters()).device
        scores = self.model(**{name: tensor.to(device) for name, tensor in padded.items()}).logits
        return self.ending(scores[:, 0].float())


def load_cross_encoder(folder: Path) -> CrossEncoder:
    """The cross-encoder in a folder; only JSON, vocabularies and safetensors are read, and code of the folder is never run.

    Raises:
        ArtifactError: files are missing, damaged or unsafe, the model is of another kind or has several outputs, or it
            wants something before texts that is not put there.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    place = _model_folder(folder)
    description = read_object(place / "config.json")
    check_known(description)
    settings = transformer_settings(place, _TASK)
    published = _published(folder)
    check_weights(place)
    safe = {"trust_remote_code": False, "local_files_only": True}
    try:
        parsed = AutoConfig.from_pretrained(str(place), **safe)
        if parsed.num_labels != 1:
            raise ArtifactError(
                f"{folder} gives {parsed.num_labels} scores for a pair, and reranking needs one; take a cross-encoder with "
                "one output (num_labels 1)"
            )
        tokenizer = _tokenizer(place)
        with quiet_transformers():
            model, info = AutoModelForSequenceClassification.from_pretrained(
                str(place), use_safetensors=True, dtype=torch.float32, output_loading_info=True, **safe
            )
    except ArtifactError:
        raise
    except Exception as error:  # what a wrong number in a config.json raises in transformers may be anything
        raise ArtifactError(f"{folder} was refused: {error}") from error
    wrong = {name: info.get(f"{name}_keys") for name in ("missing", "unexpected", "mismatched")}
    if any(wrong.values()):
        found = ", ".join(f"{name} {few(keys)}" for name, keys in wrong.items() if keys)
        raise ArtifactError(
            f"{folder} was refused: its weights are not those of a cross-encoder ({found}); take a model that was trained "
            "to score pairs"
        )
    return CrossEncoder(
        model.eval(),
        tokenizer,
        max_tokens=_limit(settings, tokenizer, description),
        ending=_ending(folder, description, published),
        lower_case=bool(settings.get("do_lower_case")),
    )


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except (
        Exception
    ) as error:  # code of the folder's own, a library that is absent, a damaged file (plain Exception)
        raise ArtifactError(
            f"{folder} has no tokenizer that can be read ({error}); use a good copy"
        ) from error


def _model_folder(folder: Path) -> Path:
    chain = module_chain(folder)
    if not chain:
        return folder
    kinds = [kind for kind, _ in chain]
    if kinds != ["Transformer"]:
        raise ArtifactError(
            f"{folder} is a chain of {' → '.join(kinds)}, which gives vectors or reads scores in its own way; for reranking "
            "take a cross-encoder (a Transformer alone, with one output)"
        )
    return chain[0][1]


def _published(folder: Path) -> dict[str, Any]:
    """``config_sentence_transformers.json``, where there is one."""
    path = folder / "config_sentence_transformers.json"
    published = read_object(path) if path.is_file() else {}
    if published.get("default_prompt_name"):
        raise ArtifactError(
            f"{folder} puts a prompt before every text, which is not done here; take another model"
        )
    return published


def _ending(folder: Path, description: dict[str, Any], published: dict[str, Any]) -> nn.Module:
    """The function on the score: where sentence-transformers writes it now, or wrote it before."""
    own = description.get("sentence_transformers")
    known = (
        published.get("activation_fn"),
        own.get("activation_fn") if isinstance(own, dict) else None,
        description.get("sbert_ce_default_activation_function"),
    )
    name = str(next((path for path in known if path), "torch.nn.modules.activation.Sigmoid"))
    kind = name.rpartition(".")[2]
    if not name.startswith("torch.nn.") or kind not in _ENDINGS:
        raise ArtifactError(
            f"{folder} puts {name} on its scores, which is not known here; known: {', '.join(_ENDINGS)} of torch.nn"
        )
    return _ENDINGS[kind]()


def _limit(settings: dict[str, Any], tokenizer: Any, description: dict[str, Any]) -> int:
    """How many tokens a pair may have: as the folder says, never more than the model has positions."""
    positions = description.get("max_position_embeddings")
    if isinstance(positions, int):
        positions -= position_offset(description)
    limits = (settings.get("max_seq_length") or tokenizer.model_max_length, positions)
    known = [int(limit) for limit in limits if isinstance(limit, int | float) and 0 < limit < _NO_LIMIT]
    return min(known, default=_MAX_TOKENS)
