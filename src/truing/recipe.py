"""The typed recipe: every option of truing, one line each, documented where it stands.

`load` in `truing.recipe_files` reads one from YAML; this module says what may be in it.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Beyond these a number is a slip, and what is computed from it may leave float32 or the memory.
SMALLEST, LARGEST, MOST = 1e-12, 1e9, 10**9

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(ge=SMALLEST, le=LARGEST)]
Count = Annotated[int, Field(ge=1, le=MOST)]
NonNegative = Annotated[float, Field(ge=0.0, le=LARGEST)]
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
StageName = Literal["sft", "reward", "ppo", "dpo"]


class Section(BaseModel):
    """A part of a recipe: no key beyond those listed, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Base(Section):
    """The model to begin with."""

    path: str = Field(description="Directory or Hub id of a causal language model.")
    gguf_file: str | None = Field(None, description="File name of a GGUF model inside `path`.")
    trust_remote_code: bool = Field(False, description="Run Python that the model brings along. Off unless you say so.")
    quantize: Literal["none", "nf4"] = Field(
        "none", description="nf4: hold the frozen base in 4 bit and train adapters on it (QLoRA, with bitsandbytes)."
    )


class World(Section):
    """The embedded world of product reviews, used when a recipe names no base and no data."""

    demonstrations: Count = Field(6000, description="Reviews to imitate.")
    preferences: Count = Field(700, description="Pairs of reviews with a noisy judgement.")
    prompts: Count = Field(1000, description="Openings for PPO to answer.")


class Source(Section):
    """Where rows come from."""

    path: str = Field(description="A .jsonl, .json, .csv or .parquet file, a data set directory, or a Hub id.")
    subset: str | None = Field(None, description="Configuration name of a Hub data set.")
    split: str = Field("train", description="Split of a Hub data set or data set directory.")


class Data(Section):
    """The rows to learn from."""

    demonstrations: Source | None = Field(None, description="prompt and completion, or messages.")
    preferences: Source | None = Field(None, description="prompt (or shared beginning), chosen, rejected, margin.")
    prompts: Source | None = Field(None, description="Prompts for PPO; else those of the demonstrations or pairs.")
    heldout_demonstrations: Source | None = Field(None, description="Instead of a split of `demonstrations`.")
    heldout_preferences: Source | None = Field(None, description="Instead of a split of `preferences`.")
    heldout: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.1, description="Share of the rows held out, chosen by prompt so that no prompt is on both sides."
    )
    max_length: Count = Field(512, description="Longest prompt and completion together, in tokens.")
    too_long: Literal["error", "drop", "cut_prompt", "cut_completion"] = Field(
        "error", description="What happens to a longer row; counted in the log. cut_prompt keeps the prompt's end."
    )
    transcripts: bool = Field(
        False, description="Read '\\n\\nHuman: ... \\n\\nAssistant: ...' text as chat messages for the chat template."
    )


class Lora(Section):
    """Low-rank adapters (PEFT)."""

    rank: Annotated[int, Field(ge=1, le=4096)] = Field(16, description="Rank of the update.")
    alpha: Positive = Field(32.0, description="Scale of the update is alpha / rank.")
    targets: str | list[str] = Field("all-linear", description="Names of the linear layers to adapt.")
    layers: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="Share of the layers, from the top, that policy and critic adapt; what is below runs once."
    )


class Optimiser(Section):
    """AdamW with a learning rate that warms up, then falls to zero."""

    learning_rate: Positive = Field(description="Peak learning rate.")
    warmup: Fraction = Field(0.05, description="Share of the steps in which the learning rate rises from 0.")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="How it falls after the warm-up.")
    weight_decay: NonNegative = Field(0.0, description="Decoupled weight decay.")
    adam_eps: Positive = Field(1e-8, description="Adam's epsilon.")
    max_grad_norm: Positive = Field(1.0, description="Gradient norm above which the gradient is scaled down.")


class Sft(Section):
    """Supervised fine-tuning."""

    method: Literal["full", "lora"] = Field("lora", description="Train all weights, or an adapter that is then merged.")
    epochs: Count = Field(1, description="Passes over the demonstrations.")
    batch_size: Count = Field(32, description="Demonstrations an optimiser step.")
    optimiser: Optimiser = Field(default_factory=lambda: Optimiser(learning_rate=2e-4), description="How it learns.")
    log_every: Count = Field(10, description="Steps between two looks at the held-out loss.")


