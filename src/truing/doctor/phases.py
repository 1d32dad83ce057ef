"""Every phase of a recipe, stage by stage: who is there, and what they do.

Weights are held once for each full model, an adapter's moments and gradients beside it; what waits for a backward is
that of the largest micro-batch; what a rollout leaves behind is kept until its update is done.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from truing.config.recipe import Recipe
from truing.doctor.learning import learner, learning, moments
from truing.doctor.lengths import Lengths
from truing.doctor.phase import Parts, Phase
from truing.doctor.rollouts import kept, sampling, scoring_phase
from truing.doctor.shadow import Shadow
from truing.doctor.work import pair_steps, ppo_steps, sampled, scoring, sft_steps

KERNEL, KERNELS = 0.65e6, 1024
"""Bytes of a product that oneDNN has compiled, measured; how many of them it keeps"""


def phases(recipe: Recipe, shadow: Shadow, lengths: Lengths) -> Iterator[Phase]:
    """All of them.

    oneDNN compiles every product anew for each number of rows, and keeps it while the process lives.
    """
    met: dict[int, float] = {}
    for phase in _without_kernels(recipe, shadow, lengths):
        met |= {rows: max(phase.compiled, met.get(rows, 0.0)) for rows in phase.row_counts}
        yield replace(phase, parts=phase.parts | {"compiled products": KERNEL * min(KERNELS, sum(met.values()))})


def _without_kernels(recipe: Recipe, shadow: Shadow, lengths: Lengths) -> Iterator[Phase]:
    stages = {"sft": _sft, "reward": _reward, "ppo": _ppo, "dpo": _dpo}
    for stage in recipe.stages:
        yield from stages[stage](recipe, shadow, lengths)


def _sft(recipe: Recipe, shadow: Shadow, lengths: Lengths) -> Iterator[Phase]:
    full, steps = recipe.sft.method == "full", sft_steps(lengths, recipe)
    yield from learning("sft", _model(shadow, full), [learner(shadow, steps, full, head=False)], steps, shadow, recipe)


def _reward(recipe: Recipe, shadow: Shadow, lengths: Lengths) -> Iterator[Phase]:
    full, steps = recipe.roles == "separate", pair_steps(lengths, recipe, "reward")
    said = sampled(lengths, recipe, recipe.rewards.normalisation_samples)
    yield sampling("reward", _model(shadow, full=True), said, shadow, recipe)
    learners = [learner(shadow, steps, full, head=True)]
    yield from learning("reward", _model(shadow, full), learners, steps, shadow, recipe)


def _ppo(recipe: Recipe, shadow: Shadow, lengths: Lengths) -> Iterator[Phase]:
    settings, full, trunk = recipe.ppo, recipe.roles == "separate", _trunk(recipe, shadow)
    held = _policy_roles(recipe, shadow) | _classifiers(recipe)
    if full:
        held["weights"] += shadow.backbone
    else:
        held["adapters"] += shadow.adapter(trunk)
    steps, said = ppo_steps(lengths, recipe), sampled(lengths, recipe, settings.episodes)
    learners = [learner(shadow, steps, full, head, trunk, given=True) for head in (False, True)]
    held |= moments(learners)
    looked = sampled(lengths, recipe, max(settings.episodes, recipe.evaluation.prompts))
    yield sampling("ppo", held, said, shadow, recipe, trunk, looked)
    held |= kept(said, shadow, trunk)
    yield scoring_phase(recipe, held, scoring(lengths, recipe), shadow, trunk)
    yield from learning("ppo", held, learners, steps, shadow, recipe, settings.epochs * settings.minibatches)


def _dpo(recipe: Recipe, shadow: Shadow, lengths: Lengths) -> Iterator[Phase]:
    full, steps, trunk = recipe.roles == "separate", pair_steps(lengths, recipe, "dpo"), _trunk(recipe, shadow)
    learners, looked = (
        [learner(shadow, steps, full, False, trunk)],
        sampled(lengths, recipe, recipe.evaluation.prompts),
    )
    held = _policy_roles(recipe, shadow) | moments(learners)
    yield sampling("dpo", held, looked, shadow, recipe, trunk)
    yield from learning("dpo", held, learners, steps, shadow, recipe)


def _model(shadow: Shadow, full: bool) -> Parts:
    """One model, with an adapter that learns or without."""
    return {"weights": float(shadow.weights)} | ({} if full else {"adapters": shadow.adapter()})


def _policy_roles(recipe: Recipe, shadow: Shadow) -> Parts:
    """Policy, reference, and the reward model where the recipe has one."""
    rewarded = "reward" in recipe.stages
    if recipe.roles == "separate":
        return {"weights": 2.0 * shadow.weights + (shadow.backbone if rewarded else 0)}
    adapters = shadow.adapter(_trunk(recipe, shadow)) + (shadow.adapter() if rewarded else 0)
    return {"weights": float(shadow.weights), "adapters": adapters}


def _classifiers(recipe: Recipe) -> Parts:
    """Reward models of other people, by the size of their files."""
    places = [Path(part.path) for part in recipe.rewards.sources if part.kind == "model" and part.path]
    size = sum(file.stat().st_size for place in places for file in place.glob("*.safetensors"))
    return {"reward classifiers": float(size)} if size else {}


def _trunk(recipe: Recipe, shadow: Shadow) -> int:
    """Layers below the lowest that policy and critic adapt; none where all weights learn."""
    return shadow.below(recipe.lora.layers) if recipe.roles == "shared" else 0
