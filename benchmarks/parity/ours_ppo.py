"""The same PPO updates by truing: TRL's responses and its weights before each step, and everything else of our own."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from cases import PPO, PpoCase
from ours import Measured, gradients, learner_of, scored_role
from safetensors.torch import load_file
from torch import Tensor

from truing.config.recipe import Recipe
from truing.config.sections import Base, Compute
from truing.core.batches import Sequences
from truing.core.experience import Experience, LocalStates, Rollout
from truing.core.normalisation import Normalisation
from truing.functional import (
    gae,
    masked_mean,
    masked_whiten,
    ppo_policy_loss,
    ppo_value_loss,
    shape_rewards,
    token_entropy,
)
from truing.models.layout import PpoRoles, trained_role
from truing.models.load import load_base
from truing.models.scoring import (
    end_scores,
    forward_in_micro_batches,
    response_hidden,
    response_logprobs,
    response_values,
)
from truing.stages.objective import Scored
from truing.stages.ppo import make_experience, ppo_objective
from truing.stages.update import learn, score_rollout
from truing.training.learner import Learner


@dataclass(frozen=True)
class Defects:
    """What TRL does differently, to be put into ours one by one; each is described on the results page."""

    past_eos: bool = False
    sample_variance: bool = False
    equal_micro_batches: bool = False


@dataclass(frozen=True)
class Update:
    """One update: what TRL recorded of it, and our own measurements on its responses."""

    case: PpoCase
    recorded: dict[str, Tensor]
    facts: dict[str, Any]
    steps: list[dict[str, Tensor]]
    roles: PpoRoles
    recipe: Recipe
    scored: Scored

    @property
    def sequences(self) -> Sequences:
        return self.scored.rollout.sequences

    def load_weights(self, step: int) -> None:
        """TRL's weights before its optimiser step `step` (from 0)."""
        for role, prefix in ((self.roles.policy, "weight.policy."), (self.roles.critic, "weight.value_model.")):
            named = {name.removeprefix(prefix): w for name, w in self.steps[step].items() if name.startswith(prefix)}
            role.model.load_state_dict(named)
            if role.head is not None:
                role.head.load_state_dict({"weight": named["score.weight"]})
            for weight in role.parameters():
                weight.grad = None

    def theirs(self, step: int) -> Measured:
        """Loss and gradients that TRL had in that step."""
        return {name: tensor for name, tensor in self.steps[step].items() if not name.startswith("weight.")}


def read_update(case: PpoCase, material: Path, peer: Path) -> Update:
    """Reads what TRL recorded; scores, values and log-probabilities are computed anew."""
    recorded = load_file(peer / f"{case.name}.safetensors")
    facts = json.loads((peer / f"{case.name}.json").read_text(encoding="utf-8"))
    steps = [load_file(path) for path in sorted(peer.glob(f"{case.name}-step-*.safetensors"))]
    base, reference = (load_base(Base(path=str(material / n)), Compute(device="cpu")) for n in ("base", "reference"))
    policy, critic = trained_role(base, "policy", None, seed=0), scored_role(material / "critic")
    reward = scored_role(material / "reward")
    roles = PpoRoles(base, policy, reference.role(), reward, Normalisation(), critic)
    recipe = recipe_of(case)
    sequences, finished = responses_of(recorded, base.tokenizer.pad_token_id, base.tokenizer.eos_token_id)
    with torch.no_grad():
        logprobs = response_logprobs(policy, sequences, PPO["temperature"])
        states = LocalStates(response_hidden(policy, sequences))
        rollout = Rollout(sequences, logprobs, finished, torch.arange(len(sequences)), states)
        scores = end_scores(reward, sequences).tolist()
    return Update(case, recorded, facts, steps, roles, recipe, score_rollout(rollout, scores, roles, critic, recipe))


def recipe_of(case: PpoCase) -> Recipe:
    """TRL's settings in the words of a recipe; one pass, since a step is measured at a time."""
    same = ("gamma", "gae_lambda", "clip_range", "value_clip_range", "value_coefficient")
    ppo = {name: PPO[name] for name in same} | {"whiten_rewards": case.whiten_rewards}
    ppo |= {"optimiser": {"learning_rate": 1e-4, "adam_eps": 1e-5, "schedule": "linear"}}
    return Recipe.model_validate(
        {
            "ppo": ppo | {"episodes": PPO["responses"], "epochs": 1, "kl": {"beta": PPO["kl_coef"]}},
            "rollout": {"max_new_tokens": PPO["length"], "temperature": PPO["temperature"]},
            "compute": {"score_tokens": 2048},
            "rewards": {"missing_eos": {"policy": "subtract", "value": PPO["missing_eos_penalty"]}},
        }
    )


def responses_of(recorded: dict[str, Tensor], pad: int, eos: int) -> tuple[Sequences, Tensor]:
    """TRL's left-padded prompts and right-padded responses as ours, and which responses have an eos."""
    context = int(recorded["context"])
    rows = recorded["tokens"].tolist()
    prompts = [[token for token in row[:context] if token != pad] for row in rows]
    responses = [[token for token in row[context:] if token != pad] for row in rows]
    return Sequences.collate(prompts, responses, pad), torch.tensor([eos in response for response in responses])


def inputs_gap(update: Update) -> dict[str, float]:
    """Largest differences, over counted tokens, of what the losses are made from."""
    mask, recorded, scored = update.sequences.response_mask, update.recorded, update.scored
    pairs = {
        "log π of the sampled tokens": (recorded["logprobs"], scored.rollout.logprobs),
        "log π_ref": (recorded["ref_logprobs"], scored.ref_logprobs),
        "values": (recorded["values"], scored.values),
    }
    gaps = {name: float((theirs - ours).abs()[mask].max()) for name, (theirs, ours) in pairs.items()}
    return gaps | {"scores": float((recorded["scores"] - scored.scores).abs().max())}


