"""What every stage is handed, and the few things that all of them do with it."""

from dataclasses import dataclass

from truing.models.base import LoadedBase
from truing.models.layout import RewardModelFiles, in_full_precision
from truing.models.roles import Role
from truing.models.saving import merge, save_adapter, save_policy
from truing.recipe import Base, Recipe
from truing.runs.directory import StageDirectory
from truing.runs.interruption import Stop
from truing.runs.progress import Progress
from truing.runs.trackers import Tracker


@dataclass(frozen=True)
class Job:
    """One stage of one run."""

    name: str
    """The stage's directory: sft, reward, ppo, ppo-no-kl"""
    recipe: Recipe
    directory: StageDirectory
    start: Base
    """The model this stage begins with; for reward and PPO that is the SFT model"""
    reward: RewardModelFiles | None
    """The reward stage's result, where there is one"""
    progress: Progress
    tracker: Tracker
    stop: Stop
    """Whether somebody has asked the run to end"""

    def save_policy(self, policy: Role, base: LoadedBase) -> None:
        """`model/`, and `adapter/` where one was trained. It is merged, so nothing can be measured afterwards."""
        if policy.adapters is not None:
            save_adapter(policy, self.directory.adapter)
        save_policy(merge(self.whole(policy)), base.tokenizer, self.directory.model)

    def whole(self, role: Role) -> Role:
        """The role whose adapter was saved, in full precision: what is merged into a model of its own."""
        return in_full_precision(role, self.directory.adapter, self.recipe, self.start)
