"""Architectures whose layers are known in full: what they compute may be computed in another way."""

from transformers import PreTrainedModel

FAMILIES = {
    f"transformers.models.{family.lower()}.modeling_{family.lower()}.{family}Model"
    for family in ("Llama", "Mistral", "Qwen2", "Qwen3")
}
"""Backbones, by name: importing all four takes a second"""


def is_known(model: PreTrainedModel) -> bool:
    """Whether a model is of such a family, without sliding windows."""
    kind = type(model.base_model)
    # Not by the config's word: code that a model brings along may go by a family's name.
    known = f"{kind.__module__}.{kind.__qualname__}" in FAMILIES
    return known and getattr(model.config, "sliding_window", None) is None
