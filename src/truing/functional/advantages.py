"""How much better than expected each token turned out."""

import torch

from truing.functional.shapes import Mask, Number, PerToken


def gae(
    rewards: PerToken, values: PerToken, mask: Mask, gamma: Number = 1.0, gae_lambda: Number = 0.95
) -> tuple[PerToken, PerToken]:
    """Generalised advantage estimation.

        δ_t = r_t + γ·V_{t+1} − V_t      A_t = δ_t + γλ·A_{t+1}      return_t = A_t + V_t

    where t + 1 is the next counted token, and V and A after the last one are 0: an episode ends there.
    Schulman et al. 2016 (arXiv:1506.02438), equation 16.

    rewards, values, mask (B, R). Returns (advantages, returns), each (B, R) and 0 off the mask.

    The many small steps, from the last column to the first, are taken on the CPU: a device would take longer to be
    told of each than to do all of them.
    """
    device = values.device
    rewards, values, counted = rewards.cpu(), values.cpu(), mask.bool().cpu()
    next_value = next_advantage = torch.zeros_like(values[..., 0])
    columns = []
    for t in reversed(range(values.shape[-1])):
        delta = rewards[..., t] + gamma * next_value - values[..., t]
        advantage = delta + gamma * gae_lambda * next_advantage
        next_advantage = torch.where(counted[..., t], advantage, next_advantage)
        next_value = torch.where(counted[..., t], values[..., t], next_value)
        columns.append(advantage)
    advantages = torch.where(counted, torch.stack(columns[::-1], dim=-1), 0.0)
    return advantages.to(device), torch.where(counted, advantages + values, 0.0).to(device)
