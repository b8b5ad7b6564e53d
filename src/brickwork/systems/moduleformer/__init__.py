"""ModuleFormer: a language model of modules that tokens are routed to; modules can be added and pruned."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="moduleformer",
    title="ModuleFormer: Modularity Emerges from Mixture-of-Experts",
    authors="Shen, Zhang, Cao, Tan, Chen, Gan",
    year=2023,
    arxiv="2306.04640",
    group="modular transformers",
    summary="A language model in which every token picks its attention and feed-forward modules; add and prune modules.",
    capabilities=("generates", "evaluates", "traces", "text"),
    jobs=(("plain texts or code", "a language model whose modules can be watched, added and pruned"),),
)
