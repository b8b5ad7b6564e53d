"""cMIM: auto-encoders of high mutual information, whose codes point apart; embeddings from decoders."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="cmim",
    title="Contrastive Mutual Information Machine",
    authors="Livne; MIM: Livne, Swersky, Fleet",
    year=2025,
    arxiv="2502.19642",
    group="learning objectives",
    summary="AE, VAE, MIM, cMIM, InfoNCE and their sums as one objective on an encoder and a decoder, for images and "
    "molecules: embeddings from the encoder or from the decoder's states, reconstruction, generation.",
    capabilities=("encodes", "evaluates", "predicts", "generates molecules", "images", "molecules"),
    jobs=(
        (
            "images or molecules without labels",
            "vectors of them, with a decoder that draws or writes them back",
        ),
    ),
)
