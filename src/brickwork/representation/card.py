"""The model card: README.md with the front matter that the Hugging Face hub reads.

Everything comes from the representation. Keys of its ``card`` that are used, all optional: ``name``,
``summary``, ``base`` (what it started from), ``data``, ``data_licence``, ``licence``, ``language``,
``citation`` (BibTeX), ``recipe``, ``seed``, ``examples``, ``steps``, ``batch_size``, ``measurement`` (the
summary of evaluation/measure.py); of a system kept whole also ``capabilities``, where they are not all that it can do.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from brickwork.core import registry
from brickwork.core.elastic import ElasticAxes, bytes_per_vector
from brickwork.core.errors import ConfigError
from brickwork.encoders.prompts import Prompts

_FACTS = {
    "base": "started from",
    "data": "data",
    "data_licence": "licence of the data",
    "examples": "training examples",
    "steps": "steps",
    "batch_size": "batch size",
    "recipe": "recipe",
    "seed": "seed",
}
_TASKS = {
    "text": "sentence-similarity",
    "image": "image-feature-extraction",
    "image-text": "zero-shot-image-classification",
}
_FLOPS_TOKENS = 128


@runtime_checkable
class Described(Protocol):
    """What a card tells of a representation (:class:`brickwork.representation.model.Representation`)."""

    encoder: Any
    axes: ElasticAxes
    lineage: dict[str, Any]
    card: dict[str, Any]
    prompts: Prompts


def render(representation: Described) -> str:
    """The card as Markdown with YAML front matter."""
    card, system = representation.card, _system(representation)
    parts = [
        f"---\n{_front_matter(representation)}\n---",
        f"# {_line(card.get('name') or (system.title if system else 'Brickwork representation'))}",
        _summary(representation),
        "## How to use it",
        _usage(representation),
        "## What it was trained on",
        _facts(card, system),
        *_quality(card.get("measurement")),
        "## What a cut costs",
        _costs(representation),
    ]
    return _ended(parts, card, system)


def render_system(slug: str, card: Mapping[str, Any]) -> str:
    """The card of a system that is kept whole. ``card["scores"]``: what was measured on held-out data, by name."""
    system = registry.card(slug)
    parts = [
        f"---\n{_yaml(card, None, ['brickwork', slug])}\n---",
        f"# {_line(card.get('name') or system.title)}",
        _line(card.get("summary") or system.summary),
        "## How to use it",
        _system_usage(card.get("capabilities") or system.capabilities),
        "## What it was trained on",
        _facts(card, system),
    ]
    if scores := card.get("scores"):
        rows = [
            (_line(n), "not a number" if value is None else f"{value:.4g}") for n, value in scores.items()
        ]
        parts += ["## Quality on held-out data", _table(("", ""), rows)]
    return _ended(parts, card, system)


def _system_usage(capabilities: Sequence[str]) -> str:
    lines = ["import brickwork", "", 'model = brickwork.load("path/to/this/folder")']
    commands = []
    if "predicts" in capabilities:
        lines.append("answers = model.predict(columns)  # named columns in, named columns out")
        commands.append("brickwork predict path/to/this/folder my-rows.csv --out answers.csv")
    if "generates" in capabilities:
        lines.append(
            'texts = model.generate(["a beginning"], max_tokens=100, temperature=0.8, top_k=0, seed=0)'
        )
        commands.append('brickwork generate path/to/this/folder "a beginning"')
    if "generates images" in capabilities:
        lines.append(
            "images = model.generate_images([model.classes[0]], count=16, seed=0)  # uint8, (16, H, W, C)"
        )
        commands.append("brickwork generate path/to/this/folder CLASS --count 16 --out pictures/")
    if "encodes" in capabilities:
        lines.append("vectors = model.encode(inputs)")
        commands.append("brickwork index path/to/this/folder your-data/ --out index")
    if "prunes" in capabilities:
        lines.append(
            "pruned = model.prune('q<0.05')  # the model that was looked into, with these heads alone"
        )
        commands.append("brickwork export path/to/this/folder --to pruned --keep 'q<0.05' --out pruned")
    if "traces" in capabilities or "draws" in capabilities:
        commands.append("brickwork inspect path/to/this/folder")
    python = "```python\n" + "\n".join(lines) + "\n```"
    return python + ("\n\n```bash\n" + "\n".join(commands) + "\n```" if commands else "")


def _ended(parts: list[str], card: Mapping[str, Any], system: registry.SystemCard | None) -> str:
    """The card with its last sections."""
    if citation := card.get("citation") or (bibtex(system) if system else None):
        parts += ["## Citation", f"```bibtex\n{str(citation).strip()}\n```"]
    parts.append("## Licence")
    parts.append(
        _line(card["licence"])
        if card.get("licence")
        else "None was recorded. The licences of the base weights and of the data apply."
    )
    return "\n\n".join(parts) + "\n"


def bibtex(system: registry.SystemCard) -> str:
    """The BibTeX entry of a system's paper."""
    authors = system.authors if " and " in system.authors else system.authors.replace(", ", " and ")
    fields = {
        "title": system.title,
        "author": authors,
        "year": system.year,
        "eprint": system.arxiv,
        "archivePrefix": "arXiv",
    }
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@misc{{{system.slug.replace('-', '')}{system.year},\n{lines}\n}}"


