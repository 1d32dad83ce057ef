"""The sections of a recipe that serve every algorithm, one line an option, documented where it stands."""

from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# Beyond these a number is a slip, and what is computed from it may leave float32 or the memory.
SMALLEST, LARGEST, MOST = 1e-12, 1e9, 10**9

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(ge=SMALLEST, le=LARGEST)]
Count = Annotated[int, Field(ge=1, le=MOST)]
NonNegative = Annotated[float, Field(ge=0.0, le=LARGEST)]
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]


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
    prompts: Count = Field(1000, description="Openings for policies to answer.")


class Source(Section):
    """Where rows come from."""

    path: str = Field(description="A .jsonl, .json, .csv or .parquet file, a data set directory, or a Hub id.")
    subset: str | None = Field(None, description="Configuration name of a Hub data set.")
    split: str = Field("train", description="Split of a Hub data set or data set directory.")


class Data(Section):
    """The rows to learn from."""

    demonstrations: Source | None = Field(None, description="prompt and completion, or messages.")
    preferences: Source | None = Field(
        None, description="prompt (or shared beginning), chosen, rejected, margin, share, source."
    )
    ratings: Source | None = Field(None, description="prompt and completion, or messages; label: true or false.")
    prompts: Source | None = Field(None, description="Prompts to answer; else those of rows that are learnt from.")
    heldout_demonstrations: Source | None = Field(None, description="Instead of a split of `demonstrations`.")
    heldout_preferences: Source | None = Field(None, description="Instead of a split of `preferences`.")
    heldout_ratings: Source | None = Field(None, description="Instead of a split of `ratings`.")
    heldout: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.1, description="Share of the rows held out, chosen by prompt so that no prompt is on both sides."
    )
    max_length: Count = Field(512, description="Longest prompt and completion together, in tokens.")
    too_long: Literal["error", "drop", "cut_prompt", "cut_completion"] = Field(
        "error", description="What happens to a longer row; counted in the log. cut_prompt keeps the prompt's end."
    )
    date: str = Field(
        "2026-01-01", description="What a chat template is told that asks for the date, so that runs are alike."
    )
    tools: list[dict[str, Any]] = Field(
        default_factory=list, description="Schemas of tools, as JSON has them, that the chat template shows a model."
    )
    transcripts: bool = Field(
        False, description="Read '\\n\\nHuman: ... \\n\\nAssistant: ...' text as chat messages for the chat template."
    )

    @model_validator(mode="after")
    def _date_of_the_calendar(self) -> Self:
        date.fromisoformat(self.date)  # raises ValueError, which names what is wrong
        return self

    @property
    def sources(self) -> dict[str, Source]:
        """The rows that are named, by field."""
        return {name: value for name, value in self if isinstance(value, Source)}


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

    learning_rate: Positive | None = Field(
        description="Peak learning rate; null to have it chosen by the size of the base and what of it is trained."
    )
    warmup: Fraction = Field(0.05, description="Share of the steps in which the learning rate rises from 0.")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="How it falls after the warm-up.")
    weight_decay: NonNegative = Field(0.0, description="Decoupled weight decay.")
    adam_eps: Positive = Field(1e-8, description="Adam's epsilon.")
    max_grad_norm: Positive = Field(1.0, description="Gradient norm above which the gradient is scaled down.")


class Vllm(Section):
    """A vLLM server that answers the prompts of an update, in an environment of its own. See docs/engines.md."""

    url: str = Field(
        "http://localhost:8000", pattern=r"^https?://[^/\s]+$", description="Scheme, host and port of the server."
    )
    seconds: Positive = Field(600.0, description="Longest time to wait for one answer.")
    largest_mismatch: Positive = Field(
        0.05,
        description="Mean |Δ log probability| between server and learner, nats a token, beyond which the run ends.",
    )
    old_logprobs: Literal["learner", "engine"] = Field(
        "learner", description="Whose log π_old ratios start from; with learner, each token is weighed besides."
    )
    ratio_cap: Annotated[float, Field(ge=1.0, le=LARGEST)] = Field(
        2.0,
        description="With old_logprobs learner, a token's weight is π_old/π_engine, and at most this; so too where the "
        "local engine samples in bfloat16.",
    )


class RolloutConfig(Section):
    """How responses are sampled, by whichever stage asks for them."""

    engine: Literal["local", "vllm"] = Field(
        "local", description="What answers the prompts of an update: this process, or a vLLM server."
    )
    vllm: Vllm = Field(default_factory=Vllm, description="The server of engine vllm.")
    max_staleness: Annotated[int, Field(ge=0, le=MOST)] = Field(
        0, description="Updates by which the weights that draw may be older than those that learn; 0: never any."
    )
    max_new_tokens: Count = Field(64, description="Longest response.")
    temperature: Positive = Field(1.0, description="Divides the logits everywhere: sampling, scoring and learning.")


class MissingEos(Section):
    """What becomes of the score of a response that was cut off before a token ended it."""

    policy: Literal["keep", "subtract", "replace"] = Field("subtract", description="Keep it, lower it, or replace it.")
    value: Number = Field(1.0, description="What is subtracted from the score, or what replaces it.")


OWN_PYTHON = ("function", "environment")
"""Kinds of reward that are the user's code, and no model"""


