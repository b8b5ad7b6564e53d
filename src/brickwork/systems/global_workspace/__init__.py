"""A global workspace: chain operations, or translate between domains, through one shared vector."""

from brickwork.core.registry import SystemCard

CARD = SystemCard(
    slug="global-workspace",
    title="Learning to Chain Operations by Routing Information Through a Global Workspace",
    authors="Chateau-Laurent, VanRullen",
    year=2025,
    arxiv="2503.01906",
    group="routing and composition",
    summary="A small recurrent controller opens and closes gates, so that operators change one shared vector in turn: "
    "addition becomes load, increment b times, output. The same vector aligns several domains and translates between them.",
    capabilities=("predicts", "evaluates", "traces", "chaining", "translates between domains"),
    jobs=(
        (
            "vectors of several domains, few of them paired",
            "translation between the domains through one shared space",
        ),
    ),
)
