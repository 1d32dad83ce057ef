"""KTO: the loss of the formula, a reference point of the whole batch from responses to other prompts, and its rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from oracles import losses
from oracles.responses import logprobs

from truing.config.algorithms import Kto
from truing.config.sections import Optimiser
from truing.core.errors import DataError, InputError
from truing.core.rows import RatedRows, TokenRows
from truing.models.roles import Role
from truing.runs.metrics import read_jsonl
from truing.stages import kto
from truing.stages.kto import rating_loss, train_kto, with_reference, with_reference_point
from truing.training.learner import Learner, Trained

EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1
PROMPTS = [(1, 2), (3,), (11, 12, 13), (14,)]
RESPONSES = [(4, EOS), (5, 6, 7, EOS), (8, 9, EOS), (10,)]
DESIRED = [True, False, False, True]
RATED = RatedRows(TokenRows(PROMPTS, RESPONSES, PAD), DESIRED)
WEIGHTS = {"desirable_weight": 1.0, "undesirable_weight": 1.5}


@pytest.mark.parametrize("seeds", [(0, 1), (1, 0)])
def test_the_loss_is_that_of_the_formula(seeds: tuple[int, int], tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    policy, reference = (tiny.model(seed=seed) for seed in seeds)
    batch = with_reference_point(Role(policy), with_reference(Role(reference), RATED, recipe), recipe)
    loss, stats = rating_loss(Role(policy), batch.to(torch.device("cpu")), Kto(beta=0.3, **WEIGHTS))
    now, ref = (logprobs(model, PROMPTS, RESPONSES) for model in (policy, reference))
    others = [RESPONSES[-1], *RESPONSES[:-1]]  # each prompt with the response of the row before, round the end
    cut = [said[: 6 - len(prompt)] for prompt, said in zip(PROMPTS, others, strict=True)]  # the longest row has 6
    point = max(0.0, float((logprobs(policy, PROMPTS, cut) - logprobs(reference, PROMPTS, cut)).mean()))
    assert (point > 0) == (seeds == (1, 0))
    assert float(stats["reference_point"]) == pytest.approx(point, rel=1e-4)
    assert loss.item() == pytest.approx(losses.kto(now, ref, np.array(DESIRED), point, 0.3, (1.0, 1.5)), rel=1e-4)
    margins = 0.3 * np.where(DESIRED, now - ref - point, point - now + ref)
    assert float(stats["margin"]) == pytest.approx(margins.mean(), rel=1e-4)
    assert float(stats["accuracy"]) == (margins > 0).mean()


def test_the_reference_point_is_of_the_batch_however_it_is_cut(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path)
    reference = Role(tiny.model(seed=0))
    found = []
    for tokens in (100, 7, 1):
        policy = Role(tiny.model(seed=1))
        learner = Learner([Trained("policy", policy, 1e-3)], Optimiser(learning_rate=1e-3), 1, tokens)
        batch = with_reference_point(policy, with_reference(reference, RATED, recipe), recipe)
        metrics = learner.forward_backward(batch, lambda part, own=policy: rating_loss(own, part, Kto(beta=0.3)))
        gradient = torch.cat([weight.grad.flatten() for weight in policy.model.parameters() if weight.grad is not None])
        found.append((metrics, gradient))
    (whole, gradient), *others = found
    assert whole["reference_point"] > 0.1  # so it matters
    for metrics, other in others:
        assert metrics == pytest.approx(whole, rel=1e-5)
        assert torch.allclose(other, gradient, rtol=1e-4, atol=1e-6)


def test_every_response_is_once_in_the_place_of_another_prompts() -> None:
    prompts = [(1,), (2,), (1,), (3,), (2,), (1,)]
    responses = [(10 + row,) for row in range(6)]
    found = RatedRows(TokenRows(prompts, responses, PAD), [True] * 6).mismatched()
    assert found.prompts == prompts
    assert sorted(found.responses) == responses
    owners = {said: prompt for prompt, said in zip(prompts, responses, strict=True)}
    assert all(owners[said] != prompt for prompt, said in zip(prompts, found.responses, strict=True))


@pytest.mark.parametrize("prompts", [[(1,)] * 4, [(1,)] * 3 + [(2,)]])
def test_where_prompts_hardly_differ_no_row_keeps_its_own_response(prompts: list[tuple[int, ...]]) -> None:
    rows = TokenRows(prompts, [(10,), (11,), (12,), (13,)], PAD)
    found = RatedRows(rows, [True] * 4).mismatched()
    assert sorted(found.responses) == [*rows.responses]
    assert all(own != other for own, other in zip(rows.responses, found.responses, strict=True))


def test_the_reference_is_asked_once_however_many_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Role] = []
    right = kto.response_totals
    monkeypatch.setattr(kto, "response_totals", lambda role, *rest: (asked.append(role), right(role, *rest))[1])
    job = tiny.job(tiny.recipe(tmp_path, **{"stages": ["kto"], "kto.epochs": 3}), tmp_path, "kto")
    train_kto(job)
    assert sum(role.adapter is None for role in asked) == 3  # ratings, their mismatched twins, held-out ratings


def test_the_reference_point_is_of_the_policy_before_the_step(tmp_path: Path) -> None:
    changes = {"stages": ["kto"], "kto.epochs": 4, "kto.optimiser.learning_rate": 1e-2}
    job = tiny.job(tiny.recipe(tmp_path, **changes), tmp_path, "kto")
    train_kto(job)
    first, *others = [row["reference_point"] for row in read_jsonl(job.directory.metrics)[1:]]
    assert first == pytest.approx(0.0, abs=1e-5)
    assert all(point >= 0 for point in others)


def with_rows(place: Path, rows: list[dict[str, Any]]) -> Any:
    recipe = tiny.recipe(place, stages=["kto"])
    tiny.write_rows(place / "ratings.jsonl", rows)
    return recipe


@pytest.mark.parametrize(
    ("label", "code"),
    [(None, "data/bad-label"), (1, "data/bad-label"), ("true", "data/bad-label"), (..., "data/missing-field")],
)
def test_a_label_that_is_not_true_or_false_is_refused_with_its_line(label: object, code: str, tmp_path: Path) -> None:
    rows = tiny.ratings()
    rows[4] = {name: value for name, value in (rows[4] | {"label": label}).items() if value is not ...}
    with pytest.raises(InputError) as raised:
        tiny.prepared(with_rows(tmp_path, rows))
    assert (raised.value.problem.code, raised.value.problem.field) == (code, "label")
    assert raised.value.problem.where == f"{tmp_path / 'ratings.jsonl'}:5"


def test_words_for_a_label_are_read_where_a_file_has_no_types(tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path, **{"stages": ["kto"], "data.ratings.path": str(tmp_path / "ratings.csv")})
    lines = [f"{row['prompt']},{row['completion']},{str(row['label']).upper()}" for row in tiny.ratings()]
    (tmp_path / "ratings.csv").write_text("prompt,completion,label\n" + "\n".join(lines) + "\n")
    assert tiny.prepared(recipe).ratings(recipe).train.desired.count(True) == 22


@pytest.mark.parametrize("kept", [True, False])
def test_ratings_of_one_kind_alone_are_refused(kept: bool, tmp_path: Path) -> None:
    recipe = with_rows(tmp_path, [row for row in tiny.ratings() if row["label"] is kept])
    with pytest.raises(DataError, match=f"have the label {str(kept).lower()}") as raised:
        train_kto(tiny.job(recipe, tmp_path, "kto"))
    assert raised.value.problem.code == "data/one-label"


def test_held_out_ratings_of_one_kind_alone_are_refused(tmp_path: Path) -> None:
    own = [{"prompt": "new?", "completion": "aa", "label": True}]
    recipe = tiny.recipe(tmp_path, **{"stages": ["kto"], "data.heldout_ratings": {"path": str(tmp_path / "own.jsonl")}})
    tiny.write_rows(tmp_path / "own.jsonl", own)
    with pytest.raises(DataError, match="all 1 ratings"):
        tiny.prepared(recipe).ratings(recipe)


def test_conversations_are_rated_as_they_are_demonstrated(tmp_path: Path) -> None:
    recipe = tiny.chat_recipe(tmp_path, stages=["kto"])
    asked = [[{"role": "user", "content": row["prompt"]}] for row in tiny.ratings()]
    rows = [
        {"messages": [*turns, {"role": "assistant", "content": row["completion"]}], "label": row["label"]}
        for turns, row in zip(asked, tiny.ratings(), strict=True)
    ]
    tiny.write_rows(tmp_path / "ratings.jsonl", rows)
    assert len(tiny.prepared(recipe).ratings(recipe).train) == 44
