"""Models of any family that nothing has trained."""

from copy import deepcopy
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)


def families(head_dim: int, **sizes: Any) -> dict[str, PretrainedConfig]:
    """One of each kind of layer that is computed in few passes."""
    return {
        "llama": LlamaConfig(**sizes),
        "llama with biases": LlamaConfig(**sizes, attention_bias=True, mlp_bias=True),
        "mistral": MistralConfig(**sizes, sliding_window=None, head_dim=head_dim),
        "qwen2": Qwen2Config(**sizes),
        "qwen3": Qwen3Config(**sizes, head_dim=head_dim),
    }


def random_model(config: PretrainedConfig) -> PreTrainedModel:
    """Random weights, norms and biases among them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(deepcopy(config)).eval().requires_grad_(False)
        for weight in model.parameters():
            if weight.dim() == 1:
                weight.add_(0.3 * torch.randn_like(weight))
    return model
