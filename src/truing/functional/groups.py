"""Advantages without a critic: how much better a response turned out than the other answers to its prompt."""

import torch
from torch import Tensor

from truing.functional.shapes import Groups, Number, PerSequence


def leave_one_out(rewards: PerSequence, groups: Groups) -> PerSequence:
    """A response against the mean of the others of its group.

        A_i = r_i − mean of r_j over j ≠ i

    Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free!"; for language models Ahmadian et al. 2024
    (arXiv:2402.14740), RLOO.

    rewards (B,); groups (B,) int64, alike within a group. Returns (B,); 0 for a response that is alone in its group.
    """
    above = rewards - _extremes(rewards, groups)[0]  # as below
    total, sizes = _sums(above, groups)
    return torch.where(sizes > 1, above - (total - above) / (sizes - 1).clamp(min=1), 0.0)


def group_centred(rewards: PerSequence, groups: Groups) -> PerSequence:
    """A response against the mean of its group, itself included.

        A_i = r_i − mean r

    Liu et al. 2025 (arXiv:2503.20783), Dr. GRPO: without the deviation below, prompts whose answers differ little do
    not count for more.

    rewards (B,); groups (B,) int64, alike within a group. Returns (B,); 0 for a response that is alone in its group.
    """
    above = rewards - _extremes(rewards, groups)[0]  # or of large rewards, rounding would pass for contrast
    total, sizes = _sums(above, groups)
    return above - total / sizes


def group_normalised(rewards: PerSequence, groups: Groups, eps: Number = 1e-4) -> PerSequence:
    """A response against the mean of its group, in deviations of the group.

        A_i = (r_i − mean r) / (std r + eps)

    The deviation is that of a sample (n − 1). Shao et al. 2024 (arXiv:2402.03300), GRPO.

    rewards (B,); groups (B,) int64, alike within a group. Returns (B,); 0 for a response that is alone in its group.
    """
    centred = group_centred(rewards, groups)
    squares, sizes = _sums(centred.square(), groups)
    return centred / ((squares / (sizes - 1).clamp(min=1)).sqrt() + eps)


def has_contrast(rewards: PerSequence, groups: Groups) -> Tensor:
    """(B,) bool: whether rewards differ within the group of a response; where they do not, nothing is to be learnt.

    Yu et al. 2025 (arXiv:2503.14476), DAPO, leaves such groups out. rewards (B,); groups (B,) int64.
    """
    least, most = _extremes(rewards, groups)
    return least < most


def _same(groups: Groups) -> Tensor:
    """(B, B) bool: which responses are of one group."""
    return groups[..., :, None] == groups[..., None, :]


def _extremes(values: PerSequence, groups: Groups) -> tuple[Tensor, Tensor]:
    """(B,) least and most of the group of each."""
    same = _same(groups)
    return torch.where(same, values, torch.inf).amin(-1), torch.where(same, values, -torch.inf).amax(-1)


def _sums(values: PerSequence, groups: Groups) -> tuple[Tensor, Tensor]:
    """(B,) sum over the group of each, and (B,) its size."""
    same = _same(groups).to(values.dtype)
    return same @ values, same.sum(-1)
