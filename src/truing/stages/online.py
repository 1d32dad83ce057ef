"""The loop of stages that learn from their own responses: the policy answers, its answers are scored, roles learn.

What makes an algorithm is an `Objective`: how scores and log-probabilities become advantages, and which losses an
update has. The rest (sampling, scoring, the KL penalty's price, evaluation, checkpoints) is the same for all.
"""

from truing.config.defaults import given
from truing.core.llm_usage import costs
from truing.core.results import GuardResult, OnlineResult, to_json
from truing.evaluation.decision import Decide, Stop, always_go_on
from truing.evaluation.heldout import HeldoutEvaluator
from truing.evaluation.learning import online_findings, refuse_ratio
from truing.guard.opening import open_guard
from truing.models.layout import Roles
from truing.rollout.ahead import Rollouts
from truing.rollout.selection import open_engine
from truing.stages.decisions import decided
from truing.stages.evaluating import evaluator_of, reward_of
from truing.stages.kl_control import KlController
from truing.stages.objective import Objective, OnlineSettings
from truing.stages.policy_result import online_result
from truing.stages.update import Update
from truing.training.job import Job
from truing.training.journal import Journal, open_journal
from truing.training.learner import Learner


def train_online(job: Job, roles: Roles, objective: Objective, decide: Decide | None = None) -> OnlineResult:
    """Runs every update, evaluates on held-out prompts as it goes, saves `model/` and returns the final metrics.

    What an evaluation comes to is decided by the recipe's guard, or by `decide` where that is given.
    """
    recipe, settings = job.recipe, objective.settings
    prompts = job.prompts()
    steps = settings.updates * settings.epochs * settings.minibatches
    learner = Learner(objective.trained, settings.optimiser, steps, given(recipe.compute.learn_tokens))
    with (
        open_journal(job, learner, settings.updates) as journal,
        open_engine(recipe, roles.policy, roles.base, prompts.train, job.directory.root) as engine,
    ):
        reward = reward_of(job, roles, prompts, journal)
        controller = KlController(journal.recall("beta", settings.kl.beta), settings.kl)
        evaluator = evaluator_of(job, roles, reward, prompts, journal)
        guard = (
            None if decide else open_guard(job, settings.updates, settings.kl.beta, journal, evaluator, prompts.heldout)
        )
        if not journal.rows:
            journal.log(0, evaluator.evaluate(0))
        if guard is not None and guard.acts and journal.step == 0:
            journal.pin()
        decide = decide or (always_go_on if guard is None else guard.decide)
        sizes = settings.episodes, settings.responses_per_prompt, settings.updates
        rollouts = Rollouts(recipe, roles.base, prompts, engine, *sizes, job.environment)
        rollouts.take_up(journal.step, journal.tensors)
        update = Update(recipe, roles, objective, rollouts, reward, learner)
        controller, stop = decided(decide, controller, journal, evaluator, rollouts)
        while stop is None and journal.step < settings.updates:
            number = journal.step + 1
            metrics = update.run(number, controller.beta)
            refuse_ratio(metrics.get("ratio_max_deviation", 0.0), recipe.compute.dtype)
            controller = controller.after(metrics["kl"], settings.episodes)
            evaluated = number % recipe.evaluation.every == 0 or number == settings.updates
            evaluated = evaluated or (guard is not None and guard.looks_at(number))
            metrics |= evaluator.evaluate(number) if evaluated else {}
            metrics["episodes"] = number * settings.episodes
            journal.log(number, metrics, shown=("score", "kl", "entropy", "length"))
            memory = {"beta": controller.beta, "normalisations": reward.normalisations}
            memory |= {} if guard is None else {"guard": to_json(guard.state)}
            journal.done(number, rollouts.weights, **memory)
            controller, stop = decided(decide, controller, journal, evaluator, rollouts)
        journal.keep()
        if stop is not None and stop.keeps_pinned:
            evaluator.forget_after(journal.take_pinned())
    notes = [*roles.notes, *rollouts.notes, *costs(job.llm_answers.usage())]
    result = _result(job, settings, journal, evaluator, stop, notes, None if guard is None else guard.result())
    job.save_policy(roles.policy, roles.base, result)
    return result


def _result(
    job: Job,
    settings: OnlineSettings,
    journal: Journal,
    evaluator: HeldoutEvaluator,
    stop: Stop | None,
    notes: list[str],
    guarded: GuardResult | None,
) -> OnlineResult:
    """From the log of every update (the first row is the evaluation before them) to result.json."""
    name, dtype = job.spec.name, job.recipe.compute.dtype
    findings = online_findings(journal.rows, name, settings.epochs * settings.minibatches, dtype)
    findings += evaluator.findings(name, "kl.beta")
    return online_result(journal.rows, evaluator, "updates" if stop is None else stop.reason, notes, findings, guarded)
