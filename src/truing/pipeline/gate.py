"""Before a stage that learns from a reward model begins: is that model worth learning from?"""

from truing.config.plan import Planned
from truing.core.errors import RewardError
from truing.core.results import PairCard, read
from truing.core.soundness import card_in_words, clear_of_chance, unsound
from truing.runs.directory import RunDirectory
from truing.runs.files import read_json
from truing.runs.progress import Progress


def refuse_unsound(stage: Planned, run: RunDirectory, progress: Progress) -> None:
    """Stops a run before this stage learns from a reward model that has learnt nothing; a stage that has begun goes on.

    Raises:
        RewardError: the model is not sound, and the recipe does not say to go on regardless.
    """
    scorer = stage.builds_on.get(stage.spec.scored_by or "")
    learns = any(source.kind == "stage" and source.weight for source in stage.recipe.rewards.sources)
    begun = run.lineage.stage_state(stage.name) == "running"
    if scorer is None or begun or not (learns and stage.spec.must_be_scored):
        return
    card = read(PairCard, read_json(run.stage(scorer).result))
    reasons = unsound(card)
    if not reasons:
        return
    what = f"the model of {scorer} is {' and '.join(reasons)}: {card_in_words(card)}"
    if stage.recipe.on_unsound_reward == "stop":
        what = f"{stage.name} was not begun, since {what}."
        raise RewardError(what, code="rewards/unsound", where=str(run.root), hint=_hint(stage, card))
    progress.note(f"{stage.name} begins although {what} (on_unsound_reward: go_on)")


def _hint(stage: Planned, card: PairCard) -> str:
    """What to try, what may be wrong with the measurement, and how to go on regardless."""
    maker = stage.spec.scored_by
    pairs = card.heldout_pairs or 1
    needed = clear_of_chance(pairs)
    few = (
        f"{pairs:,} held-out pairs are too few to tell, whatever is right of them"
        if needed >= 1
        else f"on {pairs:,} held-out pairs, more than {needed:.0%} right would be"
    )
    return (
        f"To be clear of chance: {few}; data.heldout holds out more. To learn more: more pairs, more {maker}.epochs, a "
        f"higher or lower {maker}.optimiser.learning_rate, a larger base; --fork-to NEW keeps the stages before. "
        f"What {maker} made stays: the same command with --set on_unsound_reward=go_on goes on from it."
    )
