"""What a stage saved, loaded by the libraries alone and held against what was trained."""

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from truing.config.sections import Base
from truing.core.errors import ModelError
from truing.models.gguf import gguf_options
from truing.models.heads import HEAD
from truing.models.padding import embedding_rows, grow
from truing.models.weights import load_weights

EXACT = 1e-3
"""Difference of what was saved to what was trained, as a share of the largest; the rest is rounding"""


@torch.no_grad()
def check_saved(start: Base, model: Path, adapter: Path | None, is_reward: bool, row: Tensor) -> None:
    """Holds that a directory is loaded by the library, and gives what the base and an adapter give beside each other.

    Args:
        start: the model that the adapter belongs to.
        model: what was made of it, a language model or a reward model.
        adapter: what was merged into it, in single precision; None where nothing was, or where rounding hides it.
        is_reward: whether it gives a score.
        row: (1, T) tokens to ask about, on the device to do so.

    Raises:
        ModelError: a merged adapter does something else than before it was merged.
    """
    # As precise as the rounding allows that is told from an error, whatever numbers the files are in.
    own: dict[str, Any] = {"trust_remote_code": start.trust_remote_code, "dtype": torch.float32}
    auto = AutoModelForSequenceClassification if is_reward else AutoModelForCausalLM
    merged = load_weights(auto, str(model), row.device, **own)
    saved: Tensor = merged(input_ids=row).logits
    if adapter is None:
        return
    own |= gguf_options(start.gguf_file) if start.gguf_file else {}
    base = load_weights(AutoModelForCausalLM, start.path, row.device, **own)
    known, rows = embedding_rows(base), embedding_rows(merged)
    if rows > known:
        grow(base, known, rows, merged.config.pad_token_id)
    adapted: Any = PeftModel.from_pretrained(base, adapter).get_base_model()
    if is_reward:
        head = load_file(adapter / HEAD)["weight"].to(row.device)
        trained = adapted.base_model(input_ids=row).last_hidden_state[0, -1:] @ head.t()
    else:
        trained = adapted(input_ids=row).logits
    if float((saved - trained).abs().max()) > EXACT * float(trained.abs().max()):
        what = "an adapter on this base does something else once it is merged into the weights and saved."
        hint = "Name layers in lora.targets that it can be merged into, such as [q_proj, v_proj], or train all weights."
        raise ModelError(what, code="model/not-merged", where=start.path, hint=hint)
