"""What the battery has to know of sae-circuits."""

UNTESTED = {
    "subject": "pretrained weights; tests/systems/test_sae_circuits.py",
    "batch": "the same results by design; tests/systems/test_sae_circuits.py",
    "data.answer": "a column of the user's file; tests/systems/test_sae_circuits.py, as the next",
    "data.wrong": "with data.answer",
}
CANDIDATES = {"latents": [7], "code_prompts": [3], "code_steps": [3]}
