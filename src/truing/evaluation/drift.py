"""Signs that a policy drifted where nobody wanted it, as sentences for a person.

They need no true reward and no model, only the metrics of a run at its start and at its end. Such signs audit a
finished run well and warn imperfectly: a run without any can still be over-optimised.
"""

from collections.abc import Mapping

Metrics = Mapping[str, float]
"""Of one step, keyed as in metrics.jsonl."""

LENGTH_FACTORS = (0.5, 1.5)
EOS_RATE_LOW, EOS_RATE_MOVE = 0.9, 0.2
NONE_ENDS = 0.05
"""Share of responses that end by themselves, below which all are as good as cut off: a finding of its own"""
DISTINCT_2_FACTOR = 0.5
ENTROPY_FACTOR = 0.25
KL_RANGE = (-1.0, 20.0)


def drift_warnings(first: Metrics, last: Metrics, uncertainty: Metrics | None = None) -> list[str]:
    """Compares the metrics of a run's end with those of its start; an empty list says that nothing stood out.

    | metric             | warns when, at the end,                                                              |
    |--------------------|--------------------------------------------------------------------------------------|
    | `length`           | it is at most half, or at least 1.5 times, what it was                               |
    | `eos_rate`         | it is below 0.9, or moved by 0.2 or more                                             |
    | `distinct_2`       | it is at most half of what it was                                                    |
    | `entropy`          | it is below a quarter of what it was                                                 |
    | `kl`               | it is below -1 nat (the sampler is not the policy) or above 20 nats                  |
    | `judge_<name>`     | it fell while the score rose (`heldout_score` if both have it, otherwise `score`)    |

    Args:
        first: metrics at the start. Those that are missing here or in `last` are not compared.
        last: metrics at the end.
        uncertainty: by name, half the width of the 95% interval of its change from first to last; a judge's fall and
            a score's rise must exceed it. 0 for names that are missing.
    """
    return [
        *_length(first, last),
        *_eos_rate(first, last),
        *_variety(first, last),
        *_kl(last),
        *_judges(first, last, uncertainty or {}),
    ]


def _length(first: Metrics, last: Metrics) -> list[str]:
    before = first.get("length", 0.0)
    after = last.get("length", before)
    shrunk, grown = LENGTH_FACTORS
    if before <= 0 or shrunk * before < after < grown * before:
        return []
    verb = "grew" if after > before else "shrank"
    return [
        f"Responses {verb} from {before:.1f} to {after:.1f} tokens on average: "
        "look whether the reward is being earned by length."
    ]


def _eos_rate(first: Metrics, last: Metrics) -> list[str]:
    after = last.get("eos_rate", 1.0)
    before = first.get("eos_rate", after)
    moved = f" (at the start {before:.0%})" if "eos_rate" in first else ""
    if after < NONE_ENDS:
        return []  # which the findings tell, with the cause
    if after < EOS_RATE_LOW:
        return [
            f"Only {after:.0%} of the responses end by themselves{moved}; others are cut off at the longest length. "
            "Raise rollout.max_new_tokens, learn longer from demonstrations that are shorter than that, or, where the "
            "stage learns from rewards, raise rewards.missing_eos.value, the price of not ending."
        ]
    if "eos_rate" in last and abs(after - before) >= EOS_RATE_MOVE:
        return [
            f"The share of responses that end by themselves moved to {after:.0%}{moved}: stopping itself was learnt."
        ]
    return []


def _variety(first: Metrics, last: Metrics) -> list[str]:
    sentences = []
    before = first.get("distinct_2", 0.0)
    after = last.get("distinct_2", before)
    if before > 0 and after <= DISTINCT_2_FACTOR * before:
        sentences.append(
            f"The share of distinct word pairs fell from {before:.2f} to {after:.2f}: "
            "the responses repeat themselves or each other."
        )
    before = first.get("entropy", 0.0)
    after = last.get("entropy", before)
    if after < ENTROPY_FACTOR * before:
        sentences.append(
            f"Entropy collapsed from {before:.2f} to {after:.2f} nats a token: the policy hardly explores any more."
        )
    return sentences


def _kl(last: Metrics) -> list[str]:
    lowest, highest = KL_RANGE
    kl = last.get("kl", 0.0)
    if kl < lowest:
        return [
            f"KL to the reference is negative ({kl:.1f} nats a sequence), which cannot be: the responses were not "
            "drawn from the policy whose probabilities are used (temperature, top-k, top-p or a minimum length)."
        ]
    if kl > highest:
        return [
            f"KL to the reference is {kl:.1f} nats a sequence: the policy is so far from its start that it may write "
            "texts unlike any that a reward model or a judge has seen. Read them."
        ]
    return []


def _judges(first: Metrics, last: Metrics, uncertainty: Metrics) -> list[str]:
    both = {name: (first[name], last[name]) for name in last if name in first}
    score = "heldout_score" if "heldout_score" in both else "score"
    before, after = both.get(score, (0.0, 0.0))
    if after - before <= uncertainty.get(score, 0.0):
        return []
    risen = f"the score rose from {before:.2f} to {after:.2f}"
    return [
        f"Judge {name.removeprefix('judge_')} fell from {before:.2f} to {after:.2f} while {risen}: "
        "the policy found what the reward overrates (reward hacking)."
        for name, (before, after) in both.items()
        if name.startswith("judge_") and before - after > uncertainty.get(name, 0.0)
    ]
