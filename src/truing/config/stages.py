"""The registry of stages: all that the rest of truing knows of an algorithm, as plain data.

To add an algorithm: its settings in `algorithms`, an entry here, its file in `truing/stages` and its page in
`docs/algorithms`. See CONTRIBUTING.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal

from truing.core import metrics
from truing.core.metrics import Metric

EVERY_STAGE = (
    "seed",
    "world",
    "roles",
    "lora.rank",
    "lora.alpha",
    "lora.targets",
    "base",
    "compute.dtype",
    "data.max_length",
    "data.too_long",
    "data.transcripts",
    "data.tools",
    "data.date",
)
"""What the result of every stage depends on"""
EVERY_POLICY = ("lora.layers", "data", "rollout", "rewards", "evaluation", "functions", "llm_judges")
"""What the result of a stage that makes a policy and has it answer prompts depends on too"""


@dataclass(frozen=True)
class StageSpec:
    """One kind of stage."""

    name: str
    """Of the stage, of its directory and of its section in the recipe"""
    title: str
    """For people"""
    train: str
    """`module:function` that takes a `Job`, trains and returns the final metrics"""
    outcome: str
    """`module:function` that says in a sentence what came of a stage, from its files"""
    learns_from: tuple[str, str]
    """The metric in result.json that counts what it learnt from, and what that is"""
    metrics: tuple[Metric, ...]
    """All that it measures"""
    datasets: tuple[str, ...]
    """The rows in `data` that it learns from by default: see `datasets_of`"""
    depends_on: tuple[str, ...]
    """The sections and fields of the recipe that its result depends on"""
    makes: Literal["language model", "reward model", "policy"]
    """A policy is scored by `rewards` and evaluated on held-out prompts"""
    rates: Literal["supervised", "online", "preferences"] = "supervised"
    """The table that its learning rate by default is from, by the size of the base: `defaults.RATES`"""
    repeats: bool = True
    """Whether few rows are learnt in several passes where the recipe leaves that to be chosen"""
    starts_from: str | None = None
    """The stage whose model it begins with, where the recipe has that stage; else with the base"""
    scored_by: str | None = None
    """The stage whose reward model it uses, where the recipe has that stage"""
    samples: bool = True
    """Whether a model answers prompts in it"""
    read_besides: int = 1
    """How often a text that a policy learns from is read beside learning: once by the reference, where it has one"""
    heldout_pairs: str = "held-out pairs"
    """What a reward of its own, or that of the reward model which it makes, is measured on"""
    must_be_scored: bool = False
    """Whether it learns from `rewards`; others are scored by them where there is a reward stage"""

    @property
    def makes_policy(self) -> bool:
        return self.makes == "policy"

    @property
    def texts_per_row(self) -> int:
        """Responses of a row that it learns from: both of a pair, where it compares them."""
        return 2 if "preferences" in self.datasets else 1

    @property
    def has_reference(self) -> bool:
        """Whether a policy is held to the model that it began as; one that is not needs no such model in memory."""
        return self.makes_policy and self.read_besides > 0

    def datasets_of(self, recipe: Any) -> tuple[str, ...]:
        """The same `datasets`, or those that its section of a recipe names instead."""
        own: str | None = getattr(getattr(recipe, self.name), "data", None)
        return self.datasets if own is None else (own,)

    @property
    def builds_on(self) -> tuple[str, ...]:
        """The stages whose results it uses, where the recipe has them."""
        return tuple(name for name in (self.starts_from, self.scored_by) if name is not None)

    def load(self, reference: str) -> Callable[..., Any]:
        """What `train` or `outcome` names."""
        module, _, function = reference.partition(":")
        loaded: Callable[..., Any] = getattr(import_module(module), function)
        return loaded


def _online(name: str, title: str, measured: tuple[Metric, ...]) -> StageSpec:
    """A stage that learns from its own responses and their scores."""
    return StageSpec(
        name=name,
        title=title,
        train=f"truing.stages.{name}:train_{name}",
        outcome="truing.report.outcomes:policy_outcome",
        learns_from=("episodes", "responses of its own"),
        metrics=measured,
        datasets=(),
        depends_on=(*EVERY_STAGE, *EVERY_POLICY, "guard", name),
        makes="policy",
        starts_from="sft",
        scored_by="reward",
        rates="online",
        must_be_scored=True,
    )


def _on_preferences(name: str, title: str, measured: tuple[Metric, ...]) -> StageSpec:
    """A policy that learns from preferences, held to a reference."""
    return StageSpec(
        name=name,
        title=title,
        train=f"truing.stages.{name}:train_{name}",
        outcome="truing.report.outcomes:preference_policy_outcome",
        learns_from=("train_pairs", "preference pairs"),
        metrics=measured,
        datasets=("preferences",),
        depends_on=(*EVERY_STAGE, *EVERY_POLICY, name),
        makes="policy",
        rates="preferences",
        repeats=False,
        starts_from="sft",
        scored_by="reward",
    )


_SPECS = (
    StageSpec(
        name="sft",
        title="supervised fine-tuning",
        train="truing.stages.sft:train_sft",
        outcome="truing.report.outcomes:sft_outcome",
        learns_from=("train_rows", "demonstrations"),
        metrics=metrics.SFT,
        datasets=("demonstrations",),
        depends_on=(*EVERY_STAGE, "sft", "data.heldout", "data.demonstrations", "data.heldout_demonstrations"),
        makes="language model",
        samples=False,
    ),
    StageSpec(
        name="reward",
        title="reward model",
        train="truing.stages.reward:train_reward",
        outcome="truing.report.outcomes:pairs_outcome",
        learns_from=("train_pairs", "preference pairs"),
        metrics=metrics.REWARD,
        datasets=("preferences",),
        depends_on=(
            *EVERY_STAGE,
            "reward",
            "data",
            "rollout.max_new_tokens",
            "rollout.temperature",
            "rewards.normalisation_samples",
            "evaluation.prompts",
        ),
        makes="reward model",
        starts_from="sft",
    ),
    _online("ppo", "PPO", metrics.PPO),
    _on_preferences("dpo", "direct preference optimisation", metrics.DPO),
    _online("grpo", "GRPO", metrics.GRPO),
    _online("rloo", "RLOO", metrics.CRITIC_FREE),
    _online("reinforce", "REINFORCE++", metrics.CRITIC_FREE),
    replace(
        _on_preferences("kto", "Kahneman-Tversky optimisation", metrics.KTO),
        learns_from=("train_rows", "ratings"),
        datasets=("ratings",),
        heldout_pairs="pairs of held-out ratings",
        read_besides=3,
    ),
    replace(_on_preferences("simpo", "simple preference optimisation", metrics.SIMPO), read_besides=0),
    replace(
        _on_preferences("orpo", "odds ratio preference optimisation", metrics.ORPO), rates="supervised", read_besides=0
    ),
)
STAGES = {spec.name: spec for spec in _SPECS}
"""By name, in the order in which a run has them"""
DEFAULT_STAGES = ["sft", "reward", "ppo"]
"""Of a recipe that names none"""


def within(key: str, sections: tuple[str, ...]) -> bool:
    """Whether a dotted key is one of these sections or fields, or lies in one."""
    return any(key == section or key.startswith(f"{section}.") for section in sections)
