"""A policy that learns from preferences or ratings: one loop, one evaluation and one result for every such loss.

A stage brings an `OfflineObjective`: its rows, its loss, and how its own reward scores held-out responses.
"""

from dataclasses import replace
from typing import Any

from truing.config.defaults import given
from truing.core.llm_usage import costs
from truing.core.results import OfflineResult, PairCard, read, to_json
from truing.data.batching import optimiser_batches
from truing.evaluation.changes import change_between
from truing.evaluation.heldout import HeldoutEvaluator
from truing.evaluation.learning import chosen_falls_warning, still_finding
from truing.models.layout import Roles, policy_roles
from truing.stages.evaluating import evaluator_of, reward_of
from truing.stages.offline import learn_rows
from truing.stages.offline_objective import Micro, OfflineObjective
from truing.training.job import Job
from truing.training.journal import Journal, open_journal
from truing.training.learner import Learner, Trained

LOGGED = ("heldout_accuracy", "heldout_loss", "score_gap_mean")
"""Of what is measured on held-out pairs, in every evaluation"""

NO_DISTANCE = (
    "roles: separate keeps no copy of the model that this stage began with, so its KL from it is not measured."
)


def offline_roles(job: Job) -> Roles:
    """The policy, the reward model where there is one, and the reference where the loss asks for one."""
    return policy_roles(job.recipe, job.start, job.reward, job.tokens, reference=job.spec.has_reference)


def train_offline(job: Job, roles: Roles, objective: OfflineObjective[Micro]) -> OfflineResult:
    """Trains, evaluates on held-out responses and prompts as it goes, saves `model/`."""
    recipe, settings, train = job.recipe, objective.settings, objective.train
    plan = optimiser_batches(len(train), given(settings.batch_size), given(settings.epochs), recipe.seed, job.spec.name)
    trained = Trained("policy", roles.policy, given(settings.optimiser.learning_rate))
    learner = Learner([trained], settings.optimiser, len(plan), given(recipe.compute.learn_tokens))
    with open_journal(job, learner, len(plan)) as journal:
        prompts = job.prompts().without(job.rows.learnt_prompts(job.spec.datasets_of(recipe), recipe))
        scored = roles.reward is not None  # by the reward of the recipe, which such a loss does not learn from
        reward = reward_of(job, roles, prompts, journal) if scored else None
        evaluator = evaluator_of(job, roles, reward, prompts, journal)
        memory: dict[str, Any] = {
            "card": journal.recall("card", None),
            "chosen_logprobs": journal.recall("chosen_logprobs", None),
            "normalisations": reward.normalisations if reward else None,
        }

        def evaluate(step: int) -> dict[str, Any]:
            scores = objective.heldout()
            metrics = {"heldout_chosen_logprob": float(scores.chosen_logprobs.double().mean())}
            now = scores.chosen_logprobs.tolist()
            memory["chosen_logprobs"] = [memory["chosen_logprobs"][0] if step else now, now]
            if step > 0 or not job.spec.has_reference:  # it begins as the reference: its own reward of all is 0
                memory["card"] = to_json(scores.card())
                metrics |= {name: memory["card"][name] for name in LOGGED}
            return metrics | evaluator.evaluate(step)

        learn_rows(
            journal,
            learner,
            train,
            plan,
            losses=[objective.loss],
            shown=("loss", "accuracy", "margin"),
            evaluate=evaluate,
            every=recipe.evaluation.every,
            remember=lambda: dict(memory),
            ready=objective.ready,
        )
    result = _result(job, roles, objective, journal, evaluator)
    job.save_policy(roles.policy, roles.base, result)
    return result


def _result(
    job: Job, roles: Roles, objective: OfflineObjective[Micro], journal: Journal, evaluator: HeldoutEvaluator
) -> OfflineResult:
    """From the log of every step (the first is the evaluation before learning) to result.json."""
    first, last = journal.rows[0], journal.rows[-1]
    chosen_logprob = change_between(*journal.memory["chosen_logprobs"])
    result = OfflineResult(
        card=read(PairCard, journal.memory["card"]),
        heldout=evaluator.result(),
        kl_last=last.get("heldout_kl"),
        length_first=first["heldout_length"],
        length_last=last["heldout_length"],
        eos_rate_last=last["heldout_eos_rate"],
        warnings=[
            *evaluator.warnings(_as_of_rollouts(first), _as_of_rollouts(last)),
            *chosen_falls_warning(chosen_logprob),
        ],
        steps=journal.steps,
        truncation=objective.report,
        notes=[
            *roles.notes,
            *([] if roles.reference else [NO_DISTANCE]),
            *costs(job.llm_answers.usage()),
        ],
        findings=[
            *still_finding(last.get("heldout_kl"), job.spec.name, objective.held_by),
            *evaluator.findings(job.spec.name, objective.held_by),
        ],
        chosen_logprob=chosen_logprob,
    )
    return replace(result, **objective.facts)


def _as_of_rollouts(row: dict[str, Any]) -> dict[str, float]:
    """An evaluation's metrics under the names that updates log theirs with."""
    return row | {name: row[f"heldout_{name}"] for name in ("length", "eos_rate", "kl") if f"heldout_{name}" in row}
