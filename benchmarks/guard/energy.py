"""Energy loss of a policy's last layer (Miao et al. 2025, 2501.19358)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

Rows = Sequence[dict[str, Any]]


@torch.no_grad()
def energy_losses(model: Path, rows: Rows) -> list[float]:
    """‖input‖₁ − ‖output‖₁ of the last layer, the mean over an answer's tokens; one an answer (lines of samples.jsonl).

    The model is one with `model.layers`, as Llama's have them.
    """
    policy = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    found: list[Tensor] = []

    def measure(_: Any, given: tuple[Tensor, ...], made: Tensor | tuple[Tensor, ...]) -> None:
        after = made[0] if isinstance(made, tuple) else made
        found.append(given[0].abs().sum(-1)[0] - after.abs().sum(-1)[0])

    hook = policy.model.layers[-1].register_forward_hook(measure)
    means = []
    for row in rows:
        asked = len(tokenizer(row["prompt"])["input_ids"])
        tokens = tokenizer(row["prompt"] + row["response"], return_tensors="pt")["input_ids"]
        policy(input_ids=tokens)
        means.append(float(found.pop()[asked:].mean()) if tokens.shape[1] > asked else 0.0)
    hook.remove()
    return means
