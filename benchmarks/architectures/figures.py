"""Of one model: what truing computes on it, against the same by plain transformers, each row read alone."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from architectures.families import VOCABULARY
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)

from truing.config.sections import Base, Compute, Lora
from truing.core.batches import Sequences
from truing.core.errors import ModelError
from truing.core.experience import Rollout
from truing.models.heads import scalar_head
from truing.models.layout import trained_role
from truing.models.load import LoadedBase, load_base
from truing.models.roles import Role
from truing.models.save import merge, outline_classifier, save_policy, save_reward_model
from truing.models.scoring import end_scores, response_logprobs
from truing.rollout.engine import Sampling
from truing.rollout.episodes import as_rollout
from truing.rollout.local import LocalEngine
from truing.stages.sft import completion_loss

EOS, PAD = VOCABULARY - 12, VOCABULARY - 11
PROMPTS = [[5, 9, 11, 40, 41, 42, 43, 44, 45, 46, 60, 61], [7, 30], [9], [20, 21, 22, 23, 24], [7, 30], [8, 31]]
COMPLETIONS = [[50, 51, EOS], [52, EOS], [53, 54, 55, 56, EOS], [57, EOS], [58, 59, 60, EOS], [61, EOS]]
NEW_TOKENS = 10


@dataclass(frozen=True)
class Figures:
    """The largest absolute differences."""

    notes: tuple[str, ...]
    """What truing says of how it reads the model"""
    sampling: float
    """Of a log-probability that was recorded in sampling, or found in scoring, nats"""
    loss: float
    """Of the loss of SFT, nats"""
    reward: float | None
    """Of a saved reward model's score; None where the library has no classifier of this kind, which truing refuses"""
    saving: float
    """Of a logit of the policy that was trained for a step, saved and loaded"""

    @property
    def largest(self) -> float:
        """Of all."""
        return max(self.sampling, self.loss, self.reward or 0.0, self.saving)


def write_model(name: str, sizes: dict[str, Any], place: Path) -> None:
    """A random model of this type and a tokenizer, as a directory."""
    words = {f"w{number}": number for number in range(EOS)} | {"<eos>": EOS, "<pad>": PAD}
    inner = Tokenizer(models.WordLevel(words, unk_token="w0"))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.WhitespaceSplit(), decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>").save_pretrained(place)
    ids = {"vocab_size": VOCABULARY, "eos_token_id": EOS, "pad_token_id": PAD, "bos_token_id": 1}
    own = {"text_config": ids | sizes["text_config"]} if "text_config" in sizes else ids
    config = AutoConfig.for_model(name, **(sizes | own))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 1 and weight.numel() > 1 and name != "rwkv":  # norms and biases, which begin alike
                weight.add_(torch.randn_like(weight) * 0.05)
    model.save_pretrained(place)


def figures_of(place: Path) -> Figures:
    """The differences on the model in a directory.

    Raises:
        TruingError: what truing refuses of it.
    """
    base = load_base(Base(path=str(place)), Compute(device="cpu"))
    plain = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
    return Figures(
        notes=base.notes,
        sampling=_sampling(base, plain),
        loss=_loss(base.role(), plain),
        reward=_reward(base),
        saving=_saving(place),
    )


@torch.no_grad()
def _sampling(base: LoadedBase, plain: Any) -> float:
    """Rows of unequal length, of which some end earlier than others."""
    role = base.role()
    longest = _sampled(role, eos=VOCABULARY)
    often = torch.stack([row[1:6] for row in longest.sequences.response_tokens]).flatten().mode().values
    rollout = _sampled(role, eos=int(often))
    scored = response_logprobs(role, rollout.sequences)
    worst = 0.0
    for row, response in enumerate(rollout.sequences.responses):
        own = torch.tensor([[*PROMPTS[row], *response]])
        logprobs = plain(input_ids=own, use_cache=False).logits.float().log_softmax(-1)[0, len(PROMPTS[row]) - 1 : -1]
        expected = logprobs.gather(1, torch.tensor(response)[:, None])[:, 0]
        for found in (rollout.logprobs, scored):
            worst = max(worst, float((found[row, : len(response)] - expected).abs().max()))
    return worst


def _sampled(role: Role, eos: int) -> Rollout:
    sampling = Sampling(NEW_TOKENS, 1.0, (eos,), PAD, rows=8)
    ids = range(len(PROMPTS))
    completions = LocalEngine(role).generate(PROMPTS, ids, sampling, 3, "architectures")
    return as_rollout(PROMPTS, completions, list(ids), PAD)


@torch.no_grad()
def _loss(role: Role, plain: Any) -> float:
    """With the library's own loss, on one row at a time, its tokens weighted alike."""
    batch = Sequences.collate(PROMPTS, COMPLETIONS, PAD)
    total = 0.0
    for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True):
        labels = torch.tensor([[-100] * len(prompt) + completion])
        own = torch.tensor([[*prompt, *completion]])
        total += float(plain(input_ids=own, labels=labels, use_cache=False).loss) * len(completion)
    expected = total / sum(map(len, COMPLETIONS))
    return abs(float(completion_loss(role, batch)[0]) - expected)


@torch.no_grad()
def _reward(base: LoadedBase) -> float | None:
    try:
        outline_classifier(base.model)
    except ModelError:
        return None
    batch = Sequences.collate(PROMPTS, COMPLETIONS, PAD)
    head = scalar_head(base.model, seed=1, bias=False)
    ours = end_scores(base.role(head=head), batch)
    with TemporaryDirectory() as place:
        save_reward_model(base.model, head, base.tokenizer, Path(place))
        classifier = AutoModelForSequenceClassification.from_pretrained(place).eval()
    rows = [torch.tensor([[*prompt, *said]]) for prompt, said in zip(PROMPTS, COMPLETIONS, strict=True)]
    theirs = [classifier(input_ids=row, use_cache=False).logits[0, 0] for row in rows]
    return float((ours - torch.stack(theirs)).abs().max())


def _saving(place: Path) -> float:
    """After a step of SFT with adapters."""
    base = load_base(Base(path=str(place)), Compute(device="cpu"))
    policy = trained_role(base, "policy", Lora(rank=2), seed=0)
    batch = Sequences.collate(PROMPTS, COMPLETIONS, PAD)
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * 0.05)
    optimiser = torch.optim.AdamW(policy.parameters(), lr=1e-2)
    completion_loss(policy, batch)[0].backward()
    optimiser.step()
    row = torch.tensor([[*PROMPTS[0], *COMPLETIONS[0]]])
    with torch.no_grad():
        ours: Tensor = policy.logits(policy.hidden(row, torch.ones_like(row)))
    with TemporaryDirectory() as saved:
        save_policy(merge(policy), base.tokenizer, Path(saved))
        again = AutoModelForCausalLM.from_pretrained(saved, dtype=torch.float32).eval()
    with torch.no_grad():
        theirs = again(input_ids=row, use_cache=False).logits.float()
    return float((ours - theirs).abs().max())
