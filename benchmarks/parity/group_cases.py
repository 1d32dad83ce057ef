"""The cases of GRPO and RLOO. Read by both sides, each in its own environment: only the standard library here."""

from dataclasses import dataclass, field
from typing import Any

RESPONSES, GROUP, LENGTH, STEPS = 8, 4, 24, 3
"""Responses to a step, of which so many to one prompt; their longest; optimiser steps on the same responses"""
BETA, RATE = 0.2, 0.02
"""Price of a nat; the learning rate is large, so that the last step has clipped tokens"""


@dataclass(frozen=True)
class GroupCase:
    """One update of a TRL trainer that compares the answers to a prompt."""

    name: str
    stage: str
    """grpo or rloo"""
    title: str
    theirs: dict[str, Any] = field(default_factory=dict)
    """Settings of TRL's trainer"""
    ours: dict[str, Any] = field(default_factory=dict)
    """The same in the words of a recipe"""


PUBLISHED = {"use_bias_correction_kl": False}
"""TRL's own default is the corrected one"""
PENALTY = {"penalty": "k3_in_loss"}
GROUP_CASES = (
    GroupCase("grpo", "grpo", "GRPO as published", PUBLISHED | {"loss_type": "grpo"}, PENALTY),
    GroupCase(
        "grpo-corrected",
        "grpo",
        "GRPO with the corrected penalty",
        {"loss_type": "grpo"},
        {"penalty": "corrected_k3_in_loss"},
    ),
    GroupCase(
        "dr-grpo",
        "grpo",
        "Dr. GRPO",
        PUBLISHED | {"loss_type": "dr_grpo", "scale_rewards": "none"},
        PENALTY | {"average": "constant", "advantage": "centred"},
    ),
    GroupCase(
        "dapo",
        "grpo",
        "DAPO's average and clip",
        PUBLISHED | {"loss_type": "dapo", "epsilon_high": 0.28},
        PENALTY | {"average": "tokens", "clip_range_high": 0.28},
    ),
    GroupCase(
        "gspo",
        "grpo",
        "GSPO's ratio",
        PUBLISHED | {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 0.01},
        PENALTY | {"ratio": "response", "clip_range": 0.01},
    ),
    GroupCase("rloo", "rloo", "RLOO"),
)


def reward(text: str) -> float:
    """Of a response: something that differs from one to the next."""
    return float(sum(map(ord, text)) % 17) / 4
