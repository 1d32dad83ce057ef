"""What there is to say of each stage of a run."""

from dataclasses import dataclass

from truing.core.results import Check
from truing.report.card_charts import Chart, check_charts
from truing.report.charts import stage_charts
from truing.report.facts import Fact, facts
from truing.report.run_files import RunFiles, StageFiles
from truing.report.wording import capitalised, whole


@dataclass(frozen=True)
class Section:
    """What there is to tell of one stage alone."""

    anchor: str
    title: str
    facts: list[Fact]
    charts: list[Chart]
    checks: list[Check]
    """The report card of a reward model"""
    check_charts: list[Chart]


def policies(run: RunFiles) -> list[StageFiles]:
    """The stages that made a policy and have measured anything."""
    return [stage for stage in run.stages if stage.spec.makes_policy and (stage.metrics or stage.done)]


def scorer_of(stage: StageFiles, run: RunFiles) -> StageFiles | None:
    """The stage whose reward model this one's score is made of, if any."""
    asked = any(source.get("kind") == "stage" for source in stage.rewards)
    return _stage_before(stage, stage.spec.scored_by, run) if asked else None


def start_of(stage: StageFiles, run: RunFiles) -> StageFiles | None:
    """The stage with whose model this one began, if any."""
    return _stage_before(stage, stage.spec.starts_from, run)


def _stage_before(stage: StageFiles, kind: str | None, run: RunFiles) -> StageFiles | None:
    """The stage of a kind that another is built on: that of its variant, else the run's own."""
    variant = stage.name.removeprefix(stage.record.kind)
    by_name = {one.name: one for one in run.stages}
    return by_name.get(f"{kind}{variant}") or by_name.get(kind or "")


def learnt_from(stage: StageFiles) -> str:
    """'630 preference pairs', or nothing where that is not known."""
    key, what = stage.spec.learns_from
    count = getattr(stage.result, key, None)
    return f"{whole(count)} {what}" if count else ""


def sections(run: RunFiles) -> list[Section]:
    """The stages that have facts or charts of their own."""
    all_stages = [
        Section(
            stage.name,
            capitalised(stage.spec.title),
            facts(stage.result, stage.spec.heldout_pairs),
            stage_charts(stage),
            stage.result.checks or [],
            [*check_charts(f"{stage.name}-card", stage.result.checks or [])],
        )
        for stage in run.stages
    ]
    return [section for section in all_stages if section.facts or section.charts]
