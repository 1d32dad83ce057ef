"""The stages of a run: a line for each, and a section where there is more to tell."""

from dataclasses import dataclass

from truing.report.charts import Chart, stage_charts
from truing.report.facts import Fact, facts
from truing.report.run_files import RunFiles, StageFiles
from truing.report.wording import capitalised, duration, whole

STATES = {"pending": "not begun", "running": "begun, not finished", "done": "done"}


@dataclass(frozen=True)
class StageLine:
    """One line of the table of stages."""

    name: str
    state: str
    seconds: str
    outcome: str
    notes: list[str]


@dataclass(frozen=True)
class Section:
    """What there is to tell of one stage alone."""

    anchor: str
    title: str
    facts: list[Fact]
    charts: list[Chart]


def policies(run: RunFiles) -> list[StageFiles]:
    """The stages that made a policy and have measured anything."""
    return [stage for stage in run.stages if stage.spec.makes_policy and (stage.metrics or stage.done)]


def learnt_from(stage: StageFiles) -> str:
    """'630 preference pairs', or nothing where that is not known."""
    key, what = stage.spec.learns_from
    count = getattr(stage.result, key, None)
    return f"{whole(count)} {what}" if count else ""


def stage_lines(run: RunFiles) -> list[StageLine]:
    """Every stage that was planned, in order."""
    return [
        StageLine(
            stage.name,
            STATES.get(stage.record.state, stage.record.state),
            duration(stage.record.seconds),
            stage.outcome,
            [note for note in (stage.result.truncation, *(stage.result.notes or [])) if note],
        )
        for stage in run.stages
    ]


def sections(run: RunFiles) -> list[Section]:
    """The stages of which there is more to tell than their line does."""
    told = [
        Section(stage.name, capitalised(stage.spec.title), facts(stage.result), stage_charts(stage))
        for stage in run.stages
    ]
    return [section for section in told if section.facts or section.charts]
