"""Runs of ``sae-circuits``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.systems.sae_circuits.config import Config
from brickwork.systems.sae_circuits.data import Data
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: the hand-wired model, whose circuit is known: heads (0, 0) and (1, 0).

    ``brickwork train sae-circuits --recipe smoke --out runs/smoke``.
    """
    return RunConfig(
        model=Config(subject="wired", permutations=500, latents=50, code_steps=50),
        data=Data(source="wired", made_up=32, validation_share=0.0, test_share=0.25),
        train=TrainConfig(save_every=1),
    )


def small() -> RunConfig:
    """SmolLM2-135M and your prompts: ``brickwork train sae-circuits --data prompts.jsonl``.

    Without ``--data``: made-up prompts (indirect object identification). ``--set model.subject=FOLDER_OR_HUB_ID``: another
    model.
    """
    return RunConfig(
        model=Config(),
        data=Data(source="ioi", validation_share=0.0, test_share=0.34),
        train=TrainConfig(save_every=1),
    )


def gpu() -> RunConfig:
    """GPT-2 small from the hub and 250 pairs of prompts (IOI), as in the paper; not measured."""
    run = small()
    return replace(run, model=Config(subject="openai-community/gpt2"), data=replace(run.data, made_up=250))