def measure(update: Update, step: int) -> tuple[Measured, dict[str, float]]:
    """Loss and gradients of our own PPO step from TRL's weights before that step, and our figures of it."""
    update.load_weights(step)
    roles, recipe = update.roles, update.recipe
    learner = _Reader(learner_of(roles.policy, roles.critic), roles)
    experience = make_experience(update.scored, recipe.ppo.kl.beta, recipe.ppo)
    objective = ppo_objective(recipe, roles)
    update_figures = learn(experience, objective, learner, recipe.seed, number=1)  # type: ignore[arg-type]
    loss = update_figures["policy_loss"] + recipe.ppo.value_coefficient * update_figures["value_loss"]
    with torch.no_grad():
        logits = roles.policy.logits(response_hidden(roles.policy, update.sequences)) / recipe.rollout.temperature
        entropy = float(masked_mean(token_entropy(logits), update.sequences.response_mask))
    return {"loss": torch.tensor(loss)} | learner.gradients, update_figures | {"entropy": entropy}


class _Reader:
    """A learner that keeps the gradients of its step and does not take it."""

    def __init__(self, learner: Learner, roles: PpoRoles) -> None:
        self.forward_backward = learner.forward_backward
        self.gradients: Measured = {}
        self._roles = roles

    def step(self) -> float:
        self.gradients = both_gradients(self._roles)
        return float(torch.stack([gradient.norm() for gradient in self.gradients.values()]).norm())


def both_gradients(roles: PpoRoles) -> Measured:
    """Of policy and critic, under TRL's names."""
    return gradients(roles.policy, "policy.{}".format) | gradients(roles.critic, "value_model.{}".format)


def measure_with(update: Update, step: int, defects: Defects) -> Measured:
    """The same with some of TRL's defects. With none it is `measure`, spelt out."""
    with torch.no_grad():
        learnt_policy, learnt_critic = experiences_with(update, defects)
    update.load_weights(step)
    policy, critic, settings = update.roles.policy, update.roles.critic, update.recipe.ppo
    learner, total = learner_of(policy, critic), 0.0
    groups = micro_batches(update, step) if defects.equal_micro_batches else [list(range(len(update.sequences)))]

    def policy_loss(batch: Experience) -> tuple[Tensor, dict[str, Tensor]]:
        logprobs = response_logprobs(policy, batch.sequences, update.recipe.rollout.temperature)
        mask = batch.sequences.response_mask
        loss, _ = ppo_policy_loss(logprobs, batch.old_logprobs, batch.advantages, mask, settings.clip_range)
        return loss / len(groups), {}

    def value_loss(batch: Experience) -> tuple[Tensor, dict[str, Tensor]]:
        values, mask = response_values(critic, batch.sequences), batch.sequences.response_mask
        loss, _ = ppo_value_loss(values, batch.old_values, batch.returns, mask, settings.value_clip_range)
        return settings.value_coefficient * loss / len(groups), {}

    for index in groups:
        total += learner.forward_backward(learnt_policy.rows(index), policy_loss)["loss"]
        total += learner.forward_backward(learnt_critic.rows(index), value_loss)["loss"]
    return {"loss": torch.tensor(total)} | both_gradients(update.roles)


def experiences_with(update: Update, defects: Defects) -> tuple[Experience, Experience]:
    """What policy and critic learn from. They differ where the episode goes on for one token after eos."""
    update.load_weights(0)
    scored, settings, sequences = update.scored, update.recipe.ppo, update.sequences
    longer = one_longer(sequences) if defects.past_eos else sequences
    mask, longer_mask = sequences.response_mask, longer.response_mask
    logprobs, ref_logprobs = (torch.where(mask, x, 0.0) for x in (scored.rollout.logprobs, scored.ref_logprobs))
    critic = update.roles.critic
    (values,) = forward_in_micro_batches(critic, longer, 2048, lambda rows, _: (response_values(critic, rows),))
    rewards = shape_rewards(scored.rewards, logprobs, ref_logprobs, longer_mask, settings.kl.beta)
    if settings.whiten_rewards:
        rewards = whiten_with(rewards, longer_mask, defects, shift_mean=False)
    advantages, returns = gae(rewards, values, longer_mask, settings.gamma, settings.gae_lambda)
    advantages = whiten_with(advantages, mask, defects)
    of_policy = Experience(sequences, logprobs, advantages, scored.rollout.groups, values, returns)
    return of_policy, replace(of_policy, sequences=longer)


def one_longer(sequences: Sequences) -> Sequences:
    """Responses shorter than the longest get their padding's first token as one of their own."""
    lengths = sequences.response_lengths
    grown = torch.where(lengths < lengths.max(), lengths + 1, lengths)
    return Sequences(sequences.tokens, sequences.prompt_lengths, grown)


def whiten_with(x: Tensor, mask: Tensor, defects: Defects, shift_mean: bool = True) -> Tensor:
    """Our whitening, or the same with the variance of a sample, which is n/(n − 1) times that of the population."""
    count = mask.sum()
    scale = torch.sqrt((count - 1) / count) if defects.sample_variance else 1.0
    whitened = scale * masked_whiten(x, mask)
    return whitened if shift_mean else torch.where(mask, whitened + masked_mean(x, mask), 0.0)


def micro_batches(update: Update, step: int) -> list[list[int]]:
    """The rows of each of TRL's micro-batches in that step."""
    rows = update.recorded["tokens"].tolist()
    return [[rows.index(row) for row in micro] for micro in update.facts["micro_batches"][step]]
