"""Configurable foundation models: a library of bricks over one language model, picked and merged per request."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="configurable-foundation-models",
    title="Configurable Foundation Models: Building LLMs from a Modular Perspective",
    authors="Xiao, Zhang, Song, Jiang, Yao, Han, Liu, Sun and others",
    year=2024,
    arxiv="2409.02877",
    group="modular transformers",
    summary="One small brick a domain over a frozen language model; a request finds its brick by key, or none; bricks are "
    "merged, taken away and put back to the bit. And which neurons of a finished model serve which domain.",
    capabilities=("predicts", "generates", "evaluates", "draws", "bricks", "text"),
    jobs=(
        (
            "texts in a folder for each domain and a language model",
            "a library of adapters, picked, merged and removed per request",
        ),
        (
            "texts in a folder for each domain and a finished language model",
            "which of its neurons serve which domain, and what erasing them costs",
        ),
    ),
)
