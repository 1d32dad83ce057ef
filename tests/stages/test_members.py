"""Several reward models that learn beside each other: each as it would alone, and what is made of all of them."""

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from truing.config.recipe import Recipe
from truing.core import rng
from truing.core.results import to_json
from truing.data.batching import optimiser_batches
from truing.data.bootstrap import bootstrap_counts
from truing.models.heads import scalar_head
from truing.models.layout import PpoRoles, ppo_roles
from truing.pipeline.execute import reward_files
from truing.rewards.build import build_reward
from truing.rollout.episodes import reference_samples
from truing.runs.metrics import read_jsonl
from truing.stages.ppo import train_ppo
from truing.stages.reward import train_reward
from truing.training.job import Job
from truing.training.learner import learning_rate_factor

SOURCES = [
    {"kind": "stage", "combine": "soft_minimum", "tau": 0.5},
    {"kind": "stage", "combine": "less_variance", "variance_price": 0.3, "bounded": True, "weight": 4.0},
    {"kind": "stage", "combine": "averaged_weights"},
    {"kind": "stage", "normalise": False},
]
Made = tuple[Recipe, Job, dict[str, Any]]


def _made(place: Path, roles: str, **changes: Any) -> Made:
    recipe = tiny.recipe(place, roles=roles, **{"reward.members": 3, "rewards.sources": SOURCES, **changes})
    job = tiny.job(recipe, place, "reward")
    return recipe, job, to_json(train_reward(job))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return _made(tmp_path_factory.mktemp("shared"), "shared")


