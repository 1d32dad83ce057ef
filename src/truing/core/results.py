"""result.json, typed: a stage builds its result, a reader takes any stage's as `StageResult`.

`to_json` and `read` turn one into the other. A part lies flat among the other fields of the file, and a `Change` with
the name of its field before: `heldout_score_first`.
"""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from truing.core.llm_usage import LlmUsage

Number = int | float | None
"""As every field, None where a file that was read does not have it"""
Interval = tuple[float, float]
Direction = Literal["rose", "fell", "level", "unknown"]
CheckVerdict = Literal["pass", "warn", "fail", "not measured"]
AnyResult = TypeVar("AnyResult")


@dataclass(frozen=True)
class Change:
    """A mean over held-out prompts at the first evaluation and at the last, with 95% intervals where they are known.

    `change_ci95` is the interval of the difference, prompt by prompt, and so narrower than the other two suggest.
    """

    first: float
    last: float
    first_ci95: Interval | None = None
    last_ci95: Interval | None = None
    change: Number = None
    change_ci95: Interval | None = None

    @property
    def direction(self) -> Direction:
        """Where it went; `level` if the interval of the difference holds 0, `unknown` without one."""
        if self.change_ci95 is None:
            return "unknown"
        low, high = self.change_ci95
        return "rose" if low > 0 else "fell" if high < 0 else "level"

    @property
    def noise(self) -> float:
        """Half the width of the interval of the difference; 0 without one."""
        low, high = self.change_ci95 or (0.0, 0.0)
        return (high - low) / 2


@dataclass(frozen=True)
class CalibrationPoint:
    """`count` held-out pairs of which a model was about equally sure; `confidence` and `accuracy` are their means."""

    confidence: float
    accuracy: float
    accuracy_ci95: Interval | None
    count: int


@dataclass(frozen=True)
class PairCard:
    """How well a reward model, or the implicit one of a policy, ranks held-out pairs: see `pair_card`."""

    heldout_accuracy: Number
    heldout_accuracy_ci95: Interval | None
    heldout_pairs: Number
    heldout_loss: Number
    longer_wins_accuracy: Number
    longer_wins_ci95: Interval | None
    ece: Number
    calibration: list[CalibrationPoint] | None
    score_gap_mean: Number
    reward_length_correlation: Number


@dataclass(frozen=True)
class Measure:
    """A number: what it is of, its 95% interval and over how many it was taken, where these are known."""

    name: str
    value: float
    ci95: Interval | None = None
    count: int | None = None


@dataclass(frozen=True)
class Check:
    """A question that was put to a reward model, and what came of it: see docs/trust.md."""

    name: str
    title: str
    verdict: CheckVerdict
    finding: str
    """What was measured, or why nothing was, in a sentence"""
    measures: list[Measure]
    why: str
    """Why it matters"""
    advice: str
    """What to do where it does not pass"""


@dataclass(frozen=True)
class HeldoutResult:
    """What changed on held-out prompts between the first evaluation and the last."""

    heldout_prompts: Number
    judges: dict[str, Change] | None
    heldout_dropped: Number
    heldout_kl: Change | None = None
    heldout_score: Change | None = None
    alike: list[str] | None = None
    """Signs that the answers became like each other"""
    parts: dict[str, Change] | None = None
    """Of what each of several sources gives to the score"""
    llm_judges: dict[str, LlmUsage] | None = None
    """Of each that the stage asked"""


@dataclass(frozen=True)
class GuardLook:
    """A look of the guard, and how strong the policy was then, by the judgements of all looks."""

    step: int
    since: int
    """The step from which training went on to this one"""
    judgements: int
    won: float
    """By the newer answer, of these; alike counts half"""
    strength: float
    """Log-odds with which its answers win against those of the beginning"""
    strength_ci95: Interval


@dataclass(frozen=True)
class GuardResult:
    """What judgements of the policy's own answers came to, and what they decided."""

    guard_labels: Number
    guard_looks: Number
    guard_rollbacks: Number
    guard_kept_step: Number
    """That the model is of"""
    guard_story: list[str] | None
    """The decisions, a sentence each"""
    guard_strengths: list[GuardLook] | None = None
    """All looks, as they are seen at the end"""
    guard_judge: str | None = None
    """The kind of who judged; people, for one"""
    guard_votes: Number = None
    """Of people on a page, of whom several may have judged the same two answers"""


