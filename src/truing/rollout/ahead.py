"""The prompts of a stage's updates, of which a server may answer some while the learner still learns from others.

    the weights after update v       answer the prompts of update v + 1 + k        k = rollout.max_staleness
    those that the stage begins with   answer those of updates 1 to k + 1

So what update u learns from was drawn by the weights after update max(0, u − 1 − k), however long anything takes: no
response is older, and a run that is taken up has the same ones drawn again, by weights that its checkpoint has.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from truing.config.recipe import Recipe
from truing.core.experience import Rollout
from truing.data.encode import EncodedPrompt
from truing.data.prompts import PromptSet
from truing.models.load import LoadedBase
from truing.rollout.engine import Drawing, Engine
from truing.rollout.environment import Environment
from truing.rollout.episodes import begin_responses, drawn_rollout


@dataclass(frozen=True)
class _Begun:
    """The responses of one update."""

    update: int
    """From 1"""
    version: int
    """The last update of the weights that draw them; 0 of those that the stage begins with"""
    asked: list[EncodedPrompt]
    drawing: Drawing


@dataclass
class Rollouts:
    """Those of the updates of a stage, one after the other."""

    recipe: Recipe
    base: LoadedBase
    prompts: PromptSet
    engine: Engine
    episodes: int
    """Of an update"""
    responses_per_prompt: int
    updates: int
    """Of the stage"""
    environment: Environment | None = None
    _begun: deque[_Begun] = field(default_factory=deque)

    def take_up(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """What was being drawn when this update was done is drawn again, by what `weights` were then; all else is left.

        Raises:
            EngineError: as `Engine.sync`.
        """
        self._begun.clear()
        by_version: dict[int, dict[str, Tensor]] = {}
        for name, weight in weights.items():
            number, _, path = name.partition("/")
            by_version.setdefault(int(number), {})[path] = weight
        for version, own in sorted(by_version.items()):
            self.engine.sync(own)
            self._begin(version, learnt=step)

    def rollout(self, update: int) -> tuple[list[EncodedPrompt], Rollout, dict[str, float]]:
        """The prompts of the next update, their responses, and what was measured of both, by metric.

        Raises:
            TrainingError, EngineError: as `Engine`.
        """
        metrics = self.engine.sync()
        self._begin(update - 1, learnt=update - 1)
        begun = self._begun.popleft()
        assert begun.update == update
        rollout = drawn_rollout(begun.drawing, begun.asked, self.base, self._first(update), self.responses_per_prompt)
        if self.recipe.rollout.max_staleness:
            metrics["staleness"] = update - 1 - begun.version
        return begun.asked, rollout, metrics

    @property
    def weights(self) -> dict[str, Tensor]:
        """By which responses are being drawn that `take_up` will draw again: none where nothing is drawn ahead."""
        return {
            f"{begun.version}/{path}": weight for begun in self._begun for path, weight in begun.drawing.weights.items()
        }

    @property
    def notes(self) -> list[str]:
        """What a reader of the stage's figures has to know."""
        ahead = self.recipe.rollout.max_staleness
        drew = f"Responses were drawn by weights of up to {ahead} {'update' if ahead == 1 else 'updates'} before those"
        told = f"{drew} that learnt from them (rollout.max_staleness), and an update's score and KL are of such ones."
        return [told] if ahead else []

    def _begin(self, version: int, learnt: int) -> None:
        """The engine, which has the weights of this version, answers what is theirs and not `learnt` yet."""
        ahead = self.recipe.rollout.max_staleness
        last = min(version + 1 + ahead, self.updates)
        theirs = [update for update in range(learnt + 1, last + 1) if max(0, update - 1 - ahead) == version]
        for update in theirs:
            first, group = self._first(update), self.responses_per_prompt
            episodes = range(first, first + self.episodes)
            askings = [episode // group for episode in episodes]
            asked = self.prompts.of_episodes(askings, self.recipe.seed)
            drawing = begin_responses(
                self.engine, asked, self.recipe, self.base, "rollout", first, askings, self.environment
            )
            self._begun.append(_Begun(update, version, asked, drawing))

    def _first(self, update: int) -> int:
        """The number of an update's first episode."""
        return (update - 1) * self.episodes
