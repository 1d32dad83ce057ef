"""Every figure that the report shows, defined in one line."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A metric's name for people, its unit, and what it means."""

    title: str
    unit: str
    definition: str

    @property
    def heading(self) -> str:
        return f"{self.title}, {self.unit}" if self.unit else self.title


GLOSSARY = {
    "loss": Term(
        "Loss",
        "nats a token",
        "Mean of −log probability of the completion's tokens; the prompt does not count.",
    ),
    "perplexity": Term("Perplexity", "", "e to the loss: among how many tokens the model hesitates, on average."),
    "pair_loss": Term(
        "Pair loss",
        "nats a pair",
        "Bradley-Terry: −log σ(score of chosen − score of rejected); 0.69 is chance.",
    ),
    "dpo_loss": Term(
        "DPO loss",
        "",
        "Of the recipe's variant; sigmoid: −log σ of the reward margin in nats, which begins at 0.69.",
    ),
    "pair_accuracy": Term(
        "Accuracy",
        "% of pairs",
        "Share of pairs whose preferred side scores higher; ties count half.",
    ),
    "ci95": Term(
        "95% interval",
        "",
        "In square brackets: Wilson's for shares, mean ± 1.96 standard errors for means, over held-out rows.",
    ),
    "longer_wins": Term(
        "Longer wins",
        "% of pairs",
        "The accuracy of always preferring the longer response: what a reward model must beat.",
    ),
    "ece": Term(
        "Calibration error",
        "%",
        "Expected calibration error: mean distance between how sure the model was and how often it was right.",
    ),
    "reward_length_correlation": Term(
        "Score-length correlation",
        "−1 to 1",
        "Pearson's, over held-out responses; near ±1, the score is mostly a measure of length.",
    ),
    "score_scale": Term(
        "Score mean and deviation",
        "raw",
        "Of the reward model on samples of the SFT model; scores are shifted and scaled by them to mean 0 and "
        "deviation 1.",
    ),
    "score_gap_mean": Term("Score gap", "raw", "Mean score of chosen minus mean score of rejected, on held-out pairs."),
    "margin": Term(
        "Reward margin",
        "β × nats",
        "Mean of DPO's own reward, β × log(π / π_ref), of chosen minus that of rejected.",
    ),
    "updates": Term("Updates", "", "PPO: rounds of sampling and learning from the samples. DPO: optimiser steps."),
    "beta": Term("β", "score a nat", "The price of KL in the reward: how firmly the policy is held to the reference."),
    "score": Term(
        "Score",
        "SFT deviations",
        "Mean reward of whole responses, before the KL penalty, in deviations of the SFT model's score.",
    ),
    "judge": Term(
        "Judge",
        "",
        "A measure of quality that training never sees; if the score rises and a judge does not, doubt the score.",
    ),
    "kl": Term(
        "KL to the reference",
        "nats a sequence",
        "How far the policy has moved from the model it began as: mean log π − log π_ref, summed over a response.",
    ),
    "kl_exact": Term(
        "Exact KL",
        "nats a sequence",
        "The same on an update's own samples, computed over the whole vocabulary at each token: less noise.",
    ),
    "entropy": Term(
        "Entropy",
        "nats a token",
        "How undecided the policy is about its next token; near 0 it says the same thing every time.",
    ),
    "length": Term("Length", "tokens", "Mean number of tokens of a response."),
    "eos_rate": Term(
        "Ended by itself",
        "% of responses",
        "Share of responses that closed with the end-of-text token instead of being cut off.",
    ),
    "distinct_2": Term(
        "Distinct pairs",
        "share of pairs",
        "Share of distinct among all pairs of neighbouring tokens; falls when responses repeat themselves or "
        "each other.",
    ),
    "clip_fraction": Term(
        "Clip fraction",
        "% of tokens",
        "Share of tokens whose probability ratio left the clip range, so that they stopped pushing the policy.",
    ),
    "approx_kl": Term(
        "Step size",
        "nats a token",
        "approx_kl: ½·mean (Δ log probability)², the updated policy against the one that sampled.",
    ),
    "explained_variance": Term(
        "Explained variance",
        "share of variance",
        "How much of the returns' variance the critic predicts: 1 is all, 0 or less is no help.",
    ),
    "value_loss": Term("Value loss", "score²", "Half the squared error of the critic's value, clipped, a token."),
    "grad_norm": Term("Gradient norm", "", "Length of the gradient before it is clipped."),
    "ratio_max_deviation": Term(
        "Ratio check",
        "",
        "Largest |ratio − 1| on the first minibatch of any update; above rounding, sampler and learner disagree.",
    ),
}
