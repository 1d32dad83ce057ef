"""The page: what is on disk of a run becomes one self-contained HTML file."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from truing.config.stages import STAGES
from truing.config.yaml_text import write_yaml
from truing.core.metrics import GLOSSARY
from truing.core.text import visible
from truing.report.charts import behaviour_charts, outcome_charts
from truing.report.comparison import comparison, label
from truing.report.exchanges import exchanges
from truing.report.portable import portable
from truing.report.run_files import RunFiles, StageFiles, read_run
from truing.report.stages import learnt_from, policies, sections
from truing.report.svg import DASHES, SERIES
from truing.report.verdict import verdicts
from truing.report.wording import capitalised, duration, listed, moment
from truing.runs.directory import RunDirectory
from truing.runs.files import write_text

MARKS = {"pass": ("good", "✓"), "warn": ("odd", "!"), "fail": ("bad", "✗"), "not measured": ("open", "–")}
"""The class and the mark of a check, by its verdict"""


def write_report(run: Path) -> Path:
    """Reads the files of a run directory, finished or not, and writes its report.html. Returns that path.

    Raises:
        RunError: the directory holds no run, a file of it is damaged, or the report cannot be written.
    """
    path = RunDirectory(run).report
    write_text(path, render(read_run(run)))
    return path


def render(run: RunFiles) -> str:
    """The page as text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html").render(_content(run))


def _threads(run: RunFiles) -> Any:
    """With how many its stages were computed; of an older run, what the process had."""
    numbers = dict.fromkeys(stage.record.threads for stage in run.stages if stage.record.threads)
    return ", ".join(map(str, numbers)) or run.lineage.facts.get("threads", "")


def _shown(value: Any) -> Any:
    """Every piece of text that reaches the page passes here, before it is escaped."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else visible(value)


def _content(run: RunFiles) -> dict[str, Any]:
    trained = policies(run)
    labels = [label(stage) for stage in trained]
    facts = run.lineage.facts
    kinds = {stage.record.kind for stage in run.stages}
    return {
        "name": run.title,
        "done": all(stage.done for stage in run.stages),
        "finished": moment(max((stage.record.finished or "" for stage in run.stages), default="")),
        "summary": _summary(run),
        "labels": labels,
        "dashes": [_dash_array(series) for series in range(len(trained))],
        "verdicts": verdicts(run),
        "outcome": outcome_charts(trained),
        "stages": run.stages,
        "duration": duration,
        "absent": [spec.name for spec in STAGES.values() if not spec.makes_policy and spec.name not in kinds],
        "sections": sections(run),
        "comparison": comparison(trained),
        "behaviour": behaviour_charts(trained),
        "exchanges": exchanges(trained, labels),
        "facts": {"seed": facts.get("seed", ""), "threads": _threads(run)} | facts["versions"],
        "inputs": write_yaml(portable(facts["inputs"], run.root)),
        "recipe": write_yaml(portable(run.recipe, run.root)),
        "marks": MARKS,
        "glossary": GLOSSARY,
    }


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


def _dash_array(series: int) -> str:
    return " ".join(f"{2 * length:g}" for length in DASHES[series % SERIES]) or "none"
