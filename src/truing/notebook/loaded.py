"""A run, opened from Python. Only what is asked for is read, and models last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from truing.core.errors import InputError
from truing.notebook.figures import HERE, Figure, Figures
from truing.report.charts import behaviour_charts, outcome_charts, stage_charts
from truing.report.comparison import label
from truing.report.page import fill
from truing.report.run_files import RunFiles, read_run
from truing.report.stages import policies
from truing.report.verdict import verdicts
from truing.runs.directory import RunDirectory
from truing.runs.files import read_json
from truing.runs.finished import speaking_stage

if TYPE_CHECKING:
    import pandas

    from truing.notebook.models import Policy, Reward


def load(run: str | Path, trust_remote_code: bool = False) -> "Run":
    """Opens a run directory, finished or not.

    Args:
        run: the directory.
        trust_remote_code: whether Python code that lies in its results may run: read it before.

    Raises:
        RunError: it is no run.
    """
    opened = Run(Path(run), trust_remote_code)
    _ = opened.files
    return opened


@dataclass(frozen=True)
class Run:
    """A run directory. In a notebook it shows its verdict, its stages and its figures."""

    root: Path
    trust_remote_code: bool = False

    @cached_property
    def files(self) -> RunFiles:
        """What is on disk of it."""
        return read_run(self.root)

    @property
    def stages(self) -> dict[str, str]:
        """How far each stage came: pending, running or done."""
        return {stage.name: stage.record.state for stage in self.files.stages}

    @property
    def results(self) -> dict[str, Any]:
        """The closing figures of each finished stage, as in its result.json."""
        finished = [stage.name for stage in self.files.stages if stage.done]
        return {name: read_json(RunDirectory(self.root).stage(name).result) for name in finished}

    @property
    def chosen(self) -> dict[str, dict[str, Any]]:
        """What was chosen for each stage of what the recipe leaves out, by dotted keys."""
        return {stage.name: stage.record.chosen or {} for stage in self.files.stages}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The metrics of every step, each with its `stage`."""
        return [{"stage": stage.name} | row for stage in self.files.stages for row in stage.metrics]

    @property
    def metrics(self) -> "pandas.DataFrame":
        """The same as a table. InputError where pandas is not installed."""
        return _table(self.rows, "rows")

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The answers to held-out prompts that were logged on the way, each with its `stage`."""
        return [{"stage": stage.name} | row for stage in self.files.stages for row in stage.samples]

    @property
    def samples(self) -> "pandas.DataFrame":
        """The same as a table. InputError where pandas is not installed."""
        return _table(self.answers, "answers")

    @property
    def figures(self) -> Figures:
        """The drawings of its report: of all policies, of how they write and learnt, and of each stage."""
        trained = policies(self.files)
        labels = [label(stage) for stage in trained]
        charts = [*outcome_charts(trained), *(one for group in behaviour_charts(trained).values() for one in group)]
        of_stages = [one for stage in self.files.stages for one in stage_charts(stage)]
        return Figures([*(Figure.of(chart, labels) for chart in charts), *map(Figure.of, of_stages)])

    @cached_property
    def policy(self) -> "Policy":
        """The language model that it made: of a policy's stage where there is one, else of SFT.

        Raises:
            ModelError: it cannot be loaded.
            RunError: none is finished.
        """
        return self.policy_of(speaking_stage(RunDirectory(self.root)))

    def policy_of(self, stage: str) -> "Policy":
        """That of another stage, by name. Errors as `policy`."""
        from truing.notebook.models import load_policy  # imports torch

        run = RunDirectory(self.root)
        return load_policy(run, speaking_stage(run, stage), self.trust_remote_code)

    @cached_property
    def reward(self) -> "Reward":
        """Its first reward model.

        Raises:
            ModelError: it cannot be loaded.
            RunError: none is finished.
        """
        from truing.notebook.models import load_reward  # imports torch

        return load_reward(RunDirectory(self.root))

    def _repr_html_(self) -> str:
        trained = policies(self.files)
        headlines = [verdict.headline for verdict in verdicts(self.files)]
        names = [label(stage) for stage in trained] or [""]
        figures = Figures([Figure.of(chart, names) for chart in outcome_charts(trained)])
        told = {
            "title": self.files.title,
            "verdicts": list(zip(names, headlines, strict=True)),
            "stages": self.files.stages,
            "figures": Markup(figures._repr_html_()),
        }
        return fill(HERE / "run.html", told)


def _table(rows: Sequence[Mapping[str, Any]], plain: str) -> "pandas.DataFrame":
    try:
        import pandas
    except ModuleNotFoundError as error:
        what = "a table is one of pandas, which is not installed."
        hint = f"`pip install pandas`; `.{plain}` has the same as a list of dictionaries."
        raise InputError(what, code="input/no-pandas", hint=hint) from error
    return pandas.DataFrame(rows)
