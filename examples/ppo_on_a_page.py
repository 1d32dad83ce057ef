"""Proximal policy optimisation for language models: the whole algorithm on a page.

    python examples/ppo_on_a_page.py --beta 0.05

A tiny Llama with random weights imitates product reviews, then learns to write those that a reward likes. The world of
reviews, its model and its reward are made on the spot: nothing is downloaded, and half a minute of one core is enough.

Read it from top to bottom. The mathematics is `truing.functional`, where each formula has its source; all else is plain
torch and transformers. `truing.stages.ppo` is the same algorithm with adapters, micro-batches, learnt rewards and runs
that can be resumed; tests/examples/test_ppo_on_a_page.py holds the two against each other.

Shapes: B responses, P prompt tokens, R response tokens, T = P + R, V vocabulary. Prompts are padded on the left and
responses on the right, so the last R columns of a batch are its responses.
"""

import json
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from truing import functional as F
from truing.config.sections import World
from truing.worlds.reviews import gold_scores, write_world


@dataclass(frozen=True)
class Settings:
    """Each is an option of the command line."""

    seed: int = 17
    sft_steps: int = 250
    sft_batch_size: int = 32
    sft_learning_rate: float = 4e-3
    updates: int = 40
    batch_size: int = 64  # responses an update
    epochs: int = 2  # passes over them
    minibatches: int = 2  # optimiser steps a pass
    max_new_tokens: int = 40
    temperature: float = 1.0
    missing_eos_penalty: float = 1.0
    beta: float = 0.05  # price of one nat of KL from the reference, in units of the score
    gamma: float = 1.0
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    value_clip_range: float = 0.2
    value_coefficient: float = 0.1
    learning_rate: float = 1e-3
    adam_eps: float = 1e-5  # with 1e-8, a gradient that is nothing but noise steps as far as any
    max_grad_norm: float = 1.0


# ------------------------------------------------------------------------------------------- models and what they read
class Critic(nn.Module):
    """A backbone with a scalar head: the reward still to come, as seen from each token."""

    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(width, 1)
        nn.init.normal_(self.head.weight, std=(width + 1) ** -0.5)  # Stiennon et al. 2020
        nn.init.zeros_(self.head.bias)


@dataclass(frozen=True)
class TrainState:
    """All that lasts from update to update."""

    settings: Settings
    tokenizer: Any  # its pad is not its eos: else eos would be masked as padding, and stopping never learnt
    policy: Any
    reference: Any
    critic: Critic
    optimiser: torch.optim.AdamW
    schedule: torch.optim.lr_scheduler.LambdaLR


def start_from(model: Any, tokenizer: Any, settings: Settings) -> TrainState:
    """Policy, reference and critic all begin as `model`."""
    policy = model.eval()  # no dropout, not even while learning: the ratio would be noise
    reference = deepcopy(model).requires_grad_(False)  # the start, for good: not the policy of the last update
    critic = Critic(deepcopy(model.base_model), model.config.hidden_size)
    learnt = [*policy.parameters(), *critic.parameters()]
    optimiser = torch.optim.AdamW(learnt, lr=settings.learning_rate, eps=settings.adam_eps, weight_decay=0.0)
    steps = settings.updates * settings.epochs * settings.minibatches
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    return TrainState(settings, tokenizer, policy, reference, critic, optimiser, schedule)


class Sequences(NamedTuple):
    tokens: Tensor  # (B, T) prompts and their responses
    attention_mask: Tensor  # (B, T) 1 on prompt and response, 0 on padding
    mask: Tensor  # (B, R) 1 on response tokens, eos included: these count, and nothing else does

    @property
    def response(self) -> Tensor:
        return self.tokens[:, -self.mask.shape[1] :]  # (B, R)

    @property
    def before(self) -> slice:
        return slice(-self.mask.shape[1] - 1, -1)  # the R columns from which its tokens are predicted: one earlier


def padded(rows: Sequence[Sequence[int]], pad: int, side: str) -> tuple[Tensor, Tensor]:
    """(B, longest) tokens, and 1 where they are no padding."""
    tokens = [torch.tensor(row) for row in rows]
    mask = [torch.ones_like(row) for row in tokens]
    return nn.utils.rnn.pad_sequence(tokens, True, pad, side), nn.utils.rnn.pad_sequence(mask, True, 0, side)


def read(model: nn.Module, tokens: Tensor, attention_mask: Tensor, **cache: Any) -> Any:
    """The output of a model or backbone for the last of the tokens, or all; the mask is of those in the cache too."""
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)  # from a row's own first token, however far it is padded
    return model(tokens, attention_mask=attention_mask, position_ids=positions[:, -tokens.shape[1] :], **cache)


def response_logits(model: nn.Module, sequences: Sequences, temperature: float) -> Tensor:
    """(B, R, V) at the sampler's temperature, for policy and reference alike: else neither ratio nor KL is true."""
    return read(model, sequences.tokens, sequences.attention_mask).logits[:, sequences.before] / temperature


