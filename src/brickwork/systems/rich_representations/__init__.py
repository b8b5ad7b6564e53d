"""Rich representations: what several trainings have learnt, as one encoder for the next task."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="rich-representations",
    title="Learning useful representations for shifting tasks and distributions",
    authors="Zhang, Bottou",
    year=2023,
    arxiv="2212.07346",
    group="learning objectives",
    summary="Trains the same network several times, with other seeds or as snapshots, and joins what each has learnt in "
    "one encoder for labels that none was trained on; joins finished runs too, fine-tunes in two stages, or distils to "
    "one network.",
    capabilities=("encodes", "predicts", "evaluates", "draws", "text", "images"),
    jobs=(
        (
            "labelled images or texts, and a next task with other labels and few examples",
            "one encoder made of several trainings, which learns new labels from fewer examples",
        ),
        ("finished runs with different seeds", "one encoder of all of them"),
    ),
)
