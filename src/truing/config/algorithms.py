"""The settings of each algorithm, as its paper has them, and the fields of the recipe that they stand in."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from truing.config.sections import MOST, Count, Fraction, NonNegative, Optimiser, Positive, Section

CHOSEN = "; null to have it chosen by how many rows there are."
SOFT = "Take the row's share of people who preferred `chosen` as the probability that it is better."
ONE_DOUBT = "use_share says of each row what label_smoothing says of all; set one of them"


class Sft(Section):
    """Supervised fine-tuning."""

    data: Literal["demonstrations", "preferences"] = Field(
        "demonstrations", description="Which rows it learns to say; of preferences the chosen side."
    )
    method: Literal["full", "lora"] = Field("lora", description="Train all weights, or an adapter that is then merged.")
    epochs: Count | None = Field(None, description=f"Passes over the demonstrations{CHOSEN}")
    batch_size: Count | None = Field(None, description=f"Demonstrations an optimiser step{CHOSEN}")
    optimiser: Optimiser = Field(default_factory=lambda: Optimiser(learning_rate=None), description="How it learns.")
    log_every: Count = Field(10, description="Steps between two looks at the held-out loss.")


class Reward(Section):
    """The reward model, learnt from preferences."""

    epochs: Count | None = Field(None, description=f"Passes over the pairs; many overfit{CHOSEN}")
    batch_size: Count | None = Field(None, description=f"Pairs an optimiser step{CHOSEN}")
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = Field(0.0, description="Share of labels taken as wrong.")
    log_every: Count = Field(10, description="Steps between two looks at the held-out pairs.")
    members: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="Reward models that learn beside each other, each on its own bootstrap sample of the prompts."
    )
    use_margin: bool = Field(False, description="Ask for a score difference of at least the row's margin.")
    use_share: bool = Field(False, description=SOFT)
    optimiser: Optimiser = Field(default_factory=lambda: Optimiser(learning_rate=None), description="How it learns.")

    @model_validator(mode="after")
    def _one_doubt(self) -> Self:
        if self.use_share and self.label_smoothing:
            raise ValueError(ONE_DOUBT)
        return self


class Kl(Section):
    """The penalty that holds the policy to the reference."""

    beta: NonNegative = Field(0.05, description="Price of one nat, in units of the (normalised) score.")
    controller: Literal["fixed", "adaptive"] = Field("fixed", description="Whether beta follows a target.")
    target: Positive = Field(6.0, description="Adaptive: wanted KL, nats per sequence.")
    horizon: Positive = Field(10_000.0, description="Adaptive: episodes over which beta adapts.")


class OnOwnResponses(Section):
    """What all algorithms have in common that learn from a policy's own responses."""

    updates: Count = Field(100, description="Rounds of sampling and learning.")
    episodes: Count = Field(64, description="Responses an update.")
    responses_per_prompt: Count = Field(1, description="Responses to each prompt of an update; they form a group.")
    epochs: Count = Field(4, description="Passes over the responses of an update.")
    minibatches: Count = Field(1, description="Optimiser steps a pass.")
    kl: Kl = Field(default_factory=Kl, description="The penalty.")
    clip_range: Positive = Field(0.2, description="How far the probability ratio may move.")
    optimiser: Optimiser = Field(
        default_factory=lambda: Optimiser(learning_rate=None, adam_eps=1e-5, schedule="linear"),
        description="How the policy learns.",
    )

    @model_validator(mode="after")
    def _whole_minibatches(self) -> Self:
        if self.episodes % self.minibatches:
            raise ValueError(f"episodes ({self.episodes}) must be a multiple of minibatches ({self.minibatches})")
        return self

    @model_validator(mode="after")
    def _beta_stays_positive(self) -> Self:
        if self.kl.controller == "adaptive" and self.kl.horizon < self.episodes:
            raise ValueError(f"kl.horizon ({self.kl.horizon:g}) must be at least the episodes ({self.episodes})")
        return self


class Ppo(OnOwnResponses):
    """Proximal policy optimisation."""

    gamma: Fraction = Field(1.0, description="Discount a token.")
    gae_lambda: Fraction = Field(0.95, description="Decay of the advantage estimator.")
    value_clip_range: Positive = Field(0.2, description="How far a value may move in one update.")
    value_coefficient: Positive = Field(0.1, description="Weight of the value loss in the joint gradient.")
    whiten_rewards: bool = Field(False, description="Divide per-token rewards by their deviation, keeping the mean.")
    critic_learning_rate: Positive | None = Field(None, description="The critic's; without it, the policy's.")


class Dpo(Section):
    """Direct preference optimisation: from the preferences to a policy, without a reward model."""

    epochs: Count | None = Field(None, description=f"Passes over the pairs{CHOSEN}")
    batch_size: Count | None = Field(None, description=f"Pairs an optimiser step{CHOSEN}")
    beta: Positive = Field(0.1, description="Price of one nat of KL that the loss assumes; lower moves further.")
    variant: Literal["sigmoid", "robust", "ipo"] = Field("sigmoid", description="Which loss; ipo averages over tokens.")
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = Field(
        0.0, description="Share of labels taken as wrong; sigmoid: conservative DPO."
    )
    length_normalised: bool = Field(
        False, description="Log-probabilities are means over a response's tokens, not sums; ipo's always are."
    )
    use_share: bool = Field(False, description=SOFT)
    sft_weight: NonNegative = Field(0.0, description="Weight of the SFT loss on the chosen side, added to DPO's.")
    optimiser: Optimiser = Field(default_factory=lambda: Optimiser(learning_rate=None), description="How it learns.")

    @model_validator(mode="after")
    def _ipo_has_no_smoothing(self) -> Self:
        if self.variant == "ipo" and self.label_smoothing:
            raise ValueError("the variant ipo has no label_smoothing; set it to 0")
        return self

    @model_validator(mode="after")
    def _one_doubt(self) -> Self:
        if self.use_share and self.label_smoothing:
            raise ValueError(ONE_DOUBT)
        if self.use_share and self.variant != "sigmoid":
            raise ValueError(f"the variant {self.variant} has no use_share; the variant sigmoid has")
        return self


