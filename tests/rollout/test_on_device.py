"""Sampling on a device that is waited for: the same responses, looked at every few steps."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import tiny
import torch
from fake_device import FAKE, FakeDevice, fake_device
from torch import Tensor
from transformers import PreTrainedModel

from truing.config.sections import Lora
from truing.core.errors import TrainingError
from truing.core.records import Sample
from truing.data.encode import EncodedPrompt
from truing.kernels.backbone import decoder_layers
from truing.kernels.backend import Backend, choose_backend
from truing.kernels.next_token import draw_tokens
from truing.kernels.precision import Precision
from truing.models.adapters import Adapters
from truing.models.decoding import Decoder
from truing.models.prefix import FrozenPrefix
from truing.models.roles import Role
from truing.models.scoring import distribution_metrics, end_scores, forward_in_micro_batches, response_logprobs
from truing.processes import group
from truing.rollout.engine import Completion, Sampling
from truing.rollout.episodes import as_rollout, as_samples
from truing.rollout.local import LocalEngine, _Drawn

PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [10, 11]] * 3
EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1
FORM = tiny.text_format(tiny.tokenizer())
SAMPLING = Sampling(max_new_tokens=20, temperature=1.0, ends=(EOS,), pad=PAD, rows=64)


@pytest.fixture
def device() -> Iterator[FakeDevice]:
    with torch.no_grad(), fake_device() as device:
        yield device


def _respond(role: Role, sampling: Sampling = SAMPLING) -> list[Completion]:
    return LocalEngine(role).generate(PROMPTS, range(len(PROMPTS)), sampling, 0, "test")


def _policy(model: PreTrainedModel, backend: Backend) -> Role:
    """A policy with an adapter that does something, in all layers but the lowest."""
    model.requires_grad_(False)
    adapters = Adapters(model, Lora(rank=2), 0, backend)
    adapters.add("policy", above=1)
    for place, weight in enumerate(adapters.parameters("policy")):
        weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(place)) / 10)
    found = decoder_layers(model)
    assert found is not None
    return Role(model, adapters, "policy", prefix=FrozenPrefix(found[1], 1), backend=backend)


def _assert_alike(found: list[Completion], expected: list[Completion], atol: float = 2e-5) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.tokens.tolist() == other.tokens.tolist()
        assert one.finished == other.finished
        for name in ("logprobs", "hidden", "prefix_states"):
            ours, theirs = getattr(one, name), getattr(other, name)
            assert (ours is None) == (theirs is None)
            if theirs is not None:
                torch.testing.assert_close(ours.cpu(), theirs, atol=atol, rtol=1e-4)


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_rows_that_are_looked_at_seldom_say_the_same(shape: str) -> None:
    role = Role(tiny.model(shape))
    seldom = replace(role, backend=Backend(look_every=7))
    _assert_alike(_respond(seldom), _respond(role))


@pytest.mark.parametrize(("shape", "library"), [("llama", 2), ("gpt2", 2 + SAMPLING.max_new_tokens)])
def test_a_device_draws_what_a_cpu_draws_and_is_hardly_waited_for(shape: str, library: int, device: FakeDevice) -> None:
    """The library looks twice at the mask of the prompts, and once at that of each token of a family not known."""
    expected = _respond(_policy(tiny.model(shape), Backend()))
    model = tiny.model(shape).to(FAKE)
    policy = _policy(model, choose_backend(model, FAKE, Precision()))
    device.waits.clear()
    found = _respond(policy)
    waits = device.waits.total()
    _assert_alike(found, expected)
    assert max(len(one.tokens) for one in expected) == SAMPLING.max_new_tokens
    all_tokens_at_the_end = 1
    assert waits <= library + all_tokens_at_the_end + 0.1 * SAMPLING.max_new_tokens


@pytest.mark.parametrize(("shape", "read"), [("llama", [10, 10]), ("gemma", [10, 20])])
def test_prompts_are_read_some_after_others_where_the_model_has_a_cache_that_is_known(
    shape: str, read: list[int], device: FakeDevice
) -> None:
    """Of four prompts, padded to five tokens, two have room at once. What is drawn is the same."""
    model = tiny.model(shape)
    backend = replace(choose_backend(model, torch.device("cpu"), Precision()), pads=True)
    policy = _policy(model, backend) if shape == "llama" else Role(model, backend=backend)
    expected = _respond(policy)
    model = tiny.model(shape).to(FAKE)
    backend = choose_backend(model, FAKE, Precision())
    policy = _policy(model, backend) if shape == "llama" else Role(model, backend=backend)
    seen: list[int] = []
    embeddings = model.get_input_embeddings()  # type: ignore[no-untyped-call]
    embeddings.register_forward_hook(lambda _, given, __: seen.append(given[0].numel()))
    found = _respond(policy, replace(SAMPLING, read_at_once=12))
    assert seen[:2] == read
    _assert_alike(found, expected)


def test_a_static_step_neither_waits_nor_copies_so_that_a_graph_can_hold_it(device: FakeDevice) -> None:
    model = tiny.model().to(FAKE)
    policy = _policy(model, choose_backend(model, FAKE, Precision()))
    with policy.decoding() as step:
        decoder = Decoder(policy, PROMPTS, PAD, new_tokens=2, step=step)
        before = device.waits.total(), device.copies
        decoder.read(decoder.state.argmax(-1))
        assert (device.waits.total(), device.copies) == before


def test_what_is_drawn_is_written_without_sorting_where_all_is_to_be_deterministic(device: FakeDevice) -> None:
    """No place is written twice. Rows that change their places, every few steps, are sorted."""
    model = tiny.model().to(FAKE)
    policy = _policy(model, replace(choose_backend(model, FAKE, Precision()), look_every=SAMPLING.max_new_tokens))
    torch.use_deterministic_algorithms(True)
    try:
        _respond(policy)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert device.sorts == 0


def test_what_goes_to_other_processes_goes_by_the_host_and_comes_to_the_own_device(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever lay on a device would come to that one again, which is another process's."""
    handed_over: list[Tensor] = []

    def gather(of_rows: dict[int, Completion]) -> dict[int, Completion]:
        handed_over.extend(one.logprobs for one in of_rows.values())
        return of_rows

    def gather_shares(parts: Any) -> list[Any]:
        handed_over.extend(column for _, columns in parts for column in columns)
        return [parts]

    for name, verb in {"size": lambda: 2, "gather": gather, "gather_shares": gather_shares}.items():
        monkeypatch.setattr(group, name, verb)
    role = Role(tiny.model().to(FAKE))
    drawn = _respond(role)
    sequences = as_rollout(PROMPTS, drawn, range(len(PROMPTS)), PAD).sequences
    (logprobs,) = forward_in_micro_batches(role, sequences, 1000, lambda rows, _: (response_logprobs(role, rows),))
    assert {one.device.type for one in handed_over} == {"cpu"}
    assert {one.device for one in (logprobs, *(own.logprobs for own in drawn))} == {FAKE}
    assert all(one.hidden is None for one in drawn)