@dataclass(frozen=True)
class SftResult:
    """Of supervised fine-tuning."""

    steps: Number
    train_rows: Number
    heldout_rows: Number
    heldout_tokens: Number
    heldout_loss_before: Number
    heldout_loss: Number
    heldout_perplexity: Number
    truncation: str | None
    notes: list[str] | None
    findings: list[str] | None = None


@dataclass(frozen=True)
class RewardResult:
    """Of a reward model."""

    card: PairCard
    steps: Number
    train_pairs: Number
    score_mean: Number
    score_std: Number
    truncation: str | None
    notes: list[str] | None
    findings: list[str] | None = None
    checks: list[Check] | None = None
    """The report card, question by question"""
    member_accuracies: list[float] | None = None
    """Of several reward models; the card is then of the mean of their scores"""
    member_agreement: Number = None
    averaged_accuracy: Number = None


@dataclass(frozen=True)
class OnlineResult:
    """Of a policy that learns from its own responses: `first` and `last` are of the first update and of the last."""

    steps: Number
    episodes: Number
    score_first: Number
    score_last: Number
    kl_last: Number
    kl_exact_last: Number
    entropy_last: Number
    eos_rate_last: Number
    length_first: Number
    length_last: Number
    distinct_2_first: Number
    distinct_2_last: Number
    beta: Number
    ratio_max_deviation: Number
    stopped_by: str | None
    dropped: Number
    heldout: HeldoutResult
    seconds: dict[str, float] | None
    warnings: list[str] | None
    notes: list[str] | None
    findings: list[str] | None = None
    guard: GuardResult | None = None


@dataclass(frozen=True)
class OfflineResult:
    """Of a policy that learns from preferences or ratings: `first` and `last` are of responses to held-out prompts."""

    card: PairCard
    heldout: HeldoutResult
    kl_last: Number
    length_first: Number
    length_last: Number
    eos_rate_last: Number
    warnings: list[str] | None
    steps: Number
    truncation: str | None
    notes: list[str] | None
    findings: list[str] | None = None
    chosen_logprob: Change | None = None
    """Of held-out preferred responses, nats a response"""
    train_pairs: Number = None
    train_rows: Number = None
    """Of ratings"""
    beta: Number = None
    variant: str | None = None


@dataclass(frozen=True)
class StageResult:
    """What a reader asks of any stage's result: what it has not, because it is another stage's or older, is None."""

    sft: SftResult
    card: PairCard
    heldout: HeldoutResult
    guard: GuardResult
    chosen_logprob: Change | None
    train_rows: Number
    train_pairs: Number
    episodes: Number
    score_mean: Number
    score_std: Number
    beta: Number
    seconds: dict[str, float] | None
    warnings: list[str] | None
    findings: list[str] | None
    checks: list[Check] | None
    truncation: str | None
    notes: list[str] | None


def to_json(result: Any) -> dict[str, Any]:
    """A result, or a part of one, as the object in result.json; optional fields that are None are left out."""
    row: dict[str, Any] = {}
    plain = asdict(result)
    for field in fields(result):
        value = getattr(result, field.name)
        if isinstance(value, Change):
            row |= {f"{field.name}_{key}": each for key, each in plain[field.name].items()}
        elif is_dataclass(value):
            row |= to_json(value)
        elif value is not None or field.default is MISSING:
            row[field.name] = plain[field.name]
    return row


def read(kind: type[AnyResult], row: Mapping[str, Any]) -> AnyResult:
    """A result, or a part of one, from an object of result.json; None for what is missing or of another type."""
    return kind(**{name: _field(row, name, hint) for name, hint in get_type_hints(kind).items()})


_validator = cache(TypeAdapter)


def _field(row: Mapping[str, Any], name: str, hint: Any) -> Any:
    if Change in get_args(hint):
        value: Any = {key.removeprefix(f"{name}_"): each for key, each in row.items() if key.startswith(f"{name}_")}
    elif is_dataclass(hint):
        return read(hint, row)  # type: ignore[arg-type]
    else:
        value = row.get(name)
    try:
        return _validator(hint).validate_python(value)
    except ValidationError:
        return None