def _system(representation: Described) -> registry.SystemCard | None:
    slug = representation.lineage.get("system") or representation.card.get("system")
    try:
        return registry.card(slug) if isinstance(slug, str) else None
    except (ConfigError, ImportError):  # trained by a system that this installation does not have
        return None


def _front_matter(representation: Described) -> str:
    task = _TASKS[representation.encoder.kind]
    tags = ["brickwork", "feature-extraction", "matryoshka", "embeddings"]
    return _yaml(representation.card, task, tags)


def _yaml(card: Mapping[str, Any], task: str | None, tags: list[str]) -> str:
    base = card.get("base")
    return front_matter(
        library_name="brickwork",
        pipeline_tag=task,
        tags=tags,
        license=card.get("licence"),
        language=card.get("language"),
        base_model=base if isinstance(base, str) and base.count("/") == 1 and " " not in base else None,
    )


def front_matter(**values: Any) -> str:
    """The YAML at the head of a card, as the hub reads it; values that are ``None`` are left out."""
    from huggingface_hub import ModelCardData

    return ModelCardData(**values).to_yaml().strip()


def _summary(representation: Described) -> str:
    axes = representation.axes
    what = {"text": "texts", "image": "images"}.get(representation.encoder.kind, "texts and images")
    text = f"An encoder of {what}: vectors of {axes.full_dim} dimensions that can be cut to " + (
        f"the first {_list(axes.dims[:-1])}" if len(axes.dims) > 1 else "no trained shorter length"
    )
    if len(axes.layers) > 1:
        text += f", computed with {_list(axes.layers[:-1])} or all {axes.num_layers} layers"
    own = representation.card.get("summary")
    return (f"{_line(own)}\n\n" if own else "") + text + "."


def _image_shape(encoder: Any) -> str:
    framing = getattr(encoder, "framing", None)
    shape = " × ".join(map(str, encoder.image_shape))
    return shape if framing is None else f"{shape}, or of any size: {framing.describe()}"


