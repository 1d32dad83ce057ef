"""Episodes of several turns: the policy and an environment answer each other until one of them is done.

A turn is drawn as any response is, behind all that was said before it, so every engine draws them; what an engine keeps
of a prompt that it read is not taken over from turn to turn. An episode's response is all that follows its prompt, and
the tokens in it that the environment said are marked: nothing is learnt from them and no penalty is on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from truing.core.errors import RewardError
from truing.core.records import Episode, Message
from truing.data.chat import TextFormat, decode_response
from truing.data.observations import calls_in, observation_tokens
from truing.rollout.engine import Completion, Engine, Sampling
from truing.rollout.environment import Environment, EpisodeStart, PolicyTurn


@dataclass
class _Conversation:
    """An episode as it goes on."""

    begun: EpisodeStart
    parts: list[Tensor] = field(default_factory=list)
    """Tokens of each turn, the policy's and the environment's by turns"""
    drawn: list[Completion] = field(default_factory=list)
    """The policy's turns"""
    turns: list[Message] = field(default_factory=list)
    reward: float = 0.0
    done: bool = False
    failed: bool = False

    @property
    def tokens(self) -> list[int]:
        """All that was said."""
        return [*self.begun.prompt.tokens, *(token for part in self.parts for token in part.tolist())]

    def spoken(self, form: TextFormat, one: Completion) -> PolicyTurn:
        """Notes a turn of the policy."""
        said = tuple(one.tokens.tolist())
        in_messages = not isinstance(self.begun.prompt.text, str)
        text, calls = decode_response(form, tuple(self.tokens), said, in_messages), calls_in(form, said)
        self.parts.append(one.tokens)
        self.drawn.append(one)
        self.turns.append(Message("assistant", text))
        return PolicyTurn(self.begun.number, text, calls, one.finished)

    def hear(self, said: tuple[Message, ...], one: PolicyTurn, form: TextFormat, environment: Environment) -> None:
        """Notes what the environment said to a turn; what cannot be taken in is its failure."""
        tokens = observation_tokens(form, self.begun.prompt.text, said, called=bool(one.calls))
        most = environment.observation_tokens
        if 0 < len(tokens) <= most:
            self.parts.append(torch.tensor(tokens))
            self.turns += said
        elif environment.drops:
            self.failed = True
        else:
            what = f"said {len(tokens):,} tokens to one turn, and may say {most:,}: {said[-1].content[:80]!r}."
            hint = "Have step say less, or raise observation_tokens of the environment in rewards.sources."
            raise RewardError(what, code="rewards/observation-too-long", where=environment.name, hint=hint)

    def completion(self) -> Completion:
        """All that followed the prompt, as one response."""
        last, policy = self.drawn[-1], [number % 2 == 0 for number in range(len(self.parts))]
        drawn = torch.cat(
            [torch.full((len(part),), own, dtype=torch.bool) for part, own in zip(self.parts, policy, strict=True)]
        )
        reward = float("nan") if self.failed else self.reward
        return replace(
            last,
            tokens=torch.cat(self.parts),
            logprobs=_laid_out([one.logprobs for one in self.drawn], drawn),
            hidden=None if last.hidden is None else _laid_out([_there(one.hidden) for one in self.drawn], drawn),
            engine_logprobs=None
            if last.engine_logprobs is None
            else _laid_out([_there(one.engine_logprobs) for one in self.drawn], drawn),
            drawn=drawn,
            episode=Episode(tuple(self.turns), reward, int((~drawn).sum())),
        )


def converse(
    engine: Engine,
    environment: Environment,
    begun: Sequence[EpisodeStart],
    form: TextFormat,
    sampling: Sampling,
    seed: int,
    purpose: str,
) -> list[Completion]:
    """An episode to each prompt, in order; the draws of a turn depend on (seed, purpose, turn, episode) alone.

    Raises:
        TrainingError, EngineError: as `Engine`.
        RewardError: the environment fails, or says more than it may.
        ModelError: the chat template cannot write what it says.
    """
    episodes = [_Conversation(one) for one in begun]
    for episode, is_there in zip(episodes, environment.reset(begun), strict=True):
        episode.failed = not is_there
    for turn in range(1, environment.turns + 1):
        going_on = [episode for episode in episodes if not episode.done]
        if not going_on:
            break
        asked, ids = [one.tokens for one in going_on], [one.begun.number for one in going_on]
        of_turn = purpose if turn == 1 else f"{purpose}, turn {turn}"
        drawn = engine.begin(asked, ids, sampling, seed, of_turn).completions()
        spoken = [episode.spoken(form, one) for episode, one in zip(going_on, drawn, strict=True)]
        pairs = [(episode, one) for episode, one in zip(going_on, spoken, strict=True) if not episode.failed]
        for (episode, one), result in zip(pairs, environment.step([one for _, one in pairs]), strict=True):
            episode.reward += result.reward
            episode.failed = result.failed
            episode.done = result.done or not one.finished or turn == environment.turns
            if not (episode.done or episode.failed):
                episode.hear(result.observation, one, form, environment)
        for episode in going_on:
            episode.done = episode.done or episode.failed
    environment.close([one.number for one in begun])
    return [episode.completion() for episode in episodes]


def _laid_out(turns: Sequence[Tensor], drawn: Tensor) -> Tensor:
    """(R, ...) what each of the policy's turns has, in the places of the (R,) tokens that were `drawn`; 0 elsewhere."""
    values = torch.cat([*turns])
    places = drawn.nonzero()[:, 0].to(values.device)
    return values.new_zeros(len(drawn), *values.shape[1:]).index_copy(0, places, values)


def _there(part: Tensor | None) -> Tensor:
    assert part is not None, "an engine keeps the same of every turn"
    return part
