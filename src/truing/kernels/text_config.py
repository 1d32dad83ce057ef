"""What a model's config says of its language model, which in a composite model is one part of several."""

import math
from typing import Any

from transformers import PreTrainedModel

from truing.kernels.vocabulary import LogitTransform

FACTORS = ("logit_scale", "lm_head_multiplier", "output_multiplier")
"""What logits are multiplied by: Cohere, Falcon-H1, Muse"""
DIVISORS = ("logits_scaling",)
"""What they are divided by: Granite; HyperCLOVA X multiplies by it"""
CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""What logits are bounded by: Gemma, RecurrentGemma, xLSTM"""


def text_config(model: PreTrainedModel) -> Any:
    """The config of the part that reads and writes text: all of it, but for a composite model."""
    return model.config.get_text_config(decoder=True)


def logit_transform(model: PreTrainedModel) -> LogitTransform:
    """What the model most likely does to its logits behind the vocabulary projection."""
    return logit_transforms(model)[0]


def logit_transforms(model: PreTrainedModel) -> list[LogitTransform]:
    """What the model may do to its logits by the numbers that its config names, the likeliest first.

    Some models divide by what others multiply by, and some config names a number that its model does not use.
    """
    config = text_config(model)
    factors = [_number(config, name) for name in FACTORS] + [1 / _number(config, name) for name in DIVISORS]
    scale = math.prod(factors)
    cap = next((cap for cap in (getattr(config, name, None) for name in CAPS) if cap), None)
    found = [LogitTransform(one, bound) for bound in (cap, None) for one in (scale, 1 / scale, 1.0)]
    return list(dict.fromkeys(found))


def width(model: PreTrainedModel) -> int:
    """Entries of a hidden state."""
    return int(text_config(model).hidden_size)


def _number(config: Any, name: str) -> float:
    """1 where the config has no such number."""
    value = getattr(config, name, None)
    return float(value) if isinstance(value, int | float) and value else 1.0