class RewardConfig(Section):
    """One part of the reward."""

    kind: Literal["stage", "model", "function", "judge", "environment"] = Field(
        description="stage: the reward stage's model; model: a sequence-classification directory; function: Python; "
        "judge: a language model of llm_judges; environment: a Python class that also answers the policy."
    )
    path: str | None = Field(
        None,
        description="model: its directory or Hub id. function, environment: module:name. judge: a name in llm_judges.",
    )
    weight: Number = Field(1.0, description="Its weight in the sum.")
    normalise: bool = Field(True, description="Shift and scale to mean 0 and deviation 1 on samples of the SFT model.")
    bounded: bool = Field(
        False, description="Squash the score to σ(score), between 0 and 1: far above the others is paid hardly more."
    )
    combine: Literal["mean", "soft_minimum", "less_variance", "averaged_weights"] = Field(
        "mean", description="stage: how the scores of reward.members become one, or their weights one model (WARM)."
    )
    tau: Positive | None = Field(
        None, description="soft_minimum: −τ·log mean exp(−score/τ); near 0 that is the lowest, for a large τ the mean."
    )
    variance_price: Positive | None = Field(
        None, description="less_variance: the mean less this times the variance over the members."
    )
    turns: Count | None = Field(
        None, description="environment: turns of the policy in an episode, at most, each of rollout.max_new_tokens."
    )
    observation_tokens: Count | None = Field(
        None, description="environment: tokens of what it says to one turn, at most, with what the template adds."
    )

    @model_validator(mode="after")
    def _combined_where_there_are_members(self) -> Self:
        if self.combine != "mean" and self.kind != "stage":
            raise ValueError(f"combine: {self.combine} is for kind stage, whose model may have members")
        knobs = {"soft_minimum": "tau", "less_variance": "variance_price"}
        for combine, knob in knobs.items():
            if (self.combine == combine) != (getattr(self, knob) is not None):
                raise ValueError(f"combine: {combine} and {knob} belong together: set both, or neither")
        return self

    @model_validator(mode="after")
    def _path_where_needed(self) -> Self:
        if (self.path is None) != (self.kind == "stage"):
            raise ValueError("kinds model, function, judge and environment need a path; kind stage has none")
        return self

    @model_validator(mode="after")
    def _bounds_of_an_environment(self) -> Self:
        given = [getattr(self, name) is not None for name in ("turns", "observation_tokens")]
        if self.kind == "environment" and not all(given):
            raise ValueError("kind environment needs turns and observation_tokens, which bound its episodes")
        if self.kind != "environment" and any(given):
            raise ValueError(f"turns and observation_tokens are for kind environment, and this is {self.kind}")
        return self


class Rewards(Section):
    """What scores a response: a weighted sum of sources, and what becomes of scores that are odd."""

    sources: list[RewardConfig] = Field(
        default_factory=lambda: [RewardConfig(kind="stage")], min_length=1, description="What is summed to the score."
    )
    missing_eos: MissingEos = Field(default_factory=MissingEos, description="Score of a response without eos.")
    on_bad_score: Literal["stop", "drop"] = Field(
        "stop", description="A response without a finite score ends the run, or is left out of the batch and counted."
    )
    normalisation_samples: Annotated[int, Field(ge=2, le=MOST)] = Field(
        256, description="SFT samples on which the mean and scale of a score are measured."
    )


class Evaluation(Section):
    """Prompts that learning never sees, answered and scored as a policy learns."""

    prompts: Count = Field(64, description="How many are held out.")
    every: Count = Field(
        10, description="Steps between two evaluations: updates where a policy samples, else optimiser steps."
    )
    judges: dict[str, str] = Field(
        default_factory=dict,
        description="name: module:function, or a name in llm_judges. Scores that training never sees.",
    )


class Compute(Section):
    """Where and how much at once. None of these changes a result beyond rounding."""

    device: str = Field("auto", description="auto, cpu or cuda.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Of the frozen weights and activations; auto: bfloat16 on a GPU that has it, else float32."
    )
    deterministic: bool = Field(
        False, description="On a GPU, only operations that give the same bits each time, so that a run can be repeated."
    )
    threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="CPU threads; without it, one a core, and one for a base of under half a million parameters."
    )
    learn_tokens: Count | None = Field(
        None, description="Tokens in one forward and backward; null to have it chosen by the device and its memory."
    )
    score_tokens: Count | None = Field(None, description="Tokens in one forward without gradients; null as above.")
    gradient_checkpointing: bool = Field(
        False, description="Compute each layer's activations again in the backward: less memory, for one more forward."
    )
    shard: bool = Field(
        False, description="Of several processes, each keeps a part of every weight: less memory, more to exchange."
    )
    rollout_rows: Count | None = Field(None, description="Responses sampled side by side; null as above.")
    pack_weights: bool = Field(
        True,
        description="Lay weights out anew while sampling: faster decoding, their memory twice meanwhile.",
    )


class Functions(Section):
    """Limits of Python functions as rewards and judges, each in a process of its own."""

    seconds: Positive = Field(60.0, description="Longest time for a batch of responses.")
    start_seconds: Positive = Field(120.0, description="Longest time to import one.")
    memory_gb: Positive | None = Field(8.0, description="Memory that one may allocate, in GiB; null for no limit.")
    batch_size: Count = Field(256, description="Most responses handed over at once.")
    concurrency: Count = Field(
        32, description="Calls of an `async def` function at once, each with one response of the batch."
    )


class Checkpoints(Section):
    """When a stage saves itself on the way. None of these changes a result."""

    every_minutes: Positive = Field(5.0, description="Minutes between two checkpoints, saved when a step is done.")
    every_steps: Count | None = Field(None, description="Steps between two checkpoints, instead of minutes.")
    keep_last: Count = Field(2, description="How many are kept while a stage runs; none once it is done.")
