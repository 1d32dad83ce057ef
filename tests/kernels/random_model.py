"""Models of any family that nothing has trained."""

from copy import deepcopy

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel


def random_model(config: PretrainedConfig) -> PreTrainedModel:
    """Random weights, norms and biases among them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(deepcopy(config)).eval().requires_grad_(False)
        for weight in model.parameters():
            if weight.dim() == 1:
                weight.add_(0.3 * torch.randn_like(weight))
    return model
