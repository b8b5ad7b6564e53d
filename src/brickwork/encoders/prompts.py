"""What a model wants before its texts: some were trained with other words before queries than before documents.

The names are those of sentence-transformers (``config_sentence_transformers.json``), where a query takes the prompt
``query`` and a document the first of ``document``, ``passage`` and ``corpus`` that is not empty, or none; other texts take
the default one. Training does the same: anchors are queries, positives and negatives documents (:meth:`Prompts.before`).
(sentence-transformers 6.2 stops at ``document`` even where the model says nothing of it, so that its
``encode_document`` leaves a model's ``passage`` out; its ``prompt_name="passage"`` gives the vectors of here.)
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from brickwork.core.errors import ArtifactError

Role = Literal["query", "document"]
_ROLES: dict[str, Role] = {"anchor": "query", "positive": "document", "negative": "document"}
_NAMES: dict[Role, tuple[str, ...]] = {"query": ("query",), "document": ("document", "passage", "corpus")}


@dataclass(frozen=True)
class Prompts:
    """Prompts by name, and the name of the one for texts that are neither query nor document; empty: none."""

    texts: Mapping[str, str] = field(default_factory=dict)
    default: str = ""

    def __bool__(self) -> bool:
        return any(self.texts.values())

    def of(self, role: Role | None = None) -> str:
        """The prompt for texts of a role; without a role, the default one."""
        names = _NAMES[role] if role else (self.default,)
        return next((text for name in names if (text := self.texts.get(name, ""))), "")

    def before(self, column: str, texts: Sequence[str], *, columns: Collection[str] = ()) -> Sequence[str]:
        """The texts of a column of examples behind the prompt of its role; beside a ``score`` (``columns``: all that there
        are) both texts are of one kind and take the default one."""
        prompt = self.of(None if "score" in columns else _ROLES.get(column))
        return [prompt + text for text in texts] if prompt else texts

    def to_dict(self) -> dict[str, Any]:
        """For JSON; nothing where there are no prompts."""
        return {"prompts": dict(self.texts), "default_prompt_name": self.default or None} if self else {}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str) -> "Prompts":
        """What :meth:`to_dict` gave, or sentence-transformers wrote; other keys are left alone.

        Raises:
            ArtifactError: prompts that are no texts, or a default one that there is not; names ``source``.
        """
        texts, default = values.get("prompts") or {}, values.get("default_prompt_name") or ""
        if not isinstance(texts, Mapping) or not isinstance(default, str):
            raise ArtifactError(f"{source} has prompts that are not texts by name; use a good copy")
        texts = {str(name): text for name, text in texts.items() if text is not None}
        if not all(isinstance(text, str) for text in texts.values()) or (default and default not in texts):
            raise ArtifactError(f"{source} has a prompt that is no text, or names one that it does not have")
        return cls(texts, default)
