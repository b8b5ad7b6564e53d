"""The claims of MultiModN."""

from brickwork.evaluation.claims import Claim

CLAIMS: tuple[Claim, ...] = ()
