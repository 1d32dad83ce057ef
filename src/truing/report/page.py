"""The page: what is on disk of a run becomes one self-contained HTML file."""

from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from truing.report.charts import ppo_charts, reward_card_charts, reward_training_charts, sft_charts
from truing.report.exchanges import exchanges
from truing.report.figures import DASHES, SERIES
from truing.report.glossary import GLOSSARY
from truing.report.run_files import RunFiles, StageFiles, figure, read_run, table
from truing.report.tables import comparison, label, reward_facts, stage_rows
from truing.report.verdict import verdict
from truing.report.wording import capitalised, listed, visible, whole
from truing.runs.directory import RunDirectory
from truing.runs.files import write_text


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


def _shown(value: Any) -> Any:
    """Every piece of text that reaches the page passes here, before it is escaped."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else visible(value)


def _content(run: RunFiles) -> dict[str, Any]:
    sft, reward, ppo = (run.of_kind(kind) for kind in ("sft", "reward", "ppo"))
    labels = [label(stage) for stage in ppo]
    return {
        "run": run,
        "done": all(stage.done for stage in run.stages),
        "finished": max((stage.record.finished or "" for stage in run.stages), default=""),
        "summary": _summary(run),
        "verdicts": list(zip(labels, map(verdict, ppo), strict=True)),
        "stages": stage_rows(run),
        "sft": [(stage, sft_charts(stage)) for stage in sft],
        "reward": [
            (stage, reward_facts(stage), reward_card_charts(stage), reward_training_charts(stage)) for stage in reward
        ],
        "labels": labels,
        "dashes": [_dash_array(series) for series in range(len(ppo))],
        "ppo": ppo_charts(ppo),
        "comparison": comparison(ppo),
        "exchanges": exchanges(ppo, labels),
        "facts": run.lineage.facts,
        "inputs": yaml.safe_dump(dict(table(dict(run.lineage.facts), "inputs")), sort_keys=False, allow_unicode=True),
        "glossary": GLOSSARY.values(),
    }


def _summary(run: RunFiles) -> str:
    """What was trained, from what, in a sentence."""
    base = table(run.recipe, "base").get("path")
    origin = f"the model {base}" if base else "the embedded world of product reviews" if run.recipe.get("world") else ""
    parts = [part for stage in run.stages if (part := _part(stage))]
    if not parts:
        return "No stages were planned."
    return f"{capitalised(listed(parts))}{f', from {origin}' if origin else ''}."


def _part(stage: StageFiles) -> str:
    rows, pairs = figure(stage.result, "train_rows"), figure(stage.result, "train_pairs")
    match stage.record.kind:
        case "sft":
            return "supervised fine-tuning" + (f" on {whole(rows)} demonstrations" if rows else "")
        case "reward":
            return "a reward model" + (f" from {whole(pairs)} preference pairs" if pairs else "")
        case _:
            return f"{stage.record.kind.upper()} ({label(stage)})"


def _dash_array(series: int) -> str:
    return " ".join(f"{2 * length:g}" for length in DASHES[series % SERIES]) or "none"
