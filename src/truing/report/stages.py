"""What there is to say of each stage of a run."""

from dataclasses import dataclass

from truing.report.charts import Chart, stage_charts
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


def policies(run: RunFiles) -> list[StageFiles]:
    """The stages that made a policy and have measured anything."""
    return [stage for stage in run.stages if stage.spec.makes_policy and (stage.metrics or stage.done)]


def learnt_from(stage: StageFiles) -> str:
    """'630 preference pairs', or nothing where that is not known."""
    key, what = stage.spec.learns_from
    count = getattr(stage.result, key, None)
    return f"{whole(count)} {what}" if count else ""


def sections(run: RunFiles) -> list[Section]:
    """The stages that have facts or charts of their own."""
    all_stages = [
        Section(stage.name, capitalised(stage.spec.title), facts(stage.result), stage_charts(stage))
        for stage in run.stages
    ]
    return [section for section in all_stages if section.facts or section.charts]
