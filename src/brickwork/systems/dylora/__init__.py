"""DyLoRA: low-rank adapters on somebody else's model, trained once for every rank."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="dylora",
    title="DyLoRA: Dynamic Search-Free Low-Rank Adaptation",
    authors="Valipour, Rezagholizadeh, Kobyzev, Ghodsi",
    year=2022,
    arxiv="2210.07558",
    group="elastic size",
    summary="Trains one pair of low-rank matrices per layer of a frozen backbone with a random rank each step, so that "
    "every rank works after one training; picks the smallest that is good enough and writes it as a PEFT adapter.",
    capabilities=(
        "predicts",
        "evaluates",
        "traces",
        "compares",
        "adapters",
        "text",
        "images",
        "elastic rank",
    ),
    jobs=(
        (
            "labelled texts and a pretrained transformer",
            "one adapter that works at every rank, exported to PEFT",
        ),
    ),
)
