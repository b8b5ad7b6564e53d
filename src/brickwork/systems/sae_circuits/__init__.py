"""SAE circuits: which attention heads of a language model a behaviour needs, with p-values, and a model pruned to them."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="sae-circuits",
    title="Sparse Autoencoders Enable Scalable and Reliable Circuit Identification in Language Models",
    authors="O'Neill, Bui",
    year=2024,
    arxiv="2405.12522",
    group="inspection",
    summary="From prompts with and without a behaviour: what each attention head of a finished language model does for it "
    "(ablation, with permutation p-values), the published score of discrete autoencoder codes beside it, how much of the "
    "behaviour the best heads keep, and a model pruned to them.",
    capabilities=("evaluates", "analyses", "draws", "prunes", "language models"),
    jobs=(
        (
            "a language model, and prompts with and without a behaviour",
            "the heads responsible with p-values, and a model pruned to them",
        ),
    ),
)
