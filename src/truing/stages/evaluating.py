"""What scores a policy as it learns: the recipe's rewards, and the evaluation on held-out prompts."""

from truing.data.prompts import PromptSet
from truing.evaluation.heldout import HeldoutEvaluator
from truing.models.layout import Roles
from truing.rewards.build import build_reward
from truing.rewards.combined import WeightedReward
from truing.training.job import Job
from truing.training.journal import Journal


def reward_of(job: Job, roles: Roles, prompts: PromptSet, journal: Journal) -> WeightedReward:
    """The recipe's rewards, on the scales that were measured as the stage began."""
    scales = journal.recall("normalisations", None)
    return build_reward(job.recipe, roles, prompts, scales, job.llm_answers, job.environment)


def evaluator_of(
    job: Job, roles: Roles, reward: WeightedReward | None, prompts: PromptSet, journal: Journal
) -> HeldoutEvaluator:
    """The evaluation on these held-out prompts, taken up where the journal is; of the reward where there is one."""
    return HeldoutEvaluator(
        job.recipe,
        roles,
        reward,
        prompts.heldout,
        journal.samples,
        journal.earlier_samples,
        job.llm_answers,
        job.environment,
    )
