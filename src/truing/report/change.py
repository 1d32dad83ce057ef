"""How a metric changed while a policy learnt."""

from truing.core.results import Change
from truing.report.run_files import StageFiles
from truing.report.wording import difference


def heldout_score(stage: StageFiles) -> Change | None:
    """The score on held-out prompts, before and after."""
    return stage.result.heldout.heldout_score or change_of(stage, "heldout_score")


def judged(stage: StageFiles, judge: str) -> Change | None:
    """A judge's mean on held-out prompts, before and after."""
    return (stage.result.heldout.judges or {}).get(judge) or change_of(stage, f"judge_{judge}")


def heldout_kl(stage: StageFiles) -> float | None:
    """Nats a sequence from the reference: of the step that the model is of, or of the last so far."""
    kept = stage.result.heldout.heldout_kl_last
    return stage.latest("heldout_kl") if kept is None else kept


def change_of(stage: StageFiles, name: str) -> Change | None:
    """A metric's first and last value, so far."""
    _, values = stage.series(name)
    return Change(values[0], values[-1]) if values else None


def beta(stage: StageFiles) -> float | None:
    """The price of KL: of the last update, or of the whole stage."""
    measured = stage.latest("beta")
    return stage.result.beta if measured is None else measured


def change_in_words(change: Change) -> str:
    """By how much, with its interval: 'change +0.57 [0.28, 0.86]'; empty without one."""
    return f"change {difference(change.last - change.first, change.change_ci95)}" if change.change_ci95 else ""
