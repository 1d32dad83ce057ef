"""The rows of new tokens learn beside an adapter as a plain model's rows would, and no other row of them does."""

from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import tiny
import torch
from peft import AutoPeftModelForCausalLM
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, PhiConfig, PhiForCausalLM, PreTrainedModel

from truing.config.sections import Base, Compute, Lora, Optimiser
from truing.core.batches import Sequences
from truing.core.errors import ModelError
from truing.core.rows import TokenRows
from truing.models.adapters import Adapters
from truing.models.layout import policy_roles, trained_role
from truing.models.load import LoadedBase, load_base
from truing.models.padding import rows_to_learn
from truing.models.roles import Role
from truing.models.save import save_adapter
from truing.models.scoring import response_logprobs
from truing.rollout.engine import Sampling
from truing.runs.checkpoints import newest_checkpoint
from truing.stages.sft import completion_loss, train_sft
from truing.training.learner import Learner, Trained

STOP, START = tiny.CHAT_TOKENS
KNOWN, PAD = tiny.VOCABULARY, tiny.VOCABULARY - 1
PROMPTS, COMPLETIONS = [(START, 1, 2), (START, 3), (4, STOP, START, 6)], [(7, STOP), (8, 9, 10, STOP), (11,)]
ROWS = TokenRows(PROMPTS, COMPLETIONS, PAD)
BATCH = Sequences.collate(PROMPTS, COMPLETIONS, PAD)
UNTIED, TIED = "llama", "qwen"


def _base(place: Path, shape: str) -> LoadedBase:
    return tiny.load(tiny.chat_recipe(place, shape))


def _policy(base: LoadedBase) -> Role:
    return trained_role(base, "policy", Lora(rank=2), seed=0)


def _rows(role: Role) -> list[nn.Parameter]:
    return [weight for path, weight in role.named_parameters().items() if "trainable_tokens" in path]


def _vocabulary(model: PreTrainedModel) -> list[nn.Parameter]:
    """The weights of embeddings and projection: one where they are tied."""
    layers = model.get_input_embeddings(), model.get_output_embeddings()
    return list(dict.fromkeys(layer.weight for layer in layers))


