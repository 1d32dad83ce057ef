"""Sampling draws from the policy's own distribution, whatever stands beside it in the batch."""

from collections import Counter
from dataclasses import replace

import numpy as np
import one_dnn
import pytest
import tiny
import torch

from truing.core.errors import TrainingError
from truing.kernels.cpu.linear import OneDnnLinear
from truing.kernels.next_token import draw_tokens
from truing.kernels.precision import Precision
from truing.models.load import prepare
from truing.models.roles import Role
from truing.models.scoring import response_logprobs
from truing.rollout.engine import Sampling

PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [10, 11]]
EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1


def _sampling(rows: int = 64, temperature: float = 1.0) -> Sampling:
    return Sampling(max_new_tokens=12, temperature=temperature, ends=(EOS,), pad=PAD, rows=rows)


@pytest.mark.parametrize("shape", tiny.SHAPES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_log_probabilities_are_the_teacher_forced_ones(shape: str, temperature: float) -> None:
    role = Role(tiny.model(shape))
    rollout = tiny.sample(role, PROMPTS * 8, _sampling(temperature=temperature), 0, "test", range(32))
    mask = rollout.sequences.response_mask
    with torch.no_grad():
        forced = response_logprobs(role, rollout.sequences, temperature)
    assert rollout.finished.any()
    assert not rollout.finished.all()
    torch.testing.assert_close(rollout.logprobs[mask], forced[mask], atol=2e-5, rtol=0)


def test_the_draws_of_a_seed_are_what_they_were() -> None:
    """As written down once: a run that a newer version goes on with draws as the older one would."""
    rollout = tiny.sample(Role(tiny.model()), PROMPTS, _sampling(), 0, "test", range(4))
    assert rollout.sequences.responses == [
        [11, 28, 13, 19, 24, 33, 15, 7, 11, 17, 22, 18],
        [22, 17, EOS],
        [28, EOS],
        [23, 1, 26, 15, 27, 25, 26, 12, 33, 27, 3, 22],
    ]
    assert rollout.finished.tolist() == [False, True, True, False]
    assert rollout.logprobs.sum(1).tolist() == pytest.approx([-38.951370, -7.909813, -5.470103, -35.118179], abs=1e-4)
    assert rollout.states is not None
    states = rollout.states.hidden.sum((1, 2)).tolist()
    assert states == pytest.approx([14.988487, 0.136507, -7.288936, 30.098066], abs=1e-3)


def test_draws_do_not_depend_on_what_is_sampled_beside_them() -> None:
    role = Role(tiny.model())
    together = tiny.sample(role, PROMPTS, _sampling(), 0, "test", range(4)).sequences
    for row, prompt in enumerate(PROMPTS):
        alone = tiny.sample(role, [prompt], _sampling(), 0, "test", [row]).sequences
        length = int(together.lengths[row])
        assert together.tokens[row, :length].tolist() == alone.tokens[0].tolist()
    assert torch.equal(
        tiny.sample(role, PROMPTS, _sampling(rows=2), 0, "test", range(4)).sequences.tokens, together.tokens
    )


def test_another_seed_purpose_or_id_draws_something_else() -> None:
    role = Role(tiny.model())

    def said(seed: int, purpose: str, first: int) -> list[list[int]]:
        return tiny.sample(role, PROMPTS, _sampling(), seed, purpose, range(first, first + 4)).sequences.tokens.tolist()

    assert said(0, "test", 0) != said(1, "test", 0)
    assert said(0, "test", 0) != said(0, "other", 0)
    assert said(0, "test", 0) != said(0, "test", 4)


def test_the_first_token_follows_the_models_distribution() -> None:
    role, count = Role(tiny.model()), 4000
    rollout = tiny.sample(
        role, [PROMPTS[0]] * count, Sampling(1, 1.0, (EOS,), PAD, rows=count), 0, "test", range(count)
    )
    drawn = Counter(rollout.sequences.response_tokens[:, 0].tolist())
    prompt = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        expected = role.logits(role.hidden(prompt, torch.ones_like(prompt)))[0, -1].double().softmax(-1) * count
    common = [token for token in range(len(expected)) if expected[token] > 5]
    chi_square = sum((drawn[token] - float(expected[token])) ** 2 / float(expected[token]) for token in common)
    # 99.99% quantile by Wilson and Hilferty's approximation
    degrees = len(common)
    assert chi_square < degrees * (1 - 2 / (9 * degrees) + 3.72 * (2 / (9 * degrees)) ** 0.5) ** 3


def test_inversion_takes_the_token_whose_interval_holds_the_draw() -> None:
    logits = torch.tensor([[0.2, 0.0, 0.5, 0.3]]).log().repeat(5, 1)
    uniforms = torch.tensor([0.0, 0.1999, 0.2001, 0.6999, 0.9999])
    assert draw_tokens(logits, uniforms)[0].tolist() == [0, 0, 2, 2, 3]


@pytest.mark.parametrize("words", [5, 128, 129, 1000])
def test_inversion_agrees_with_the_cumulative_sum_over_any_vocabulary(words: int) -> None:
    random = np.random.default_rng(words)
    logits, uniforms = 3 * random.normal(size=(200, words)), random.random(200)
    cumulative = np.exp(logits).cumsum(1)
    expected = [
        int(np.searchsorted(row, u * row[-1], side="right")) for row, u in zip(cumulative, uniforms, strict=True)
    ]
    assert draw_tokens(torch.tensor(logits), torch.tensor(uniforms))[0].tolist() == expected
    assert draw_tokens(torch.tensor(logits), torch.ones(200))[0].tolist() == [words - 1] * 200


def test_a_word_without_probability_is_never_drawn() -> None:
    logits = torch.full((4, 300), -torch.inf)
    logits[:, 140] = logits[:, 270] = 0.0
    assert draw_tokens(logits, torch.tensor([0.0, 0.49, 0.51, 0.999]))[0].tolist() == [140, 140, 270, 270]


@pytest.mark.parametrize("row", [[0.0, torch.nan], [0.0, torch.inf], [-torch.inf, -torch.inf]])
def test_logits_that_are_no_distribution_have_no_log(row: list[float]) -> None:
    logits = torch.tensor([row, [0.0, 0.0]]).repeat_interleave(150, dim=1)
    tokens, logprobs = draw_tokens(logits, torch.full((2,), 0.5))
    assert logprobs.isfinite().tolist() == [False, True]
    assert (tokens < 300).all()


def test_a_model_whose_logits_are_not_finite_does_not_sample() -> None:
    model = tiny.model()
    with torch.no_grad():
        model.lm_head.weight[3] = torch.nan
    with pytest.raises(TrainingError, check=lambda error: error.code == "training/logits-not-finite"):
        tiny.sample(Role(model), PROMPTS, _sampling(), 0, "test", range(4))


def test_a_response_ends_with_its_first_eos() -> None:
    rollout = tiny.sample(Role(tiny.model()), PROMPTS * 8, _sampling(), 3, "test", range(32))
    for row, finished in enumerate(rollout.finished):
        length = int(rollout.sequences.response_lengths[row])
        response = rollout.sequences.response_tokens[row, :length].tolist()
        assert EOS not in response[:-1]
        assert (response[-1] == EOS) == bool(finished)
        assert finished or length == 12


def test_a_response_ends_with_the_first_of_several_ends() -> None:
    role, ends = Role(tiny.model()), (EOS, 4)
    endless = tiny.sample(role, PROMPTS * 8, replace(_sampling(), ends=()), 3, "test", range(32))
    ended = tiny.sample(role, PROMPTS * 8, replace(_sampling(), ends=ends), 3, "test", range(32))
    for row, whole in enumerate(endless.sequences.responses):
        end = next((place + 1 for place, token in enumerate(whole) if token in ends), None)
        assert list(ended.sequences.responses[row]) == list(whole[:end])
        assert bool(ended.finished[row]) == (end is not None)
    assert {row[-1] for row in ended.sequences.responses} >= set(ends)


@pytest.mark.parametrize("pack", [True, False])
def test_weights_are_laid_out_once_more_only_where_they_may_be(pack: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    one_dnn.computes_everything(monkeypatch)
    plain, model = Role(tiny.model("gemma")), tiny.model("gemma")
    quick = Role(model, backend=prepare(model, Precision()))
    layers = [layer for layer in quick.model.modules() if isinstance(layer, OneDnnLinear)]
    prepacked: list[bool] = []
    quick.model.model.embed_tokens.register_forward_hook(
        lambda *_: prepacked.extend(layer.prepacked is not None for layer in layers)
    )
    rollouts = [
        tiny.sample(role, PROMPTS, replace(_sampling(), pack=pack), 0, "test", range(4)) for role in (plain, quick)
    ]
    assert set(prepacked) == {pack}
    assert all(layer.prepacked is None for layer in layers)
    assert torch.equal(*(rollout.sequences.tokens for rollout in rollouts))