def test_rows_that_are_no_distribution_stop_a_device_too_unless_they_have_ended(device: FakeDevice) -> None:
    tokens, logprobs = [[4, EOS, 5]], [[0.0, 0.0, torch.nan]]
    tensors = (torch.tensor(part, device=FAKE) for part in (tokens, logprobs, [], [EOS]))
    drawn = _Drawn(*tensors, prefix_states=None)
    row = torch.tensor([0], device=FAKE)
    assert drawn.look(row, slice(0, 3), [True]) == [False]
    with pytest.raises(TrainingError, check=lambda error: error.code == "training/logits-not-finite"):
        drawn.look(row, slice(2, 3), [True])
    assert drawn.look(row, slice(2, 3), [False]) == [False]


@pytest.mark.parametrize("words", [5, 128, 1000])
def test_a_device_draws_from_logits_what_a_cpu_draws(words: int, device: FakeDevice) -> None:
    random = torch.Generator().manual_seed(words)
    logits, uniforms = 4 * torch.randn(200, words, generator=random), torch.rand(200, generator=random).double()
    uniforms[0] = 1.0
    expected = draw_tokens(logits.clone(), uniforms)
    found = draw_tokens(logits.to(FAKE), uniforms.to(FAKE))
    assert found[0].tolist()[1:] == expected[0].tolist()[1:]
    at_the_end = int(found[0].cpu()[0])  # past all but the last weights that rounding leaves, which differ
    assert logits[0].softmax(-1)[at_the_end + 1 :].sum() < 1e-6
    own = logits.log_softmax(-1)[torch.arange(200), found[0].cpu()]
    torch.testing.assert_close(found[1].cpu(), own, atol=1e-6, rtol=0)


def test_what_was_drawn_is_scored_and_read_with_few_waits(device: FakeDevice) -> None:
    """One copy of tokens and one of ends for the texts; the library looks twice at the mask of each micro-batch."""

    def scored(role: Role) -> tuple[Tensor, list[Sample]]:
        rollout = as_rollout(PROMPTS, _respond(role), range(len(PROMPTS)), PAD)
        device.waits.clear()
        samples = as_samples([EncodedPrompt("", tuple(prompt)) for prompt in PROMPTS], rollout, FORM)
        part, index = rollout.rows([7, 2, 5]), [1, 0]
        parts = forward_in_micro_batches(
            role, part.sequences, 1000, lambda rows, _: (response_logprobs(role, rows), end_scores(role, rows))
        )
        metrics = distribution_metrics(role, role, part.rows(index), 1.0, 1000)
        return torch.cat([tensor.flatten() for tensor in (*parts, *metrics)]), samples

    on_cpu, on_device = tiny.model(), tiny.model().to(FAKE)
    heads = [torch.nn.Linear(16, 1).to(where) for where in ("cpu", FAKE)]
    for head in heads:
        torch.nn.init.constant_(head.weight, 0.1)
        torch.nn.init.zeros_(head.bias)
    expected, texts = scored(Role(on_cpu, head=heads[0]))
    found, same_texts = scored(Role(on_device, head=heads[1]))
    waits, forwards = device.waits.total(), 3
    assert same_texts == texts
    torch.testing.assert_close(found.cpu(), expected, atol=2e-5, rtol=1e-4)
    assert waits <= 2 + 2 * forwards
