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
    capabilities=("encodes", "evaluates", "predicts", "images", "molecules"),
    flow=(
        ("data", "data.images.image_task or data.smiles.smiles_task"),
        ("encoder", "encoders.image.ImageEncoder or encoders.text.TextEncoder"),
        ("code", "modules.latent.posterior"),
        ("decoder", "modules.image_decoder.ImageDecoder or modules.sequence_decoder.SequenceDecoder"),
        ("objective", "objectives.mim.latent_loss with objectives.contrastive.self_contrastive and info_nce"),
        ("training", "training.loop.fit"),
        ("representation", "representation.model.Representation"),
    ),
)
