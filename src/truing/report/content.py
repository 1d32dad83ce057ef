"""All that a report tells of a run: the page and report.json are both written from it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from markupsafe import Markup

from truing.config.stages import STAGES
from truing.core.metrics import GLOSSARY, Metric
from truing.report.card_charts import Chart
from truing.report.charts import behaviour_charts, outcome_charts
from truing.report.comparison import OTHER_PROMPTS, Line, asked_alike, comparison, label
from truing.report.exchanges import Samples, samples
from truing.report.labels import Labels, labels_of
from truing.report.portable import portable
from truing.report.run_files import RunFiles, StageFiles
from truing.report.stages import Section, learnt_from, policies, sections
from truing.report.verdict import Verdict, verdicts
from truing.report.wording import capitalised, duration, listed, moment


@dataclass(frozen=True)
class StageLine:
    """A stage in the table of all stages."""

    name: str
    state: str
    seconds: float | None
    outcome: str
    notes: list[str]

    @property
    def time(self) -> str:
        """In words."""
        return duration(self.seconds)


@dataclass(frozen=True)
class Content:
    """What is told, from top to bottom."""

    name: str
    done: bool
    finished: str
    """When the last stage was"""
    summary: str
    """What was asked"""
    policies: list[str]
    """Each with its β: that of series 0, 1 and so on in drawings and responses"""
    verdicts: list[Verdict]
    """One a policy; without any, one that says so"""
    outcome: list[Chart]
    stages: list[StageLine]
    absent: list[str]
    """Kinds of stages that the run has not"""
    labels: list[Labels]
    """The judgements of people that the run learns from, a part for each of its data files that they made"""
    sections: list[Section]
    comparison: list[Line]
    comparison_note: str
    """What its columns do not say beside each other; empty where they can be compared"""
    behaviour: dict[str, list[Chart]]
    samples: Samples
    facts: dict[str, Any]
    inputs: dict[str, Any]
    """Data and base model with their hashes"""
    recipe: dict[str, Any]
    glossary: Sequence[Metric]


def content(run: RunFiles) -> Content:
    """From the files of a run, finished or not."""
    trained = policies(run)
    labels = [label(stage) for stage in trained]
    facts = run.lineage.facts
    kinds = {stage.record.kind for stage in run.stages}
    return Content(
        name=run.title,
        done=all(stage.done for stage in run.stages),
        finished=moment(max((stage.record.finished or "" for stage in run.stages), default="")),
        summary=_summary(run),
        policies=labels,
        verdicts=verdicts(run),
        outcome=outcome_charts(trained),
        stages=[
            StageLine(stage.name, stage.state, stage.record.seconds, stage.outcome, stage.notes) for stage in run.stages
        ],
        absent=[spec.name for spec in STAGES.values() if not spec.makes_policy and spec.name not in kinds],
        labels=[labels_of(name, quality) for name, quality in run.labels.items()],
        sections=sections(run),
        comparison=comparison(trained),
        comparison_note="" if asked_alike(trained) else OTHER_PROMPTS,
        behaviour=behaviour_charts(trained),
        samples=samples(trained, labels),
        facts={"seed": facts.get("seed", ""), "threads": _threads(run)} | facts["versions"],
        inputs=portable(facts["inputs"], run.root),
        recipe=portable(run.recipe, run.root),
        glossary=GLOSSARY,
    )


def plain(value: Any) -> Any:
    """The same in what JSON has; drawings are left out, the numbers in them stay."""
    if is_dataclass(value):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: plain(each) for name, each in named.items() if not isinstance(each, Markup)}
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def _threads(run: RunFiles) -> Any:
    """With how many its stages were computed; of an older run, what the process had."""
    numbers = dict.fromkeys(stage.record.threads for stage in run.stages if stage.record.threads)
    return ", ".join(map(str, numbers)) or run.lineage.facts.get("threads", "")


def _summary(run: RunFiles) -> str:
    """What was trained, from what, in a sentence or two."""
    if not run.stages:
        return "No stages were planned."
    base = run.recipe.get("base")
    path = base.get("path") if isinstance(base, dict) else None
    origin = f" Base model: {portable(path, run.root)}." if path else ""
    if run.recipe.get("world") is not None:
        origin = " The rows are the embedded world's, whose true reward is known: the judge gold, which only looks on."
    return f"{capitalised(listed([_part(stage) for stage in run.stages]))}.{origin}"


def _part(stage: StageFiles) -> str:
    if stage.spec.makes_policy:
        return f"{stage.spec.title} ({label(stage)})"
    rows = learnt_from(stage)
    return f"{stage.spec.title} from {rows}" if rows else stage.spec.title