class Reward(Section):
    """The reward model, learnt from preferences."""

    epochs: Count = Field(1, description="Passes over the pairs; more than one overfits.")
    batch_size: Count = Field(32, description="Pairs an optimiser step.")
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = Field(0.0, description="Share of labels taken as wrong.")
    use_margin: bool = Field(False, description="Ask for a score difference of at least the row's margin.")
    normalisation_samples: Annotated[int, Field(ge=2, le=MOST)] = Field(
        256, description="SFT samples on which the mean and scale of the score are measured."
    )
    optimiser: Optimiser = Field(default_factory=lambda: Optimiser(learning_rate=2e-4), description="How it learns.")


class Kl(Section):
    """The penalty that holds the policy to the reference."""

    beta: NonNegative = Field(0.05, description="Price of one nat, in units of the (normalised) score.")
    controller: Literal["fixed", "adaptive"] = Field("fixed", description="Whether beta follows a target.")
    target: Positive = Field(6.0, description="Adaptive: wanted KL, nats per sequence.")
    horizon: Positive = Field(10_000.0, description="Adaptive: episodes over which beta adapts.")


class MissingEos(Section):
    """What becomes of the score of a response that did not close with eos."""

    policy: Literal["keep", "subtract", "replace"] = Field("subtract", description="Keep it, lower it, or replace it.")
    value: Number = Field(1.0, description="What is subtracted from the score, or what replaces it.")


class RewardSource(Section):
    """One part of the reward."""

    kind: Literal["stage", "model", "function"] = Field(
        description="stage: the reward stage's model; model: a sequence-classification directory; function: Python."
    )
    path: str | None = Field(None, description="model: its directory or Hub id. function: module:function.")
    weight: Number = Field(1.0, description="Its weight in the sum.")
    normalise: bool = Field(True, description="Shift and scale to mean 0 and deviation 1 on samples of the SFT model.")

    @model_validator(mode="after")
    def _path_where_needed(self) -> Self:
        if (self.path is None) != (self.kind == "stage"):
            raise ValueError("kinds model and function need a path; kind stage has none")
        return self


class Ppo(Section):
    """Proximal policy optimisation."""

    updates: Count = Field(100, description="Rounds of sampling and learning.")
    episodes: Count = Field(64, description="Responses an update.")
    epochs: Count = Field(4, description="Passes over the responses of an update.")
    minibatches: Count = Field(1, description="Optimiser steps a pass.")
    max_new_tokens: Count = Field(64, description="Longest response.")
    temperature: Positive = Field(1.0, description="Divides the logits everywhere: sampling, scoring and learning.")
    rewards: list[RewardSource] = Field(
        default_factory=lambda: [RewardSource(kind="stage")], min_length=1, description="What is summed to the score."
    )
    missing_eos: MissingEos = Field(default_factory=MissingEos, description="Score of a response without eos.")
    kl: Kl = Field(default_factory=Kl, description="The penalty.")
    gamma: Fraction = Field(1.0, description="Discount a token.")
    gae_lambda: Fraction = Field(0.95, description="Decay of the advantage estimator.")
    clip_range: Positive = Field(0.2, description="How far the probability ratio may move.")
    value_clip_range: Positive = Field(0.2, description="How far a value may move in one update.")
    value_coefficient: Positive = Field(0.1, description="Weight of the value loss in the joint gradient.")
    whiten_rewards: bool = Field(False, description="Divide per-token rewards by their deviation, keeping the mean.")
    optimiser: Optimiser = Field(
        default_factory=lambda: Optimiser(learning_rate=1e-4, adam_eps=1e-5, schedule="linear"),
        description="How the policy learns.",
    )
    critic_learning_rate: Positive | None = Field(None, description="The critic's; without it, the policy's.")
    heldout_prompts: Count = Field(64, description="Prompts never trained on, answered and scored as it goes.")
    heldout_every: Count = Field(10, description="Updates between two such looks.")
    variants: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="More runs of this stage, name to overrides: {no-kl: {kl.beta: 0.0}} runs ppo-no-kl.",
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


