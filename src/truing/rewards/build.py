"""The recipe's list of rewards becomes one weighted sum."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

from torch import Tensor

from truing.config.defaults import given
from truing.config.recipe import Recipe
from truing.config.sections import RewardConfig
from truing.core.errors import RecipeError
from truing.core.normalisation import Normalisation
from truing.core.records import Sample
from truing.data.prompts import PromptSet
from truing.functional import mean_less_variance, soft_minimum
from truing.models.layout import Roles
from truing.models.roles import Role
from truing.rewards.answers import Answers
from truing.rewards.combined import MembersReward, WeightedPart, WeightedReward, mean
from truing.rewards.environment import EpisodeReward
from truing.rewards.llm_judge import LlmReward
from truing.rewards.python_function import FunctionReward
from truing.rewards.sources import ClassifierReward, RewardFn, RoleReward, refuse_bad
from truing.rollout.environment import Environment
from truing.rollout.episodes import reference_samples


def build_reward(
    recipe: Recipe,
    roles: Roles,
    prompts: PromptSet,
    measured: Sequence[tuple[float, float]] | None = None,
    answers: Answers | None = None,
    environment: Environment | None = None,
) -> WeightedReward:
    """Loads every source; those without a saved normalisation are measured on samples of the SFT model.

    A stage that is taken up hands in the normalisations that were `measured` when it began; `answers` are what LLM
    judges have said in the run.
    """
    calibration: list[Sample] = []
    parts: list[WeightedPart] = []
    drops = recipe.rewards.on_bad_score == "drop"
    for settings in recipe.rewards.sources:
        source, name = _source(settings, recipe, roles, answers), settings.path or "the reward stage's model"
        if measured is not None:
            normalisation = Normalisation(*measured[len(parts)])
        elif not settings.normalise:
            normalisation = Normalisation()
        elif settings.kind == "stage":
            normalisation = _of_the_stage(source, roles)
        else:
            begun = roles.reference or roles.policy  # nothing is learnt yet, or it would have been measured
            calibration = calibration or reference_samples(begun, prompts, recipe, roles.base, environment)
            scores = source.score(calibration)
            if not drops:
                refuse_bad(scores, calibration, name)
            normalisation = Normalisation.measure(scores, where=name)
        label = _label(settings, [part.label for part in parts])
        parts.append(WeightedPart(name, source, settings.weight, normalisation, label, settings.bounded))
    return WeightedReward(tuple(parts), drops)


def build_judges(recipe: Recipe, answers: Answers | None = None) -> dict[str, FunctionReward | LlmReward]:
    """The recipe's judges of held-out responses, by name. RewardError where a function cannot be imported."""
    return {
        name: LlmReward.load(path, recipe, answers) if path in recipe.llm_judges else FunctionReward.load(path, recipe)
        for name, path in recipe.evaluation.judges.items()
    }


def _label(settings: RewardConfig, taken: Sequence[str]) -> str:
    """The function's name or the model's, with a number where another part has it."""
    name = re.split(r"[:/\\]", settings.path.rstrip("/\\"))[-1] if settings.path else "reward_model"
    plain = re.sub(r"[^\w-]", "_", name)
    numbered = (f"{plain}_{number}" for number in count(2))
    return plain if plain not in taken else next(label for label in numbered if label not in taken)


def _source(settings: RewardConfig, recipe: Recipe, roles: Roles, answers: Answers | None) -> RewardFn:
    budget = given(recipe.compute.score_tokens)
    if settings.kind == "judge":
        return LlmReward.load(settings.path or "", recipe, answers)
    if settings.kind == "environment":
        return EpisodeReward()
    if settings.kind == "function":
        return FunctionReward.load(settings.path or "", recipe)
    if settings.kind == "model":
        today = roles.base.text_format(recipe.data).today
        return ClassifierReward.load(settings.path or "", roles.base.model.device, budget, today)
    if roles.reward is None:
        what = "rewards.sources asks for the reward stage's model, and no stage of the run made one."
        raise RecipeError(what, code="recipe/no-reward-stage")

    def of_role(role: Role) -> RoleReward:
        return RoleReward(role, roles.base.tokenizer.pad_token_id, roles.base.endings, budget)

    if roles.members and settings.combine != "averaged_weights":
        return MembersReward([*map(of_role, roles.members)], roles.member_scales, combination(settings))
    return of_role(roles.reward)


def _of_the_stage(source: RewardFn, roles: Roles) -> Normalisation:
    """Measured as the reward stage ended, on samples of the SFT model: of its model, or of its members together."""
    if isinstance(source, MembersReward) and roles.member_scores is not None:
        return source.normalisation(roles.member_scores)
    return roles.normalisation


def combination(settings: RewardConfig) -> Callable[[Tensor], Tensor]:
    """From (N, k) scores of the reward stage's members to (N,), as a source of the recipe has it."""
    if settings.tau is not None:
        return partial(soft_minimum, tau=settings.tau)
    if settings.variance_price is not None:
        return partial(mean_less_variance, price=settings.variance_price)
    return mean
