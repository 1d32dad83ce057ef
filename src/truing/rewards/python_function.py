"""Python functions as rewards and judges: `module:function` or `file.py:function`, of prompts and responses."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from truing.config.recipe import Recipe
from truing.config.sections import Functions
from truing.core.errors import RewardError
from truing.core.records import Sample
from truing.processes import group
from truing.rewards.keywords import Keywords, as_plain, of_samples
from truing.rewards.process import FunctionError, FunctionProcess, more_of
from truing.rewards.worker import NO_FIT, NO_FUNCTION

IMPORTED = "the module is looked for beside the recipe and on the Python path."
LARGEST_SCORE = 1e18
"""Its square is still a number in single precision"""
SCORES = f"It must return one number for each response, in order, each finite and no larger than {LARGEST_SCORE:g}."
SIGNATURE = "Write it as `def score(prompts, responses): return [one number for each response]`."
OF_PAIRS = "Write it as `def judge(prompts, pairs): return [one share for each pair of answers]`."
"""Of a function that says which of two answers is better"""
HOPELESS = 3
"""Responses one by one that a function fails on, before it answered any, after which no more are tried"""


@dataclass
class FunctionReward:
    """A function that scores samples in a process of its own.

    A batch that fails is halved until the samples that make it fail are found. With `drops` they score NaN; without,
    the first of them ends the run.
    """

    name: str
    settings: Functions
    drops: bool
    file: str | None = None
    """Where the function is written"""
    keywords: Keywords = field(default_factory=Keywords)
    """What it takes besides prompts and responses"""
    _process: FunctionProcess = field(init=False, repr=False)
    _failed: int = 0
    _answered: bool = False

    def __post_init__(self) -> None:
        self._process = FunctionProcess(self.name, self.settings)

    @classmethod
    def load(cls, path: str, recipe: Recipe, signature: str = SIGNATURE) -> "FunctionReward":
        """Imports it in its process; how it is to be written is told by its `signature`.

        Raises:
            RewardError: the module or the function is not there or of another form, or the module cannot be run.
        """
        reward = cls(path, recipe.functions, drops=recipe.rewards.on_bad_score == "drop")
        reward.file, reward.keywords = group.broadcast(lambda: reward._imported(signature))
        return reward

    def _imported(self, signature: str) -> tuple[str | None, Keywords]:
        """The function's file, and what it takes. RewardError as `load`: others so hear the exit code of it."""
        try:
            return self._process.start()
        except FunctionError as fault:
            if fault.reason.startswith(NO_FIT):
                hint = signature + (f" It is written in {fault.place}." if fault.place else "")
                raise RewardError(f"{fault.reason}.", code="rewards/signature", where=self.name, hint=hint) from fault
            raise RewardError(
                f"{NO_FUNCTION}."
                if fault.reason == NO_FUNCTION
                else f"cannot be imported ({fault.reason.removeprefix('raised ')}).",
                code="rewards/not-imported",
                where=self.name,
                hint=more_of(fault.limit) or f"Write it as module:function; {IMPORTED}",
            ) from fault

    def score(self, samples: Sequence[Sample]) -> list[float]:
        """One number a sample, NaN for one that is to be dropped.

        Raises:
            RewardError: there is no number for a sample and the recipe says stop, or for none of them.
        """
        size = self.settings.batch_size
        parts = [samples[start : start + size] for start in range(0, len(samples), size)]
        return group.broadcast(lambda: [score for part in parts for score in self._batch(part)])

    def end(self) -> None:
        """Ends the process; a later score starts another."""
        self._process.end()

    def _batch(self, samples: Sequence[Sample]) -> list[float]:
        try:
            return self._asked(samples)
        except FunctionError as fault:
            if len(samples) == 1:
                return [self._bad(_blaming(samples[0], fault))]
            scores = self._halved(samples, fault)
            if all(map(math.isfinite, scores)):  # one by one it answers: what it says hangs on the batch
                alone = f"It answers for each of {len(samples)} responses alone, not for all together"
                reason = f"{fault.reason}. {alone} (functions.batch_size)"
                raise self._refusal(FunctionError(reason, fault.place, fault.limit)) from fault
            return scores

    def _halved(self, samples: Sequence[Sample], first: FunctionError) -> list[float]:
        middle = len(samples) // 2
        return self._searched(samples[:middle], first) + self._searched(samples[middle:], first)

    def _searched(self, samples: Sequence[Sample], first: FunctionError) -> list[float]:
        """The scores of a part of a batch that failed as `first` says."""
        try:
            return self._asked(samples)
        except FunctionError:
            return [self._bad(_blaming(samples[0], first))] if len(samples) == 1 else self._halved(samples, first)

    def _asked(self, samples: Sequence[Sample]) -> list[float]:
        """What the function says. FunctionError if that is not a list of so many."""
        columns = self.keywords.given([sample.columns for sample in samples], of_samples(samples), self.name)
        prompts = [as_plain(sample.prompt) for sample in samples]
        answer = self._process.scores(prompts, [sample.response for sample in samples], columns)
        scores, bad = answer.get("scores"), answer.get("bad")
        if not isinstance(scores, list) or not isinstance(bad, dict) or len(scores) != len(samples):
            raise FunctionError("disturbed the line to its process")
        numbers = []
        for index, (score, sample) in enumerate(zip(scores, samples, strict=True)):
            if isinstance(score, float) and abs(score) <= LARGEST_SCORE:  # NaN is not
                self._answered = True
                numbers.append(score)
            else:
                numbers.append(self._bad(_blamed(bad.get(str(index)) or {"fault": f"returned {score}"}, sample)))
        return numbers

    def _bad(self, fault: FunctionError) -> float:
        """NaN, where samples are dropped and it is not all of them."""
        self._failed += 1
        if self.drops and (self._answered or self._failed < HOPELESS):
            return math.nan
        raise self._refusal(fault) from fault

    def _refusal(self, fault: FunctionError) -> RewardError:
        hint = fault.hint(SCORES)
        return RewardError(f"{fault.reason}.", code="rewards/function-fails", where=self.name, hint=hint)


def _blamed(fault: Mapping[str, Any], sample: Sample) -> FunctionError:
    """What a function did on one response of a batch, alone."""
    if "place" in fault:  # it raised
        return _blaming(sample, FunctionError.told(fault))
    return FunctionError(f"{fault['fault']} for the response {sample.response[:80]!r}")


def _blaming(sample: Sample, fault: FunctionError) -> FunctionError:
    """The fault with the response that brought it about."""
    return FunctionError(f"{fault.reason}. The response was {sample.response[:80]!r}", fault.place, fault.limit)