class Dpo(Section):
    """Direct preference optimisation: from the preferences to a policy, without a reward model."""

    epochs: Count = Field(1, description="Passes over the pairs.")
    batch_size: Count = Field(32, description="Pairs an optimiser step.")
    beta: Positive = Field(0.1, description="Price of one nat of KL that the loss assumes; lower moves further.")
    variant: Literal["sigmoid", "robust", "ipo"] = Field("sigmoid", description="Which loss; ipo averages over tokens.")
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = Field(
        0.0, description="Share of labels taken as wrong; sigmoid: conservative DPO."
    )
    heldout_every: Count = Field(10, description="Steps between two looks at held-out pairs and prompts.")
    optimiser: Optimiser = Field(default_factory=lambda: Optimiser(learning_rate=5e-5), description="How it learns.")

    @model_validator(mode="after")
    def _ipo_has_no_smoothing(self) -> Self:
        if self.variant == "ipo" and self.label_smoothing:
            raise ValueError("the variant ipo has no label_smoothing; set it to 0")
        return self


class Compute(Section):
    """Where and how much at once. None of these changes a result beyond rounding."""

    device: str = Field("auto", description="auto, cpu, cuda or mps.")
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="Of the frozen weights and activations.")
    threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="CPU threads; without it, one a core."
    )
    learn_tokens: Count = Field(2048, description="Tokens in one forward and backward.")
    score_tokens: Count = Field(2048, description="Tokens in one forward without gradients.")
    gradient_checkpointing: bool = Field(
        False, description="Compute each layer's activations again in the backward: less memory, for one more forward."
    )
    rollout_rows: Count = Field(64, description="Responses sampled side by side.")
    pack_weights: bool = Field(
        True,
        description="Lay weights out anew while sampling on a CPU: faster decoding, their memory twice meanwhile.",
    )


class Functions(Section):
    """Limits of Python functions as rewards and judges, each in a process of its own."""

    seconds: Positive = Field(60.0, description="Longest time for a batch of responses.")
    start_seconds: Positive = Field(120.0, description="Longest time to import one.")
    memory_gb: Positive | None = Field(8.0, description="Memory that one may allocate, in GiB; null for no limit.")
    batch_size: Count = Field(256, description="Most responses handed over at once.")


class Checkpoints(Section):
    """When a stage saves itself on the way. None of these changes a result."""

    every_minutes: Positive = Field(5.0, description="Minutes between two checkpoints, saved when a step is done.")
    every_steps: Count | None = Field(None, description="Steps between two checkpoints, instead of minutes.")
    keep_last: Count = Field(2, description="How many are kept while a stage runs; none once it is done.")


class Recipe(Section):
    """Everything a run depends on."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Names the default run directory.")
    seed: Annotated[int, Field(ge=0)] = Field(17, description="Of every random draw.")
    stages: list[StageName] = Field(["sft", "reward", "ppo"], min_length=1, description="In this order.")
    base: Base | None = Field(None, description="The model to begin with; none with `world`.")
    world: World | None = Field(None, description="The embedded world, instead of base and data.")
    data: Data = Field(default_factory=Data, description="The rows to learn from.")
    roles: Literal["shared", "separate"] = Field(
        "shared", description="shared: adapters and heads on one frozen base. separate: a full model for each."
    )
    lora: Lora = Field(default_factory=Lora, description="The adapters of shared roles and of sft.method lora.")
    sft: Sft = Field(default_factory=Sft, description="Supervised fine-tuning.")
    reward: Reward = Field(default_factory=Reward, description="The reward model.")
    ppo: Ppo = Field(default_factory=Ppo, description="Proximal policy optimisation.")
    dpo: Dpo = Field(default_factory=Dpo, description="Direct preference optimisation.")
    judges: dict[str, str] = Field(
        default_factory=dict, description="name: module:function. Scores that training never sees, for the report."
    )
    functions: Functions = Field(default_factory=Functions, description="Limits of rewards and judges in Python.")
    on_bad_score: Literal["stop", "drop"] = Field(
        "stop",
        description="A reward or judge gives a response no finite number: end the run, or leave it out and count it.",
    )
    compute: Compute = Field(default_factory=Compute, description="Where and how much at once.")
    checkpoints: Checkpoints = Field(default_factory=Checkpoints, description="When a stage saves itself on the way.")
    track: list[Literal["tensorboard", "wandb", "trackio", "mlflow"]] = Field(
        default_factory=list, description="Where metrics go besides metrics.jsonl."
    )