def _usage(representation: Described) -> str:
    axes = representation.axes
    dim, layers = axes.dims[(len(axes.dims) - 1) // 2], axes.layers[(len(axes.layers) - 1) // 2]
    if representation.encoder.kind == "image":
        shape = _image_shape(representation.encoder)
        return (
            "```python\nimport brickwork\n\n"
            'model = brickwork.load("path/to/this/folder")\n'
            f"vectors = model.encode(images, dim={dim})  # uint8, N × {shape}\n```"
        )
    if representation.encoder.kind == "image-text":
        shape = _image_shape(representation.encoder.image)
        return (
            "```python\nimport brickwork\n\n"
            'model = brickwork.load("path/to/this/folder")\n'
            'texts = model.encode(["a text", "another"])\n'
            f"images = model.encode(images)  # uint8, N × {shape}\n"
            "scores = model.similarity(texts, images)\n```\n\n"
            "```bash\nbrickwork index path/to/this/folder my-images/ --out my-index\n"
            'brickwork search my-index "what it shows"\n'
            "brickwork search my-index --image like-this.png\n```"
        )
    return (
        "```python\nimport brickwork\n\n"
        'model = brickwork.load("path/to/this/folder")  # or organisation/name on the hub\n'
        'vectors = model.encode(["a text", "another"])\n'
        f'small = model.encode(["a text", "another"], dim={dim}, layers={layers})  # cut, then normalised\n'
        "scores = model.similarity(small, small)\n```\n\n"
        "```bash\nbrickwork index path/to/this/folder my-documents/ --out my-index\n"
        f'brickwork search my-index "a question" --dim {dim}\n```'
    )


def _facts(card: Mapping[str, Any], system: registry.SystemCard | None) -> str:
    rows = [(label, _line(card[name])) for name, label in _FACTS.items() if card.get(name) is not None]
    if system:
        rows.insert(
            0, ("system", f"{system.slug} ({_line(system.title)}, {system.year}, arXiv {system.arxiv})")
        )
    return _table(("", ""), rows) if rows else "Nothing was recorded."


def _quality(measurement: Mapping[str, Any] | None) -> list[str]:
    parts = []
    for entry in (measurement or {}).get("retrieval", ()):
        cells = entry["cells"]
        for metric in ("ndcg@10", "recall@10", "mrr@10"):
            if cells and metric in cells[0]:
                title = (
                    f"{_line(entry['name'])}: {metric} on {entry['queries']:,} held-out queries, "
                    f"{entry['documents']:,} documents"
                )
                parts += [title, _grid({(c["dim"], c["layers"]): c[metric] for c in cells})]
    for name, sizes in (measurement or {}).get("scores", {}).items():
        parts += [
            f"{_line(name)} on held-out data",
            _grid({(s["dim"], s["layers"]): s["value"] for s in sizes}),
        ]
    return ["## Quality at every size", *parts] if parts else []


def _grid(values: Mapping[tuple[int, int], float]) -> str:
    dims = sorted({dim for dim, _ in values}, reverse=True)
    rows = [
        (str(depth), *(f"{values[dim, depth]:.3f}" if (dim, depth) in values else "" for dim in dims))
        for depth in sorted({depth for _, depth in values})
    ]
    return _table(("layers \\ dims", *map(str, dims)), rows)


def _costs(representation: Described) -> str:
    axes, encoder = representation.axes, representation.encoder
    rows = [
        (
            str(dim),
            f"{bytes_per_vector(dim):,}",
            f"{bytes_per_vector(dim, 2):,}",
            f"{bytes_per_vector(dim):,}",
        )
        for dim in reversed(axes.dims)
    ]
    head = ("dims", "bytes a vector (float32)", "float16", "MB for a million (float32)")
    parts = [_table(head, rows)]
    if hasattr(encoder, "flops_per_token"):
        flops = [
            (
                str(depth),
                f"{encoder.flops_per_token(depth, min(_FLOPS_TOKENS, encoder.max_tokens)) / 1e6:,.3g}",
            )
            for depth in axes.layers
        ]
        parts.append(_table(("layers", f"million FLOPs a token (texts of {_FLOPS_TOKENS} tokens)"), flops))
    return "\n\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _line(value: Any) -> str:
    """One line that cannot break out of a table or heading."""
    return " ".join(str(value).split()).replace("|", "\\|")


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
