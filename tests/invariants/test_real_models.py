"""What no training may change, on every shape of model that people bring (random weights, seconds).

That a figure does not depend on padding or on its neighbours, that sampled log-probabilities are the teacher-forced
ones, and that scores are read at the right token, is held in tests/models and tests/rollout; that micro-batches do not
matter, in tests/training/test_learner.py.
"""

import hashlib
from pathlib import Path

import pytest
import tiny
import torch

from truing.models.decoding import left_padded
from truing.models.layout import ppo_roles
from truing.models.roles import Role
from truing.stages.reward import train_reward

PROBE = torch.tensor([[1, 2, 3, 4]])
STEPS_PLANNED = (1, 2, 10)


def _fingerprint(role: Role) -> str:
    """Of what a role makes of some tokens: adapter, base and head, to the bit."""
    with torch.no_grad():
        hidden = role.hidden(PROBE, torch.ones_like(PROBE))
        made = role.logits(hidden) if role.head is None else role.scalar(hidden)
    return hashlib.sha256(made.numpy().tobytes()).hexdigest()


@pytest.mark.parametrize("layout", ["shared", "separate"])
@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_ten_updates_leave_reference_and_reward_alone_and_begin_with_a_ratio_of_one(
    shape: str, layout: str, tmp_path: Path
) -> None:
    recipe = tiny.recipe(tmp_path, shape, roles=layout, **{"ppo.updates": 10, "ppo.episodes": 4})
    reward_job = tiny.job(recipe, tmp_path, "reward")
    train_reward(reward_job)
    job = tiny.job(recipe, tmp_path, "ppo", reward_job.directory.root)
    roles = ppo_roles(recipe, job.start, job.reward)
    assert roles.reward is not None
    update = tiny.ppo_update(recipe, roles)
    held, moving = (roles.reference, roles.reward), (roles.policy, roles.critic)
    before = [_fingerprint(role) for role in held], [_fingerprint(role) for role in moving]
    deviations = {number: update.run(number, beta=0.05)["ratio_max_deviation"] for number in range(1, 11)}
    assert [_fingerprint(role) for role in held] == before[0]
    assert all(_fingerprint(role) != old for role, old in zip(moving, before[1], strict=True))
    assert max(deviations[number] for number in STEPS_PLANNED) < 1e-5


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_left_and_right_padding_agree(shape: str) -> None:
    role = Role(tiny.model(shape))
    prompts, pad = [[1, 2, 3, 4, 5], [6, 7], [8]], len(tiny.LETTERS) + 1
    left, left_mask = left_padded(prompts, pad, torch.device("cpu"))
    right = torch.tensor([[*prompt, *[pad] * (5 - len(prompt))] for prompt in prompts])
    right_mask = torch.tensor([[1] * len(prompt) + [0] * (5 - len(prompt)) for prompt in prompts])
    with torch.no_grad():
        on_the_left, on_the_right = role.hidden(left, left_mask), role.hidden(right, right_mask)
    for row, prompt in enumerate(prompts):
        length = len(prompt)
        torch.testing.assert_close(on_the_left[row, -length:], on_the_right[row, :length], atol=1e-5, rtol=1e-5)
