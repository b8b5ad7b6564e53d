"""The tokenizer of a model's folder, and its special tokens."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from brickwork.core.errors import ArtifactError
from brickwork.core.files import read_json
from brickwork.encoders.tokenization import END, MASK, PAD, START, UNKNOWN, load_tokenizer

_ROLES = ("unk_token", "bos_token", "eos_token", "cls_token", "sep_token", "mask_token", "pad_token")
BERT_MARKS = {
    "unk_token": UNKNOWN,
    "cls_token": START,
    "sep_token": END,
    "mask_token": MASK,
    "pad_token": PAD,
}


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ArtifactError: missing, damaged, or no object.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise ArtifactError(f"{path} is not a JSON object; use a good copy")
    return values


def folder_tokenizer(folder: Path, *, as_it_is: bool, lower_case: bool) -> tuple[Tokenizer, dict[str, str]]:
    """The tokenizer of a folder and its marks: the special tokens by role, and the side of the padding if it is the left.

    ``as_it_is``: ``tokenizer.json`` alone, where it is there; else as transformers changes it by the settings beside it
    (which marks stand at the ends of a text), or builds it from an old vocabulary. There are no marks where they are
    those of BERT. ``lower_case``: before all else.

    Raises:
        ArtifactError: there is none, or it is damaged.
    """
    alone, described = folder / "tokenizer.json", (folder / "tokenizer_config.json").is_file()
    if (as_it_is and alone.is_file()) or not described:
        tokenizer = load_tokenizer(alone)
    else:
        from transformers import AutoTokenizer

        try:
            built = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
            tokenizer = built.backend_tokenizer
        except (
            Exception
        ) as error:  # code of the folder's own, a library that is absent, a damaged file (plain Exception)
            if not alone.is_file():
                raise ArtifactError(
                    f"{folder} has no tokenizer.json and none could be made ({error})"
                ) from error
            tokenizer = load_tokenizer(alone)
    marks = _marks(folder, tokenizer)
    if lower_case:
        from tokenizers import normalizers

        first = [tokenizer.normalizer] if tokenizer.normalizer else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *first])
    return tokenizer, marks


def _marks(folder: Path, tokenizer: Tokenizer) -> dict[str, str]:
    marks: dict[str, str] = {}
    side = ""
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        settings = read_object(folder / name) if (folder / name).is_file() else {}
        side = settings.get("padding_side", side)
        for role in _ROLES:
            token = settings.get(role)
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str) and tokenizer.token_to_id(token) is not None:
                marks[role] = token
    pad = (tokenizer.padding or {}).get("pad_token")
    known = [token for token in (pad, PAD, marks.get("eos_token"), marks.get("unk_token"))
             if token and tokenizer.token_to_id(token) is not None]  # fmt: skip
    if "pad_token" not in marks and known:
        marks["pad_token"] = known[0]
    if side == "left":
        marks["padding_side"] = side
    return {} if marks.items() <= BERT_MARKS.items() else marks
