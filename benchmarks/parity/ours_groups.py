"""The same updates of GRPO and RLOO by truing: TRL's responses and weights, and everything else of our own."""

from collections.abc import Iterator
from pathlib import Path

import torch
from group_cases import BETA, GROUP, LENGTH, RATE, RESPONSES, STEPS, GroupCase, reward
from ours import Measured, gradients, learner_of
from safetensors.torch import load_file
from torch import Tensor

from truing.config.recipe import Recipe
from truing.config.sections import Base, Compute
from truing.core.batches import Sequences
from truing.core.experience import LocalStates, Rollout
from truing.core.normalisation import Normalisation
from truing.models.layout import Roles, trained_role
from truing.models.load import LoadedBase, load_base
from truing.models.scoring import response_hidden, response_logprobs
from truing.stages.grpo import grpo_objective
from truing.stages.rloo import rloo_objective
from truing.stages.update import score_rollout

OBJECTIVES = {"grpo": grpo_objective, "rloo": rloo_objective}


def measured(case: GroupCase, material: Path, peer: Path) -> Iterator[tuple[int, Measured, Measured]]:
    """Each step (from 1): TRL's loss and gradients, and ours. AssertionError where the advantages differ."""
    base = load_base(Base(path=str(material / "reference")), Compute(device="cpu"))
    policy = trained_role(base, "policy", None, seed=0)
    reference = load_base(Base(path=str(material / "reference")), Compute(device="cpu")).role()
    roles, recipe = Roles(base, policy, reference, None, Normalisation()), recipe_of(case)
    objective, given = OBJECTIVES[case.stage](recipe, roles), load_file(peer / f"{case.name}.safetensors")
    steps = [load_file(peer / f"{case.name}-step-{number}.safetensors") for number in range(STEPS)]
    _take(policy.model, steps[0])
    rollout, scores = rollout_of(given, base, roles)
    experience = objective.experience(score_rollout(rollout, scores, roles, None, recipe), BETA)
    advantages = experience.advantages.gather(1, torch.zeros(len(rollout.sequences), 1, dtype=torch.int64))[:, 0]
    torch.testing.assert_close(advantages, given["advantages"].float(), atol=1e-5, rtol=1e-5)
    (term,) = objective.losses
    for number, step in enumerate(steps, start=1):
        _take(policy.model, step)
        learner = learner_of(policy)
        found = learner.forward_backward(experience, term.loss)
        mine = {"loss": torch.tensor(found["loss"])} | gradients(policy)
        theirs = {name: tensor for name, tensor in step.items() if not name.startswith("weight.")}
        yield number, theirs, mine


def rollout_of(given: dict[str, Tensor], base: LoadedBase, roles: Roles) -> tuple[Rollout, list[float]]:
    """TRL's padded prompts and completions as ours, and what the reward gives to each."""
    prompts, responses = (
        [row[kept.bool()].tolist() for row, kept in zip(given[f"{part}_ids"], given[f"{part}_mask"], strict=True)]
        for part in ("prompt", "completion")
    )
    sequences = Sequences.collate(prompts, responses, base.tokenizer.pad_token_id)
    finished = torch.tensor([response[-1] == base.tokenizer.eos_token_id for response in responses])
    with torch.no_grad():
        logprobs = response_logprobs(roles.policy, sequences, 1.0)
        states = LocalStates(response_hidden(roles.policy, sequences))
    asked = list(dict.fromkeys(map(tuple, prompts)))  # TRL shuffles responses before it learns from them
    groups = torch.tensor([asked.index(tuple(prompt)) for prompt in prompts])
    rollout = Rollout(sequences, logprobs, finished, groups, states)
    texts = base.tokenizer.batch_decode(responses, skip_special_tokens=True)
    return rollout, [reward(text) for text in texts]


def recipe_of(case: GroupCase) -> Recipe:
    settings = {
        "episodes": RESPONSES,
        "responses_per_prompt": GROUP,
        "kl": {"beta": BETA},
        "optimiser": {"learning_rate": RATE},
    }
    return Recipe.model_validate(
        {
            case.stage: settings | case.ours,
            "rollout": {"max_new_tokens": LENGTH},
            "rewards": {"missing_eos": {"policy": "keep"}},
            "compute": {"learn_tokens": 100_000, "score_tokens": 100_000},
        }
    )


def _take(model: torch.nn.Module, step: dict[str, Tensor]) -> None:
    """TRL's weights before an optimiser step."""
    model.load_state_dict(
        {name.removeprefix("weight."): weight for name, weight in step.items() if name.startswith("weight.")},
        strict=False,
    )
    for weight in model.parameters():
        weight.grad = None