Group = Annotated[int, Field(ge=2, le=MOST)]
"""Responses to a prompt of which each is compared with the others"""


class Grpo(OnOwnResponses):
    """Group relative policy optimisation: the other responses to a prompt in place of a critic."""

    responses_per_prompt: Group = Field(8, description="Responses to each prompt of an update, compared in a group.")
    advantage: Literal["normalised", "centred"] = Field(
        "normalised", description="Less the group's mean, in deviations of the group; centred (Dr. GRPO): not divided."
    )
    average: Literal["responses", "tokens", "constant"] = Field(
        "responses",
        description="Mean over responses of their means (GRPO), over all tokens (DAPO), or of sums over max_new_tokens "
        "(Dr. GRPO).",
    )
    ratio: Literal["token", "response"] = Field(
        "token", description="Whose probability ratio is clipped; response: the geometric mean over it (GSPO)."
    )
    clip_range_high: Positive | None = Field(
        None, description="How far the ratio may rise (DAPO: 0.28); without it, as far as clip_range lets it fall."
    )
    penalty: Literal["k1_in_reward", "k3_in_loss", "corrected_k3_in_loss"] = Field(
        "k1_in_reward",
        description="Of KL: in the reward, with the KL's gradient, or in the loss, as published or times the ratio.",
    )
    drop_even_groups: bool = Field(
        False, description="Leave out prompts whose responses all score alike (DAPO), so that the rest counts more."
    )


class Rloo(OnOwnResponses):
    """REINFORCE leave-one-out: a response is one action, its baseline the mean of the others to its prompt."""

    responses_per_prompt: Group = Field(4, description="Responses to each prompt of an update, compared in a group.")


class Reinforce(OnOwnResponses):
    """REINFORCE++: PPO without a critic, advantages normalised over the whole update."""


class Kto(Section):
    """Kahneman-Tversky optimisation: from ratings of single responses to a policy."""

    epochs: Count | None = Field(None, description=f"Passes over the ratings{CHOSEN}")
    batch_size: Count | None = Field(None, description=f"Ratings an optimiser step{CHOSEN}")
    beta: Positive = Field(0.1, description="How soon a reward saturates away from the reference point; per nat.")
    desirable_weight: Positive = Field(1.0, description="Weight of a response that is wanted.")
    undesirable_weight: Positive = Field(1.0, description="Weight of a response that is not wanted.")
    optimiser: Optimiser = Field(default_factory=lambda: Optimiser(learning_rate=None), description="How it learns.")


class Simpo(Section):
    """Simple preference optimisation: from the preferences to a policy, without a reference."""

    epochs: Count | None = Field(None, description=f"Passes over the pairs{CHOSEN}")
    batch_size: Count | None = Field(None, description=f"Pairs an optimiser step{CHOSEN}")
    beta: Positive = Field(2.0, description="Scale of the reward, the mean log-probability of a response's tokens.")
    gamma: NonNegative = Field(1.0, description="Margin of reward by which the chosen side is to win.")
    optimiser: Optimiser = Field(default_factory=lambda: Optimiser(learning_rate=None), description="How it learns.")


class Orpo(Section):
    """Odds ratio preference optimisation: SFT on the chosen side and a preference for it, without a reference."""

    epochs: Count | None = Field(None, description=f"Passes over the pairs{CHOSEN}")
    batch_size: Count | None = Field(None, description=f"Pairs an optimiser step{CHOSEN}")
    weight: NonNegative = Field(0.1, description="Weight of the odds ratio beside the SFT loss; 0 is SFT alone.")
    optimiser: Optimiser = Field(default_factory=lambda: Optimiser(learning_rate=None), description="How it learns.")


class Algorithms(Section):
    """One field a stage, named as the stage."""

    sft: Sft = Field(default_factory=Sft, description="Supervised fine-tuning.")
    reward: Reward = Field(default_factory=Reward, description="The reward model.")
    ppo: Ppo = Field(default_factory=Ppo, description="Proximal policy optimisation.")
    dpo: Dpo = Field(default_factory=Dpo, description="Direct preference optimisation.")
    grpo: Grpo = Field(default_factory=Grpo, description="Group relative policy optimisation.")
    rloo: Rloo = Field(default_factory=Rloo, description="REINFORCE leave-one-out.")
    reinforce: Reinforce = Field(default_factory=Reinforce, description="REINFORCE++.")
    kto: Kto = Field(default_factory=Kto, description="Kahneman-Tversky optimisation.")
    simpo: Simpo = Field(default_factory=Simpo, description="Simple preference optimisation.")
    orpo: Orpo = Field(default_factory=Orpo, description="Odds ratio preference optimisation.")
