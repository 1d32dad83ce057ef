"""The typed recipe: every option of truing, one line each, documented where it stands.

`load_recipe` reads one from YAML; this module, `sections` and `algorithms` say what may be in it.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from truing.config.algorithms import Algorithms
from truing.config.judging import Guard, LlmJudge
from truing.config.sections import (
    Base,
    Checkpoints,
    Compute,
    Data,
    Evaluation,
    Functions,
    Lora,
    RewardConfig,
    Rewards,
    RolloutConfig,
    Section,
    World,
)
from truing.config.stages import DEFAULT_STAGES, STAGES

if TYPE_CHECKING:
    StageName = str
else:
    StageName = Literal[tuple(STAGES)]


class Origin(Section):
    """What a run is called and begins with."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Names the default run directory.")
    seed: Annotated[int, Field(ge=0)] = Field(17, description="Of every random draw.")
    stages: list[StageName] = Field(list(DEFAULT_STAGES), min_length=1, description="In this order.")
    base: Base | None = Field(None, description="The model to begin with; none with `world`.")
    world: World | None = Field(None, description="The embedded world, instead of base and data.")
    data: Data = Field(default_factory=Data, description="The rows to learn from.")
    roles: Literal["shared", "separate"] = Field(
        "shared", description="shared: adapters and heads on one frozen base. separate: a full model for each."
    )
    lora: Lora = Field(default_factory=Lora, description="The adapters of shared roles and of sft.method lora.")


class Recipe(Algorithms, Origin):
    """Everything a run depends on."""

    rollout: RolloutConfig = Field(default_factory=RolloutConfig, description="How responses are sampled.")
    rewards: Rewards = Field(default_factory=Rewards, description="What scores a response.")
    on_unsound_reward: Literal["stop", "go_on"] = Field(
        "stop", description="stop: no policy learns from a reward model no better than chance, or than 'longer wins'."
    )
    evaluation: Evaluation = Field(default_factory=Evaluation, description="What is measured on held-out prompts.")
    guard: Guard = Field(default_factory=Guard, description="Judgements of the policy's own answers, and what follows.")
    llm_judges: dict[str, LlmJudge] = Field(
        default_factory=dict, description="Language models that rewards, evaluation and guard may ask, by name."
    )
    functions: Functions = Field(default_factory=Functions, description="Limits of rewards and judges in Python.")
    variants: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="More runs of the stages that a change concerns, name to overrides: {no-kl: {ppo.kl.beta: 0.0}} "
        "runs ppo-no-kl.",
    )
    compute: Compute = Field(default_factory=Compute, description="Where and how much at once.")
    checkpoints: Checkpoints = Field(default_factory=Checkpoints, description="When a stage saves itself on the way.")
    track: list[Literal["tensorboard", "wandb", "trackio", "mlflow"]] = Field(
        default_factory=list, description="Where metrics go besides metrics.jsonl."
    )

    @property
    def environment(self) -> RewardConfig | None:
        """What answers the policy between its turns, where anything does."""
        return next((source for source in self.rewards.sources if source.kind == "environment"), None)

    @property
    def most_drawn(self) -> int:
        """Tokens that a policy draws for a prompt, at most."""
        turns = self.environment.turns if self.environment else None
        return self.rollout.max_new_tokens * (turns or 1)

    @property
    def longest_response(self) -> int:
        """Tokens that follow a prompt, at most, those of an environment among them."""
        source = self.environment
        observed = ((source.turns or 1) - 1) * (source.observation_tokens or 0) if source else 0
        return self.most_drawn + observed
