"""What came of a stage, in a sentence: for its line in the report and at the end of a run. The registry names them."""

from truing.report.change import heldout_kl, heldout_score, judged
from truing.report.run_files import StageFiles
from truing.report.wording import arrow, capitalised, interval, nats, share, whole


def sft_outcome(stage: StageFiles) -> str:
    """The loss on held-out demonstrations, before and after."""
    result = stage.result.sft
    if result.heldout_loss_before is None or result.heldout_loss is None:
        return ""
    return f"Held-out loss {arrow(result.heldout_loss_before, result.heldout_loss)} nats a token."


def pairs_outcome(stage: StageFiles) -> str:
    """How many held-out pairs are ranked as people did, beside what the longer response would have got."""
    card = stage.result.card
    if card.heldout_accuracy is None:
        return ""
    right = f"{share(card.heldout_accuracy)} of {whole(card.heldout_pairs)} {stage.spec.heldout_pairs} right"
    right += f" {interval(card.heldout_accuracy_ci95, share)}" if card.heldout_accuracy_ci95 else ""
    return f"{right}; 'longer wins' {share(card.longer_wins_accuracy)}."


def policy_outcome(stage: StageFiles) -> str:
    """What changed on held-out prompts: the score where there is one, every judge, and the price in nats.

    A KL of sampled responses has its interval: as a mean of log-ratios it may come out below 0, which no KL is.
    """
    changes = {"score": heldout_score(stage)} | {name: judged(stage, name) for name in stage.judges()}
    parts = [f"{name} {arrow(change.first, change.last)}" for name, change in changes.items() if change]
    guard = stage.result.guard
    kl, kept = heldout_kl(stage), guard.guard_kept_step if guard.guard_labels else None
    parts += [] if kl is None else [f"KL {nats(kl.last)} {interval(kl.last_ci95, nats)}".strip() + " nats"]
    parts += [] if kept is None else [f"the guard keeps update {whole(kept)}"]
    return capitalised("; ".join(parts)) + "." if parts else ""


def preference_policy_outcome(stage: StageFiles) -> str:
    """Both: of a policy that is a reward model too."""
    return f"{pairs_outcome(stage)} {policy_outcome(stage)}".strip()
