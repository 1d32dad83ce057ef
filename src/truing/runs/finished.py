"""Which of a run's finished stages is meant, where it may be named and need not be. Imports nothing heavy."""

from collections.abc import Sequence

from truing.config.stages import STAGES
from truing.core.errors import RunError
from truing.runs.directory import RunDirectory

SPEAKING = sorted(
    (spec for spec in STAGES.values() if spec.makes != "reward model"), key=lambda spec: not spec.makes_policy
)
"""The kinds of stages whose result is taken where none is named: the first that is finished, policies before"""


def speaking_stage(run: RunDirectory, stage: str | None = None) -> str:
    """The stage whose language model is meant.

    Raises:
        RunError: `run` is no run, or the stage has finished none.
    """
    kinds = [spec.name for spec in SPEAKING]
    finished = [record.name for record in run.lineage.stages if record.state == "done" and record.kind in kinds]
    stage = stage or next((name for name in kinds if name in finished), kinds[0])
    if stage not in finished:
        raise RunError(
            f"the stage {stage} has no finished policy.",
            code="run/no-such-policy",
            where=str(run.root),
            hint=what_is_finished(finished),
        )
    return stage


def what_is_finished(stages: Sequence[str]) -> str:
    """What may be named instead of a stage that is not finished."""
    if not stages:
        return "None is yet: the command that began the run goes on with it."
    return f"Finished: {', '.join(stages)}. Choose with --stage."


def has_reward_model(run: RunDirectory, stage: str | None) -> bool:
    """Whether this stage has finished one. RunError where `run` is no run."""
    record = run.lineage.record(stage or "")
    spec = STAGES.get(record.kind) if record is not None and record.state == "done" else None
    return spec is not None and spec.makes == "reward model"