def response_values(critic: Critic, sequences: Sequences) -> Tensor:
    """(B, R) the reward that is expected just before each response token."""
    states = read(critic.backbone, sequences.tokens, sequences.attention_mask).last_hidden_state
    return critic.head(states[:, sequences.before])[..., 0]


# -------------------------------------------------------------------------------------------------------- sampling
@torch.no_grad()
def sample(state: TrainState, prompts: Sequence[str], uniforms: Tensor) -> tuple[Sequences, Tensor]:
    """Responses, and the (B, R, V) logits that they were drawn from; `uniforms` (B, max_new_tokens), one a token.

    No top-k, no top-p, no minimum length: log-probabilities have to be those of the distribution that was sampled.
    To keep all its logits is for small vocabularies; log-probabilities alone would do for learning.
    """
    eos, pad = state.tokenizer.eos_token_id, state.tokenizer.pad_token_id
    tokens, seen = padded(state.tokenizer(list(prompts)).input_ids, pad, "left")
    going = torch.ones(len(tokens), dtype=torch.long)  # 1 for rows that have not ended
    mask, logits = [], []
    new, cache = tokens, None  # what the policy has not read yet, and what it remembers of the rest
    for uniform in uniforms.unbind(1):
        output = read(state.policy, new, seen, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        logits.append(output.logits[:, -1] / state.settings.temperature)
        drawn = draw(logits[-1], uniform)
        new = torch.where(going == 1, drawn, pad)[:, None]
        tokens, seen = torch.cat([tokens, new], 1), torch.cat([seen, going[:, None]], 1)
        mask.append(going)
        going = going * (drawn != eos)  # not before `mask`: eos itself counts
        if not going.any():
            break
    return Sequences(tokens, seen, torch.stack(mask, 1)), torch.stack(logits, 1)


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """(B,) tokens of (B, V) logits: the first whose cumulative probability exceeds the uniform (B,)."""
    upto = logits.double().softmax(-1).cumsum(-1)
    wanted = uniforms[:, None] * upto[:, -1:]  # the last is 1 but for rounding: no draw may land behind it
    return torch.searchsorted(upto, wanted, right=True)[:, 0]


# ------------------------------------------------------------------------------------------------------ experience
class Experience(NamedTuple):
    """What an update learns from; (B, R) but for the sequences."""

    sequences: Sequences
    old_logprobs: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor

    def rows(self, index: Tensor) -> "Experience":
        return Experience(Sequences(*(part[index] for part in self.sequences)), *(part[index] for part in self[1:]))


@torch.no_grad()  # advantages and returns are plain numbers to the losses: no gradient flows through them
def make_experience(
    state: TrainState, sequences: Sequences, logits: Tensor, ref_logits: Tensor, scores: Tensor
) -> Experience:
    """Rewards token by token, then advantages and returns."""
    settings = state.settings
    response, mask = sequences.response, sequences.mask
    old_logprobs = F.token_logprobs(logits, response)  # of the policy that sampled, as it sampled: not the reference's
    ref_logprobs = F.token_logprobs(ref_logits, response)
    old_values = response_values(state.critic, sequences)
    ended = (response == state.tokenizer.eos_token_id).any(1)
    scores = torch.where(ended, scores, scores - settings.missing_eos_penalty)  # else it pays never to stop
    rewards = F.shape_rewards(scores, old_logprobs, ref_logprobs, mask, settings.beta)  # score on the last token
    advantages, returns = F.gae(rewards, old_values, mask, settings.gamma, settings.gae_lambda)  # V after that: 0
    advantages = F.masked_whiten(advantages, mask)  # over the whole batch: a minibatch's own mean is noise
    return Experience(sequences, old_logprobs, old_values, advantages, returns)


# -------------------------------------------------------------------------------------------------------- learning
def learn(state: TrainState, experience: Experience, orders: list[Tensor]) -> float:
    """Passes over the experience, each in its order of rows (B,); returns the clip fraction, mean over the steps."""
    settings = state.settings
    clipped: list[float] = []
    learnt = [*state.policy.parameters(), *state.critic.parameters()]
    for rows in (rows for order in orders for rows in order.chunk(settings.minibatches)):
        sequences, old_logprobs, old_values, advantages, returns = experience.rows(rows)
        mask = sequences.mask  # both losses are means over the tokens that count, not over rows
        logprobs = F.token_logprobs(response_logits(state.policy, sequences, settings.temperature), sequences.response)
        policy_loss, stats = F.ppo_policy_loss(logprobs, old_logprobs, advantages, mask, settings.clip_range)
        values = response_values(state.critic, sequences)
        value_loss, _ = F.ppo_value_loss(values, old_values, returns, mask, settings.value_clip_range)
        assert clipped or stats["ratio_max_deviation"] < 1e-3, "the ratio is not 1 before anything was learnt"
        state.optimiser.zero_grad()
        (policy_loss + settings.value_coefficient * value_loss).backward()
        nn.utils.clip_grad_norm_(learnt, settings.max_grad_norm)  # of both at once; else one spike undoes an update
        state.optimiser.step()
        state.schedule.step()
        clipped.append(float(stats["clip_fraction"]))
    return sum(clipped) / len(clipped)


def update(
    state: TrainState, prompts: Sequence[str], reward: Callable[..., Any], uniforms: Tensor, orders: list[Tensor]
) -> tuple[Experience, dict[str, float]]:
    """The policy answers, `reward(prompts, responses)` scores, policy and critic learn; draws come as arguments."""
    sequences, logits = sample(state, prompts, uniforms)
    scores = torch.tensor(reward(prompts, texts(state, sequences)))
    with torch.no_grad():
        ref_logits = response_logits(state.reference, sequences, state.settings.temperature)
    experience = make_experience(state, sequences, logits, ref_logits, scores)
    clipped = learn(state, experience, orders)
    return experience, {
        "score": float(scores.mean()),
        "kl": float(
            (F.kl_exact(logits, ref_logits) * sequences.mask).sum(1).mean()
        ),  # nats a response; rewards hold k1
        "entropy": float(F.masked_mean(F.token_entropy(logits), sequences.mask)),  # nats a token
        "clipped": clipped,
        "length": float(sequences.mask.sum(1).float().mean()),
    }


def texts(state: TrainState, sequences: Sequences) -> list[str]:
    return list(state.tokenizer.batch_decode(sequences.response, skip_special_tokens=True))


# --------------------------------------------------------------------------------------------------------- the run
def imitate(model: Any, tokenizer: Any, rows: Sequence[dict[str, str]], settings: Settings) -> float:
    """Supervised fine-tuning on prompts and their completions; returns the last loss, nats a token."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.sft_learning_rate, weight_decay=0.0)
    for _ in range(settings.sft_steps):
        batch = [rows[i] for i in torch.randint(len(rows), (settings.sft_batch_size,))]
        asked = tokenizer([row["prompt"] for row in batch])
        said = tokenizer([row["completion"] + tokenizer.eos_token for row in batch], add_special_tokens=False)
        prompts, prompt_mask = padded(asked.input_ids, tokenizer.pad_token_id, "left")
        completions, mask = padded(said.input_ids, tokenizer.pad_token_id, "right")
        sequences = Sequences(torch.cat([prompts, completions], 1), torch.cat([prompt_mask, mask], 1), mask)
        loss = -F.masked_mean(F.token_logprobs(response_logits(model, sequences, 1.0), completions), mask)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return loss.item()


def main(settings: Settings, shown: int = 5) -> None:
    """Makes the world, imitates its reviews and improves on them; `shown` prompts are answered before and after."""
    torch.manual_seed(settings.seed)
    torch.set_num_threads(1)  # so small a model gains nothing from a second one
    disable_progress_bar()
    with TemporaryDirectory() as place:
        world = write_world(World(demonstrations=3000, preferences=1, prompts=1000), settings.seed, Path(place))
        model, tokenizer = AutoModelForCausalLM.from_pretrained(world.base), AutoTokenizer.from_pretrained(world.base)
        demonstrations = [json.loads(line) for line in world.demonstrations.read_text().splitlines()]
        prompts = [json.loads(line)["prompt"] for line in world.prompts.read_text().splitlines()]
    print(f"imitated: loss {imitate(model, tokenizer, demonstrations, settings):.2f}")
    state = start_from(model, tokenizer, settings)
    heldout, prompts = prompts[:shown], prompts[shown:]
    same = torch.rand(shown, settings.max_new_tokens, dtype=torch.float64)  # for both looks: the policy alone differs
    before = texts(state, sample(state, heldout, same)[0])
    for number in range(1, settings.updates + 1):
        asked = [prompts[i] for i in torch.randperm(len(prompts))[: settings.batch_size]]
        orders = [torch.randperm(len(asked)) for _ in range(settings.epochs)]
        uniforms = torch.rand(len(asked), settings.max_new_tokens, dtype=torch.float64)
        _, figures = update(state, asked, gold_scores, uniforms, orders)
        print(f"update {number:3}", *(f"{name} {figure:z5.2f}" for name, figure in figures.items()), sep="  ")
    after = texts(state, sample(state, heldout, same)[0])
    for prompt, old, new in zip(heldout, before, after, strict=True):
        old_score, new_score = gold_scores([prompt, prompt], [old, new])
        print(f"\n{prompt}\n  before {old_score:5.2f}  {old}\n  after  {new_score:5.2f}  {new}")


if __name__ == "__main__":
    parser = ArgumentParser(description="PPO for language models on a page.")
    for field in fields(Settings):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    main(Settings(**vars(parser.parse_args())))
