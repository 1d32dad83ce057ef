"""What the report says of each kind of stage. A new kind is one line in KINDS, with its facts and charts."""

from collections.abc import Callable
from dataclasses import dataclass

from truing.report.card import Fact, dpo_facts, no_facts, reward_facts, sft_facts
from truing.report.change import heldout_score, judged, policy_kl
from truing.report.charts import Chart, dpo_charts, reward_charts, sft_charts
from truing.report.run_files import RunFiles, StageFiles, figure, words
from truing.report.wording import arrow, capitalised, duration, nats, share, whole


@dataclass(frozen=True)
class Kind:
    """How a stage is called, what it learns from (`key` of its result, in `unit`), and what is shown of it.

    A `policy` is judged by the verdict, and compared with the others of the run.
    """

    title: str
    key: str
    unit: str
    outcome: Callable[[StageFiles], str]
    facts: Callable[[StageFiles], list[Fact]] = no_facts
    charts: Callable[[StageFiles], list[Chart]] = lambda _: []
    policy: bool = False

    def taught(self, stage: StageFiles) -> str:
        """What it learnt from: '630 preference pairs', or nothing where that is not known."""
        count = figure(stage.result, self.key)
        return f"{whole(count)} {self.unit}" if count else ""


@dataclass(frozen=True)
class StageRow:
    """One line of the table of stages."""

    name: str
    state: str
    seconds: str
    outcome: str
    notes: list[str]


@dataclass(frozen=True)
class Section:
    """What is told of one stage alone."""

    anchor: str
    title: str
    facts: list[Fact]
    charts: list[Chart]


STATES = {"pending": "not begun", "running": "begun, not finished", "done": "done"}


def kind_of(stage: StageFiles) -> Kind:
    """The kind of a stage; one that this version has never heard of is named, and no more."""
    return KINDS.get(stage.record.kind) or Kind(stage.record.kind, "steps", "steps", lambda _: "")


def policies(run: RunFiles) -> list[StageFiles]:
    """The stages that made a policy and have anything to show."""
    return [stage for stage in run.stages if kind_of(stage).policy and (stage.metrics or stage.result)]


def stage_rows(run: RunFiles) -> list[StageRow]:
    """Every stage that was planned, in order."""
    return [
        StageRow(
            stage.name,
            STATES.get(stage.record.state, stage.record.state),
            duration(stage.record.seconds),
            kind_of(stage).outcome(stage),
            _notes(stage),
        )
        for stage in run.stages
    ]


def sections(run: RunFiles) -> list[Section]:
    """The stages of which there is more to tell than the table of stages does."""
    told = [
        Section(stage.name, capitalised(kind.title), kind.facts(stage), kind.charts(stage))
        for stage in run.stages
        for kind in [kind_of(stage)]
    ]
    return [section for section in told if section.facts or section.charts]


def _sft_outcome(stage: StageFiles) -> str:
    before, after = figure(stage.result, "heldout_loss_before"), figure(stage.result, "heldout_loss")
    if before is None or after is None:
        return ""
    return f"Held-out loss {arrow(before, after)} nats a token."


def _pairs_outcome(stage: StageFiles) -> str:
    accuracy, pairs = figure(stage.result, "heldout_accuracy"), figure(stage.result, "heldout_pairs")
    return "" if accuracy is None else f"{share(accuracy)} of {whole(pairs)} held-out pairs right."


def _policy_outcome(stage: StageFiles) -> str:
    changes = {"score": heldout_score(stage)} | {name: judged(stage, name) for name in stage.judges()}
    told = [f"{name} {arrow(change.first, change.last)}" for name, change in changes.items() if change]
    kl = policy_kl(stage)
    told += [] if kl is None else [f"KL {nats(kl)} nats"]
    return capitalised("; ".join(told)) + "." if told else ""


def _dpo_outcome(stage: StageFiles) -> str:
    return f"{_pairs_outcome(stage)} {_policy_outcome(stage)}".strip()


def _notes(stage: StageFiles) -> list[str]:
    truncation = stage.result.get("truncation")
    return [*([truncation] if isinstance(truncation, str) and truncation else []), *words(stage.result, "notes")]


KINDS = {
    "sft": Kind("supervised fine-tuning", "train_rows", "demonstrations", _sft_outcome, sft_facts, sft_charts),
    "reward": Kind("reward model", "train_pairs", "preference pairs", _pairs_outcome, reward_facts, reward_charts),
    "ppo": Kind("PPO", "episodes", "responses of its own", _policy_outcome, policy=True),
    "dpo": Kind(
        "direct preference optimisation",
        "train_pairs",
        "preference pairs",
        _dpo_outcome,
        dpo_facts,
        dpo_charts,
        policy=True,
    ),
}
