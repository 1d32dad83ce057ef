"""What a stage saves, transformers and PEFT load as they load anything else, and it says the same."""

from pathlib import Path

import pytest
import tiny
import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from truing.config.sections import Base, Compute, Lora
from truing.core.batches import Sequences
from truing.core.errors import ModelError
from truing.core.normalisation import Normalisation
from truing.models.adapters import Adapters
from truing.models.heads import load_head, scalar_head
from truing.models.load import load_base
from truing.models.roles import Role
from truing.models.save import (
    load_normalisation,
    merge,
    save_adapter,
    save_normalisation,
    save_policy,
    save_reward_model,
)
from truing.models.scoring import end_scores

EOS, PAD = len(tiny.LETTERS), len(tiny.LETTERS) + 1
BATCH = Sequences.collate([[1, 2, 3], [4], [5, 6, EOS, 8]], [[9, EOS], [10, 11, 12, 13, EOS], [14]], PAD)
SHAPES = ["llama", "gpt2", "qwen"]


def _trained(shape: str, head: bool = False) -> Role:
    """A role whose adapter and head have moved far from where they start."""
    model = tiny.model(shape).requires_grad_(False)
    adapters = Adapters(model, Lora(rank=2), seed=0)
    adapters.add("policy")
    role = Role(model, adapters, "policy", scalar_head(model, seed=1, bias=False) if head else None)
    with torch.no_grad():
        for weight in adapters.parameters("policy"):
            weight.add_(0.1)
    return role


@torch.no_grad()
def _logits(model: PreTrainedModel | PeftModel) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=BATCH.tokens, attention_mask=BATCH.attention_mask).logits
    return logits[BATCH.attention_mask.bool()]


@torch.no_grad()
def _role_logits(role: Role) -> torch.Tensor:
    return role.logits(role.hidden(BATCH.tokens, BATCH.attention_mask))[BATCH.attention_mask.bool()]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_policy_directory_gives_the_roles_logits(shape: str, tmp_path: Path) -> None:
    role = _trained(shape)
    expected, untrained = _role_logits(role), _logits(tiny.model(shape))
    save_policy(merge(role), tiny.tokenizer(), tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(_logits(loaded), expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(expected, untrained, atol=1e-2)
    assert loaded.config.use_cache
    assert not list(tmp_path.glob("*.bin"))


def test_a_policy_directory_brings_its_tokenizer(tmp_path: Path) -> None:
    save_policy(tiny.model(), tiny.tokenizer(), tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("ab z.")["input_ids"] == [0, 1, 26, 25, 27]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_reward_directory_gives_the_roles_scores_on_a_padded_batch(shape: str, tmp_path: Path) -> None:
    role = _trained(shape, head=True)
    with torch.no_grad():
        expected = end_scores(role, BATCH)
    assert role.head is not None
    save_reward_model(merge(role), role.head, tiny.tokenizer(), tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert loaded.config.num_labels == 1
    assert not loaded.training
    torch.testing.assert_close(_whole_logits(loaded)[:, 0], expected, atol=1e-4, rtol=1e-4)
    for row, length in enumerate(BATCH.token_counts):
        with torch.no_grad():
            alone = loaded(input_ids=BATCH.tokens[row : row + 1, :length]).logits
        torch.testing.assert_close(alone[0, 0], expected[row], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def _whole_logits(model: PreTrainedModel) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=BATCH.tokens, attention_mask=BATCH.attention_mask).logits
    return logits


@pytest.mark.parametrize("shape", SHAPES)
def test_an_adapter_directory_gives_what_the_merged_model_gives(shape: str, tmp_path: Path) -> None:
    role = _trained(shape, head=True)
    save_adapter(role, tmp_path)
    loaded = PeftModel.from_pretrained(tiny.model(shape), tmp_path)
    torch.testing.assert_close(_logits(loaded), _logits(merge(role)), atol=1e-4, rtol=1e-4)
    head = scalar_head(tiny.model(shape), seed=9, bias=False)
    load_head(head, tmp_path)
    assert role.head is not None
    assert torch.equal(head.weight, role.head.weight)


def test_an_adapter_of_a_base_that_grew_for_its_pad_fits_the_base_as_it_was(tmp_path: Path) -> None:
    directory = tiny.directory(tmp_path / "base", pad=None)
    base = load_base(Base(path=str(directory)), Compute())
    adapters = Adapters(base.model, Lora(rank=2), seed=0)
    adapters.add("policy")
    save_adapter(Role(base.model, adapters, "policy"), tmp_path / "adapter")
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(directory), tmp_path / "adapter")


def test_the_files_of_an_adapter_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_adapter(_trained("llama", head=True), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)


def test_an_architecture_without_a_linear_classifier_is_refused_with_the_hint(tmp_path: Path) -> None:
    config = T5Config(vocab_size=tiny.VOCABULARY, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    model = T5ForConditionalGeneration(config)
    with pytest.raises(ModelError, match=r"has a head of another shape.*single linear head"):
        save_reward_model(model, torch.nn.Linear(16, 1, bias=False), tiny.tokenizer(), tmp_path)


def test_the_normalisation_is_read_back_and_absent_where_nothing_was_saved(tmp_path: Path) -> None:
    assert load_normalisation(tmp_path) is None
    save_normalisation(Normalisation(0.1, 2.5), tmp_path)
    assert load_normalisation(tmp_path) == Normalisation(0.1, 2.5)