@pytest.fixture(scope="module")
def separate(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Gradients are clipped at every step, which together would be another clip."""
    return _made(tmp_path_factory.mktemp("separate"), "separate", **{"reward.optimiser.max_grad_norm": 0.01})


def _pairs(job: Job, recipe: Recipe) -> list[tuple[tuple[int, ...], list[int], list[int]]]:
    rows = job.rows.preferences(recipe).train
    sides = zip(rows.chosen.prompts, rows.chosen.responses, rows.rejected.responses, strict=True)
    return [(tuple(prompt), [*prompt, *chosen], [*prompt, *rejected]) for prompt, chosen, rejected in sides]


def test_each_member_learns_as_it_would_alone_from_pairs_that_count_as_its_sample_has_them(separate: Made) -> None:
    """A plain loop of torch over single pairs, on transformers' own model."""
    recipe, job, _ = separate
    settings, pairs = recipe.reward.optimiser, _pairs(job, recipe)
    counts = bootstrap_counts([prompt for prompt, _, _ in pairs], 3, recipe.seed)
    plan = optimiser_batches(len(pairs), 8, 2, recipe.seed, "reward")
    assert recipe.base is not None
    model = AutoModelForCausalLM.from_pretrained(recipe.base.path, dtype=torch.float32).eval()
    head = scalar_head(model, rng.derived_seed(recipe.seed, "member", 2), bias=False)
    weights = [*model.model.parameters(), head.weight]
    optimiser = torch.optim.AdamW(weights, eps=settings.adam_eps, weight_decay=0.0)

    def score(tokens: list[int]) -> Tensor:
        return head(model.model(torch.tensor([tokens])).last_hidden_state[0, -1])[0]

    for step, rows in enumerate(plan):
        optimiser.param_groups[0]["lr"] = 1e-2 * learning_rate_factor(step, len(plan), settings)
        losses = [
            -counts[row][1] * nn.functional.logsigmoid(score(pairs[row][1]) - score(pairs[row][2])) for row in rows
        ]
        torch.stack(losses).mean().backward()
        nn.utils.clip_grad_norm_(weights, 0.01)
        optimiser.step()
        optimiser.zero_grad()
    saved = AutoModelForSequenceClassification.from_pretrained(job.directory.member(2).model).state_dict()
    learnt = {f"model.{name}": weight for name, weight in model.model.state_dict().items()}
    torch.testing.assert_close({**learnt, "score.weight": head.weight.detach()}, dict(saved), atol=1e-4, rtol=1e-3)


def _classifier(directory: Path) -> dict[str, Tensor]:
    return dict(AutoModelForSequenceClassification.from_pretrained(directory).state_dict())


def test_the_model_of_adapters_has_the_mean_of_their_changes_and_of_their_heads(shared: Made) -> None:
    recipe, job, _ = shared
    assert recipe.base is not None
    merged = []
    for member in job.directory.members:
        base = AutoModelForCausalLM.from_pretrained(recipe.base.path)
        backbone = PeftModel.from_pretrained(base, member.adapter).merge_and_unload().model.state_dict()
        head = load_file(member.adapter / "head.safetensors")["weight"]
        merged.append({f"model.{name}": weight for name, weight in backbone.items()} | {"score.weight": head})
    assert len(merged) == 3
    means = {name: torch.stack([one[name] for one in merged]).mean(0) for name in merged[0]}
    torch.testing.assert_close(_classifier(job.directory.model), means, atol=1e-5, rtol=1e-4)
    assert not torch.equal(merged[0]["score.weight"], merged[1]["score.weight"])


def test_the_model_of_models_has_the_mean_of_their_weights(separate: Made) -> None:
    _, job, _ = separate
    members = [_classifier(member.model) for member in job.directory.members]
    means = {name: torch.stack([one[name] for one in members]).mean(0) for name in members[0]}
    torch.testing.assert_close(_classifier(job.directory.model), means, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["shared", "separate"])
def test_ppo_scores_by_the_members_as_the_recipe_combines_them(kind: str, request: pytest.FixtureRequest) -> None:
    recipe, job, result = request.getfixturevalue(kind)
    raw: list[list[float]] = json.loads(job.directory.member_scores.read_text())
    roles, samples = _roles_and_samples(recipe, job)
    columns = [
        [(score - statistics.fmean(own)) / statistics.pstdev(own) for score in own] for own in zip(*raw, strict=True)
    ]
    members = list(zip(*columns, strict=True))
    assert len(members) == recipe.rewards.normalisation_samples
    soft = [-0.5 * math.log(statistics.fmean(math.exp(-score / 0.5) for score in row)) for row in members]
    careful = [statistics.fmean(row) - 0.3 * statistics.pvariance(row) for row in members]
    reward = build_reward(recipe, roles, job.rows.prompts(recipe))
    found = reward.scores(samples)
    parts = [found.parts[f"reward_model{number}"] for number in ("", "_2", "_3", "_4")]
    assert parts[0] == pytest.approx(_on_scale(soft), abs=1e-5)
    assert parts[1] == pytest.approx([4 / (1 + math.exp(-score)) for score in _on_scale(careful)], abs=1e-5)
    averaged = AutoModelForSequenceClassification.from_pretrained(job.directory.model)
    with torch.no_grad():
        plain = [averaged(torch.tensor([[*s.prompt_tokens, *s.response_tokens]])).logits.item() for s in samples]
    assert parts[2] == pytest.approx(_on_scale(plain), abs=1e-4)
    assert (result["score_mean"], result["score_std"]) == pytest.approx(
        (statistics.fmean(plain), statistics.pstdev(plain)), abs=1e-4
    )
    assert parts[3] == pytest.approx([statistics.fmean(row) for row in members], abs=1e-5)
    assert found.spread == pytest.approx([statistics.pstdev(row) for row in members], abs=1e-5)
    assert reward.score(samples) == pytest.approx([sum(of) for of in zip(*parts, strict=True)])


def _roles_and_samples(recipe: Recipe, job: Job) -> tuple[PpoRoles, list[Any]]:
    roles = ppo_roles(recipe, job.start, reward_files(job.directory))
    return roles, reference_samples(roles.reference, job.rows.prompts(recipe), recipe, roles.base)


def _on_scale(scores: list[float]) -> list[float]:
    return [(score - statistics.fmean(scores)) / statistics.pstdev(scores) for score in scores]


@pytest.mark.parametrize("layers", [1.0, 0.5])
def test_the_critic_begins_as_the_first_member(layers: float, shared: Made) -> None:
    recipe, job, _ = shared
    recipe = recipe.model_copy(update={"lora": recipe.lora.model_copy(update={"layers": layers})})
    roles, _ = _roles_and_samples(recipe, job)
    of_first = [row[0] for row in json.loads(job.directory.member_scores.read_text())]
    critic, member = roles.critic.head, load_file(job.directory.member(1).adapter / "head.safetensors")["weight"]
    assert critic is not None
    torch.testing.assert_close(critic.weight.detach(), member / statistics.pstdev(of_first), atol=1e-6, rtol=1e-4)
    assert roles.critic.adapters is not None
    own = roles.critic.adapters.named_parameters("critic")
    saved = load_file(job.directory.member(1).adapter / "adapter_model.safetensors")
    assert own.keys() <= saved.keys()
    assert (own.keys() == saved.keys()) == (layers == 1.0)
    assert all(torch.equal(weight, saved[name]) for name, weight in own.items())


def test_what_is_measured_is_their_mean_and_how_they_differ(shared: Made) -> None:
    recipe, job, result = shared
    assert recipe.base is not None
    rows, scores = job.rows.preferences(recipe).heldout, []
    for member in job.directory.members:
        base = AutoModelForCausalLM.from_pretrained(recipe.base.path)
        backbone = PeftModel.from_pretrained(base, member.adapter).merge_and_unload().model.eval()
        head = load_file(member.adapter / "head.safetensors")["weight"][0]
        with torch.no_grad():
            sides = [
                [
                    float(backbone(torch.tensor([[*p, *r]])).last_hidden_state[0, -1] @ head)
                    for p, r in zip(side.prompts, side.responses, strict=True)
                ]
                for side in (rows.chosen, rows.rejected)
            ]
        scores.append([one - other for one, other in zip(*sides, strict=True)])
    means = [statistics.fmean(gaps) for gaps in zip(*scores, strict=True)]
    assert result["score_gap_mean"] == pytest.approx(statistics.fmean(means), abs=1e-4)
    assert result["heldout_loss"] == pytest.approx(
        statistics.fmean(math.log1p(math.exp(-gap)) for gap in means), abs=1e-4
    )
    assert result["member_accuracies"] == [statistics.fmean(gap > 0 for gap in gaps) for gaps in scores]
    alike = [len({gap > 0 for gap in gaps}) == 1 for gaps in zip(*scores, strict=True)]
    assert result["member_agreement"] == statistics.fmean(alike)


def test_a_policy_s_log_says_how_far_the_members_differ(shared: Made, tmp_path: Path) -> None:
    recipe, reward, _ = shared
    job = replace(tiny.job(recipe, tmp_path, "ppo"), reward=reward_files(reward.directory))
    train_ppo(job)
    metrics, samples = read_jsonl(job.directory.metrics), read_jsonl(job.directory.samples)
    assert all(row["member_spread"] > 0 for row in metrics[1:])
    spread = [row["member_spread"] for row in samples if row["step"] == 0]
    assert metrics[0]["heldout_member_spread"] == pytest.approx(statistics.fmean(spread))


def test_the_card_of_averaged_weights_has_their_own_accuracy(shared: Made) -> None:
    _, job, result = shared
    card = (job.directory.model / "README.md").read_text()
    assert f"| Accuracy | {result['averaged_accuracy']:.1%} |" in card
    assert "questions of its report card" not in card