def _plain_loss(model: PreTrainedModel) -> Tensor:
    """−mean log π over the completions' tokens, by the library's own forward of each row."""
    losses = []
    for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True):
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        losses.append(F.cross_entropy(logits, torch.tensor(completion), reduction="none"))
    return torch.cat(losses).mean()


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_rows_learn_as_those_of_a_plain_model_whose_other_gradients_are_masked(shape: str, tmp_path: Path) -> None:
    base = _base(tmp_path, shape)
    plain = deepcopy(base.model)
    role = _policy(base)
    weights, rows = [weight.requires_grad_(True) for weight in _vocabulary(plain)], _rows(role)
    begun = [weight.detach().clone() for weight in weights]
    ours, theirs = (torch.optim.AdamW(which, lr=0.05, weight_decay=0.0) for which in (rows, weights))
    for _ in range(4):
        ours.zero_grad()
        theirs.zero_grad()
        loss, expected = completion_loss(role, ROWS.to(base.model.device))[0], _plain_loss(plain)
        torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
        loss.backward()
        expected.backward()
        for weight in weights:
            assert weight.grad is not None
            weight.grad[:KNOWN] = 0
        ours.step()
        theirs.step()
    assert len(rows) == len(weights) == (2 if shape == UNTIED else 1)
    for found, weight, before in zip(rows, weights, begun, strict=True):
        torch.testing.assert_close(found, weight[KNOWN:], atol=1e-4, rtol=1e-4)
        assert bool(((found - before[KNOWN:]).detach().norm(dim=1) > 0.1).all())


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_a_role_reads_samples_and_scores_with_its_own_rows_and_the_reference_with_the_bases(
    shape: str, tmp_path: Path
) -> None:
    base = _base(tmp_path, shape)
    untrained = deepcopy(base.model)
    role = _policy(base)
    reference = base.role(adapters=role.adapters)
    with torch.no_grad():
        for weight in role.parameters():
            weight.add_(0.1)
        inside = BATCH.attention_mask.bool()
        own, of_base = (one.logits(one.hidden(BATCH.tokens, BATCH.attention_mask))[inside] for one in (role, reference))
        role.select()
        read = {"input_ids": BATCH.tokens, "attention_mask": BATCH.attention_mask}
        torch.testing.assert_close(own, base.model(**read).logits[inside], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(of_base, untrained(**read).logits[inside], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(own[:, STOP], of_base[:, STOP], atol=1e-2)
        sampling = Sampling(max_new_tokens=6, temperature=1.0, ends=(STOP,), pad=PAD, rows=8)
        rollout = tiny.sample(role, [list(prompt) for prompt in PROMPTS] * 2, sampling, 0, "test", range(6))
        mask = rollout.sequences.response_mask
        scored = response_logprobs(role, rollout.sequences)[mask]
        torch.testing.assert_close(rollout.logprobs[mask], scored, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_what_sft_saves_loads_in_one_line_on_the_base_and_moves_no_other_row(
    shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = _base(tmp_path, shape)
    job = tiny.job(tiny.chat_recipe(tmp_path, shape), tmp_path, "sft")
    train_sft(job)
    monkeypatch.chdir(tmp_path.parent)
    merged = AutoModelForCausalLM.from_pretrained(job.directory.model)
    adapted = AutoPeftModelForCausalLM.from_pretrained(job.directory.adapter).eval()
    with torch.no_grad():
        read = {"input_ids": BATCH.tokens, "attention_mask": BATCH.attention_mask}
        logits, expected = adapted(**read).logits, merged(**read).logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    for before, after in zip(_vocabulary(base.model), _vocabulary(merged), strict=True):
        assert torch.equal(after[:KNOWN], before[:KNOWN])
        assert not torch.allclose(after[KNOWN:], before[KNOWN:], atol=1e-3)
    assert f"resize_token_embeddings({base.new_rows.stop})" in (job.directory.adapter / "README.md").read_text()
    again = load_base(Base(path=str(job.directory.model)), Compute())
    assert not again.new_tokens
    assert not again.new_rows


@pytest.mark.parametrize("shape", [UNTIED, TIED])
def test_a_checkpoint_holds_the_rows_and_their_moments_and_none_of_the_other_rows(shape: str, tmp_path: Path) -> None:
    rows = _base(tmp_path, shape).new_rows
    job = tiny.job(tiny.chat_recipe(tmp_path, shape), tmp_path, "sft")
    train_sft(job)
    saved = newest_checkpoint(job.directory.checkpoints, print)
    assert saved is not None
    kept = {name: value for name, value in saved.tensors.items() if "trainable_tokens" in name}
    count = 2 if shape == UNTIED else 1
    assert len([name for name in kept if name.startswith("weights/")]) == count
    assert len([name for name in kept if name.startswith("exp_avg")]) == 2 * count
    assert all(len(value) == len(rows) for name, value in kept.items() if not name.startswith("step/"))
    assert all(len(value) != rows.stop for value in saved.tensors.values() if value.ndim == 2)


@pytest.mark.parametrize("shape", [UNTIED, TIED])
def test_learning_goes_on_to_the_bit_from_a_checkpoint(shape: str, tmp_path: Path) -> None:
    def learner(place: str) -> tuple[Role, Learner]:
        role = _policy(_base(tmp_path / place, shape))
        return role, Learner([Trained("policy", role, 1e-2)], Optimiser(learning_rate=1e-2), steps=4, token_budget=100)

    def learn(role: Role, one: Learner) -> None:
        one.train_step(ROWS, lambda batch: completion_loss(role, batch))

    role, whole = learner("whole")
    learn(role, whole)
    other, resumed = learner("resumed")
    resumed.restore(whole.tensors())
    learn(role, whole)
    learn(other, resumed)
    expected, found = whole.tensors(), resumed.tensors()
    assert any("trainable_tokens" in name for name in expected)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("shape", [UNTIED, TIED])
def test_a_saved_adapter_is_put_on_the_base_again_with_its_rows(shape: str, tmp_path: Path) -> None:
    base = _base(tmp_path, shape)
    role = _policy(base)
    with torch.no_grad():
        for weight in role.parameters():
            weight.add_(0.1)
        expected = role.logits(role.hidden(BATCH.tokens, BATCH.attention_mask))
    save_adapter(role, tmp_path / "adapter", base.tokenizer)
    fresh = _base(tmp_path / "again", shape)
    adapters = Adapters(fresh.model, Lora(rank=2), 0, fresh.backend)
    adapters.load("reward_model", str(tmp_path / "adapter"))
    loaded = fresh.role(adapters=adapters, adapter="reward_model")
    with torch.no_grad():
        assert torch.equal(loaded.logits(loaded.hidden(BATCH.tokens, BATCH.attention_mask)), expected)


def test_rows_on_a_base_in_bfloat16_learn_in_single_precision(tmp_path: Path) -> None:
    base = tiny.load(tiny.chat_recipe(tmp_path, TIED, **{"compute.dtype": "bfloat16"}))
    role = _policy(base)
    (rows,) = _rows(role)
    assert base.model.dtype == torch.bfloat16
    assert rows.dtype == torch.float32
    completion_loss(role, ROWS.to(base.model.device))[0].backward()
    assert rows.grad is not None
    assert bool((rows.grad != 0).any(1).all())


def test_no_row_learns_where_pad_alone_is_new_or_the_projection_has_a_bias() -> None:
    model = tiny.model(TIED)
    assert rows_to_learn(model, KNOWN - 2, {KNOWN - 2, PAD}, PAD) == range(KNOWN - 2, KNOWN)
    assert not rows_to_learn(model, KNOWN - 1, {PAD}, PAD)
    assert not rows_to_learn(model, KNOWN, (), PAD)
    biased = PhiForCausalLM(
        PhiConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    )
    assert not rows_to_learn(biased, 6, {6, 7}, 0)


def test_a_token_on_a_spare_row_that_others_share_is_refused_to_an_adapter(tmp_path: Path) -> None:
    """A vocabulary that was padded has room for new tokens, and no adapter can part what is alike."""
    recipe = tiny.chat_recipe(tmp_path, stages=["sft"])
    model = tiny.model(vocabulary=48)
    with torch.no_grad():
        model.get_input_embeddings().weight[tiny.tokenizer().vocab_size :] = 0.5
    model.save_pretrained(tmp_path / "base")
    base, said = tiny.load(recipe), tiny.prepared(recipe).tokens(["demonstrations"])
    assert not base.new_tokens
    with pytest.raises(ModelError) as refused:
        base.to_learn(lambda: said, by_adapter=True)
    assert refused.value.code == "model/alike-tokens"
    assert base.to_learn(lambda: said, by_adapter=False) is base
    assert base.to_learn(frozenset, by_adapter=True).new_rows == range(0)
    with torch.no_grad():
        base.model.get_input_embeddings().weight.normal_()
    assert base.to_learn(lambda: pytest.fail("rows are not gone through for nothing"), by_adapter=True) is base


@pytest.mark.parametrize("stage", ["reward", "dpo"])
def test_so_is_one_that_a_stage_of_pairs_reads_first(tmp_path: Path, stage: str) -> None:
    recipe = tiny.chat_recipe(tmp_path, stages=[stage])
    model = tiny.model(vocabulary=48)
    with torch.no_grad():
        model.get_input_embeddings().weight[tiny.tokenizer().vocab_size :] = 0.5
    model.save_pretrained(tmp_path / "base")
    job = tiny.job(recipe, tmp_path / "run", stage)
    with pytest.raises(ModelError) as refused:
        job.spec.load(job.spec.train)(job)
    assert refused.value.code == "model/alike-tokens"


def test_rows_learn_where_rows_of_data_have_new_tokens_and_cost_a_frozen_prefix_nowhere_else(tmp_path: Path) -> None:
    recipe = tiny.chat_recipe(tmp_path, **{"lora.layers": 0.5})
    assert recipe.base is not None
    said = tiny.prepared(recipe)
    learns = policy_roles(recipe, recipe.base, None, lambda: said.tokens(["preferences"]))
    assert learns.policy.prefix is None
    assert len(_rows(learns.policy)) == 2
    assert any("all layers run in every pass" in note for note in learns.base.notes)
    for names in ([], ["rows that the recipe has not"]):
        roles = policy_roles(recipe, recipe.base, None, partial(said.tokens, names))
        assert roles.policy.prefix is not None
        assert not _rows(roles.policy)
