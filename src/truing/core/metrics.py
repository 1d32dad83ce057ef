"""Every metric: its name in the files of a stage, its name for people, its unit and its definition.

`loss` is another metric in each kind of stage, so each kind has a table of its own, which the registry of stages names.
The learner, the report and the tables of docs/algorithms read them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Reduction = Literal["mean", "max"]
Bounds = tuple[float | None, float | None]

SHARE: Bounds = (0.0, 1.0)
NONNEGATIVE: Bounds = (0.0, None)


@dataclass(frozen=True)
class Metric:
    """One number that is measured."""

    name: str
    """In metrics.jsonl and result.json"""
    title: str
    """For people"""
    unit: str
    """For people: % is a share of 1 in the files, and empty a plain number"""
    definition: str
    reduce: Reduction = "mean"
    """How the values of micro-batches make that of their batch"""
    bounds: Bounds = (None, None)
    """Where its axis ends in a drawing, if not with the values"""
    zero: bool = False
    """Whether its axis shows 0: half as high then means half as much"""

    @property
    def heading(self) -> str:
        return f"{self.title}, {self.unit}" if self.unit else self.title

    @property
    def percent(self) -> bool:
        return self.unit.startswith("%")


def reduction(name: str) -> Reduction:
    """How the values of micro-batches make that of their batch: the mean where no table has the name."""
    return _REDUCTIONS.get(name, "mean")


def score_as_given(metric: Metric, normalised: Iterable[bool]) -> Metric:
    """The score, or what is on its scale, by whether each source of the rewards is normalised: raw where none is."""
    return metric if any(normalised) else replace(metric, unit="raw")


def heldout(metric: Metric) -> Metric:
    """The same on rows, pairs or prompts that are not learnt from."""
    return replace(metric, name=f"heldout_{metric.name}")


# fmt: off
LOSS = Metric("loss", "Loss", "nats a token",
    "Mean of −log probability of the completion's tokens; the prompt does not count.")
PERPLEXITY = Metric("heldout_perplexity", "Perplexity", "",
    "e to the loss: among how many tokens the model hesitates, on average.")
PAIR_LOSS = Metric("loss", "Pair loss", "nats a pair",
    "Bradley-Terry: −log σ(score of chosen − score of rejected); 0.69 is chance.", bounds=NONNEGATIVE)
DPO_LOSS = Metric("loss", "DPO loss", "",
    "Of the recipe's variant; sigmoid: −log σ of the reward margin in nats, which begins at 0.69.")
KTO_LOSS = Metric("loss", "KTO loss", "",
    "Mean of 1 − σ(distance of the reward from the reference point, to the side that the label asks for); begins at "
    "0.5, where both labels weigh 1.", bounds=NONNEGATIVE)
SIMPO_LOSS = Metric("loss", "SimPO loss", "",
    "−log σ of the reward margin less γ; the reward is β × the mean log-probability of a response's tokens.",
    bounds=NONNEGATIVE)
ORPO_LOSS = Metric("loss", "ORPO loss", "nats a token",
    "The SFT loss on the chosen side, plus the weight times −log σ of the log odds ratio of both sides.",
    bounds=NONNEGATIVE)
ACCURACY = Metric("heldout_accuracy", "Accuracy", "% of pairs",
    "Share of pairs whose preferred side scores higher; ties count half.", bounds=SHARE)
CI95 = Metric("ci95", "95% interval", "",
    "In square brackets: Wilson's for shares, mean ± 1.96 standard errors for means, over held-out rows.")
LONGER_WINS = Metric("longer_wins_accuracy", "Longer wins", "% of pairs",
    "The accuracy of always preferring the longer response: what a reward model must beat.")
ECE = Metric("ece", "Calibration error", "%",
    "Expected calibration error: mean distance between how sure the model was and how often it was right.")
LENGTH_CORRELATION = Metric("reward_length_correlation", "Score-length correlation", "−1 to 1",
    "Pearson's, over held-out responses; near ±1, the score is mostly a measure of length.")
SCORE_SCALE = Metric("score_mean", "Score mean and deviation", "raw",
    "Of the reward model on samples of the SFT model; scores are shifted and scaled by them to mean 0 and deviation 1.")
SCORE_GAP = Metric("score_gap_mean", "Score gap", "raw",
    "Mean score of held-out preferred responses minus that of the others in their pairs.")
MARGIN = Metric("margin", "Reward margin", "β × nats",
    "Mean of DPO's own reward, β × log(π / π_ref), of chosen minus that of rejected.")
OWN_MARGIN = replace(MARGIN, title="Margin of own reward", unit="",
    definition="Mean of the policy's own reward, which comes of what it alone says, of chosen minus that of rejected.")
RATED_MARGIN = replace(MARGIN, title="Margin of ratings",
    definition="Mean distance of β × log(π / π_ref) from β × the reference point, to the side that the label asks for.")
CHOSEN_LOGPROB = Metric("chosen_logprob", "Log-probability of chosen", "nats a response",
    "Mean of log π of whole responses that were preferred, or are wanted; if it falls, they are said less often.")
UPDATES = Metric("steps", "Updates", "",
    "Of a policy that learns from its own responses: rounds of sampling and learning. Else optimiser steps.")
BETA = Metric("beta", "β", "score a nat",
    "The price of KL in the reward: how firmly the policy is held to the reference.", bounds=NONNEGATIVE)
ANY_BETA = replace(BETA, unit="",
    definition="PPO, GRPO, RLOO and REINFORCE++: the price of KL in the reward, score a nat. DPO: the price that its "
    "loss assumes. KTO: how soon a reward saturates, per nat. SimPO: the scale of its own reward. Not one scale.")
SCORE = Metric("score", "Score", "SFT deviations",
    "Mean reward of whole responses, before the KL penalty, in deviations of the SFT model's score; as it is where "
    "no source is normalised, so the share of right answers where the reward is 1 for those and 0 for others.")
JUDGE = Metric("judge_NAME", "Judge", "",
    "A measure of quality that training never sees; if the score rises and a judge does not, doubt the score.",
    zero=True)
PART = Metric("part_NAME", "Part of the score", "SFT deviations",
    "Of a sum of several rewards, what one of them gives: its own score, normalised, times its weight.")
UPDATE_PART = Metric("update_part_NAME", "Part of an update's score", "SFT deviations",
    "Of a sum of several rewards, what one of them gives to the update's own responses: normalised, times its weight.")
MEMBER_SPREAD = Metric("member_spread", "Spread of the members", "SFT deviations",
    "Standard deviation over the members of the reward model of a response's score, each on its own scale; the mean "
    "over responses.", bounds=NONNEGATIVE)
MEMBER_ACCURACIES = Metric("member_accuracies", "Accuracy of members", "% of pairs",
    "Each member's accuracy on the held-out pairs.", bounds=SHARE)
MEMBER_AGREEMENT = Metric("member_agreement", "Agreement of members", "% of pairs",
    "Share of held-out pairs of which all members prefer the same side.", bounds=SHARE)
AVERAGED_ACCURACY = Metric("averaged_accuracy", "Accuracy of averaged weights", "% of pairs",
    "Of the model that has the mean of the members' weights, which is the one in model/.", bounds=SHARE)
KL = Metric("kl", "KL to the reference", "nats a sequence",
    "How far the policy has moved from the model it began as: mean log π − log π_ref, summed over a response.")
KL_EXACT = Metric("kl_exact", "Exact KL", "nats a sequence",
    "The same on an update's own samples, computed over the whole vocabulary at each token: less noise.")
ENTROPY = Metric("entropy", "Entropy", "nats a token",
    "How undecided the policy is about its next token; near 0 it says the same thing every time.", bounds=NONNEGATIVE)
LENGTH = Metric("length", "Length", "tokens", "Mean number of tokens of a response.", bounds=NONNEGATIVE)
EOS_RATE = Metric("eos_rate", "EOS rate", "% of responses",
    "Share of responses that ended by themselves, with a token that ends a turn or a text, and were not cut off.",
    bounds=SHARE)
DISTINCT_2 = Metric("distinct_2", "Distinct pairs", "share of pairs",
    "Share of distinct among all pairs of neighbouring tokens; falls when responses repeat themselves or each other.",
    bounds=SHARE)
DISTINCT_WORDS = Metric("heldout_distinct_words", "Distinct words", "words",
    "Different words over all held-out answers; falls when a policy says the same to everybody.", bounds=NONNEGATIVE)
SHARED_PHRASES = Metric("heldout_shared_phrases", "Shared phrases", "% of phrases",
    "Share of an answer's pairs of neighbouring words that another held-out answer, drawn at random, has too.",
    bounds=SHARE)
CLIP_FRACTION = Metric("clip_fraction", "Clip fraction", "% of tokens",
    "Share of tokens whose probability ratio left the clip range, so that they stopped pushing the policy.",
    bounds=SHARE)
APPROX_KL = Metric("approx_kl", "approx KL", "nats a token",
    "½·mean (Δ log probability)², the updated policy against the one that sampled.", bounds=NONNEGATIVE)
EXPLAINED_VARIANCE = Metric("explained_variance", "Explained variance", "share of variance",
    "How much of the returns' variance the critic predicts: 1 is all, 0 or less is no help.", bounds=(-1.0, 1.0))
VALUE_LOSS = Metric("value_loss", "Value loss", "score²",
    "Half the squared error of the critic's value, clipped, a token.", bounds=NONNEGATIVE)
GRAD_NORM = Metric("grad_norm", "Gradient norm", "", "Length of the gradient before it is clipped.", bounds=NONNEGATIVE)
RATIO_MAX_DEVIATION = Metric("ratio_max_deviation", "Ratio check", "",
    "Largest |ratio − 1| on the first minibatch of any update; above rounding, sampler and learner disagree.",
    reduce="max")
GLOSSARY = (
    LOSS, PERPLEXITY, PAIR_LOSS, DPO_LOSS, KTO_LOSS, SIMPO_LOSS, ORPO_LOSS, ACCURACY, CI95, LONGER_WINS, ECE,
    LENGTH_CORRELATION, SCORE_SCALE, SCORE_GAP, MARGIN, OWN_MARGIN, RATED_MARGIN, CHOSEN_LOGPROB, UPDATES, ANY_BETA,
    SCORE, JUDGE, KL, KL_EXACT, ENTROPY, LENGTH, EOS_RATE, DISTINCT_2, DISTINCT_WORDS, SHARED_PHRASES, CLIP_FRACTION,
    APPROX_KL, EXPLAINED_VARIANCE, VALUE_LOSS, GRAD_NORM, RATIO_MAX_DEVIATION,
)
"""What the report shows, in the order in which it explains it"""

ENGINE = (
    Metric("engine_mismatch", "Engine mismatch", "nats a token",
        "Mean distance of log π by learner and server, with the weights that drew, over the update's tokens.",
        bounds=NONNEGATIVE),
    Metric("engine_ratio_mean", "Mean engine ratio", "",
        "Mean of π_old/π_engine over the update's tokens, before the cap; 1 but for noise where the two agree."),
    Metric("engine_ratio_max", "Largest engine ratio", "",
        "The largest π_old/π_engine of the update's tokens, before the cap."),
    Metric("engine_ratio_capped", "Capped engine ratios", "% of tokens",
        "Share of tokens whose ratio is above rollout.vllm.ratio_cap.", bounds=SHARE),
    Metric("sync_mismatch", "Sync mismatch", "nats a token",
        "Mean distance of log π by learner and server on the probe, right after the server took over the weights.",
        bounds=NONNEGATIVE),
    Metric("sync_s", "Sync", "s", "Time in which the server took over the weights and proved it; part of the rollout."),
    Metric("staleness", "Staleness", "updates",
        "How many updates the weights that drew the responses are older than those that learn from them."),
    Metric("staleness_shift", "Shift since the draw", "nats a token",
        "Mean distance of log π_old and log π by the weights that drew, both by the learner, over the update's tokens.",
        bounds=NONNEGATIVE),
)
"""Measured where a server samples, and the first four where the local engine does in bfloat16"""

_LEARNING_RATE = Metric("learning_rate", "Learning rate", "", "Of the step.")
_PAIRS = (
    Metric("accuracy", "Accuracy", "% of pairs", "Share of the batch's pairs whose preferred side scores higher."),
    ACCURACY, heldout(PAIR_LOSS), LONGER_WINS, ECE, SCORE_GAP, LENGTH_CORRELATION,
)
_RESPONSES = (
    heldout(SCORE), heldout(MEMBER_SPREAD), heldout(KL), heldout(LENGTH), heldout(EOS_RATE), DISTINCT_WORDS,
    SHARED_PHRASES, PART, JUDGE,
)

SFT = (
    LOSS, heldout(LOSS), PERPLEXITY, Metric("tokens", "Tokens", "tokens", "In the completions of the batch."),
    GRAD_NORM, _LEARNING_RATE,
)
REWARD = (
    PAIR_LOSS, *_PAIRS, SCORE_SCALE, replace(SCORE_SCALE, name="score_std"),
    MEMBER_ACCURACIES, MEMBER_AGREEMENT, AVERAGED_ACCURACY,
    Metric("checks", "Report card", "",
        "Sixteen questions, each with a verdict, what was measured and what to do: docs/trust.md."),
    GRAD_NORM, _LEARNING_RATE,
)
DPO = (
    DPO_LOSS, *_PAIRS, MARGIN,
    Metric("chosen_reward", "Reward of chosen", "β × nats", "Mean of β × log(π / π_ref) of the chosen side."),
    Metric("rejected_reward", "Reward of rejected", "β × nats", "The same of the rejected side; both may well fall."),
    CHOSEN_LOGPROB, heldout(CHOSEN_LOGPROB), *_RESPONSES, GRAD_NORM, _LEARNING_RATE,
)
KTO = (
    KTO_LOSS,
    Metric("accuracy", "Accuracy", "% of ratings",
        "Share of the batch's rewards that are on the right side of the reference point."),
    *_PAIRS[1:], RATED_MARGIN,
    Metric("reference_point", "Reference point", "nats",
        "Estimate of KL(π‖π_ref) from responses to other prompts, not below 0; the batch's, before its step.",
        bounds=NONNEGATIVE),
    heldout(CHOSEN_LOGPROB), *_RESPONSES, GRAD_NORM, _LEARNING_RATE,
)
_OWN_REWARD = (
    *_PAIRS, OWN_MARGIN,
    Metric("chosen_reward", "Reward of chosen", "", "Mean of the policy's own reward of the chosen side."),
    Metric("rejected_reward", "Reward of rejected", "", "The same of the rejected side."),
    CHOSEN_LOGPROB, heldout(CHOSEN_LOGPROB), *_RESPONSES, GRAD_NORM, _LEARNING_RATE,
)
SIMPO = (SIMPO_LOSS, *_OWN_REWARD)
ORPO = (ORPO_LOSS, *_OWN_REWARD)
EVEN_GROUPS = Metric("even_groups", "Even groups", "% of responses",
    "Share of responses whose group scored alike, each as all others to its prompt: nothing is learnt from them.",
    bounds=SHARE)
_UPDATE = (
    Metric("episodes", "Episodes", "responses", "Sampled so far."),
    SCORE,
    Metric("score_std", "Score deviation", "SFT deviations", "Standard deviation of the score over the update."),
    Metric("objective", "Objective", "SFT deviations",
        "What is maximised: the mean of the score, after the rule for a missing eos, less β × KL."),
    UPDATE_PART, MEMBER_SPREAD, KL, KL_EXACT, BETA, ENTROPY, LENGTH, EOS_RATE, DISTINCT_2, EVEN_GROUPS,
    Metric("policy_loss", "Policy loss", "", "Mean of the clipped objective, negated."),
)
_STEPS = (
    GRAD_NORM,
    Metric("learning_rate", "Learning rate", "", "The policy's, at the update's first step."),
    Metric("dropped", "Dropped", "responses", "Of this update, left out for want of a finite score."),
    Metric("rollout_s", "Rollout", "s", "Time in which responses were sampled, or their server was waited for."),
    Metric("score_s", "Scoring", "s", "Time in which they were scored."),
    Metric("learn_s", "Learning", "s", "Time in which the policy, and a critic where there is one, learnt from them."),
    *ENGINE,
    *_RESPONSES,
)
PPO = (
    *_UPDATE, VALUE_LOSS, CLIP_FRACTION, APPROX_KL, RATIO_MAX_DEVIATION,
    Metric("value_clip_fraction", "Value clip fraction", "% of tokens", "Share of tokens whose clipped value counts."),
    EXPLAINED_VARIANCE, *_STEPS,
)
CRITIC_FREE = (*_UPDATE, CLIP_FRACTION, APPROX_KL, RATIO_MAX_DEVIATION, *_STEPS)
GRPO = (
    *_UPDATE, CLIP_FRACTION, APPROX_KL, RATIO_MAX_DEVIATION,
    Metric("kl_loss", "KL in the loss", "nats a token",
        "Where the penalty is in the loss: its estimate, over the average that the loss has.", bounds=NONNEGATIVE),
    *_STEPS,
)
# fmt: on

_REDUCTIONS = {
    metric.name: metric.reduce for table in (SFT, REWARD, DPO, PPO, KTO, SIMPO, ORPO, GRPO) for metric in table
}
