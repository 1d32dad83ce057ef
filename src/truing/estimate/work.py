"""Operations of a step and bytes that processes exchange in it, by count, and seconds at a machine's rates.

A product of an (a, b) with a (b, c) matrix is 2·a·b·c operations. Counted are the products of linear layers, adapters,
attention (causal, so half of the square) and the vocabulary projection of responses, forward and backward; norms,
activations and the loss are not. What is assumed besides:

- Rates are reached, nothing overlaps, and a message costs its bytes alone (how many there are: `messages`): seconds are
  the least that an update takes without overlap, not what it will take.
- Learning goes once forward and twice backward where all weights learn, once to the inputs of frozen ones; with
  checkpointing, once more forward. Adapters are on all layers.
- Sampling reads all weights and half of the final keys and values once a token of a response; the rows of a process go
  side by side. Scoring is a forward of each role but the policy.
- Exchanged in rings of n: a gathered or scattered sum moves (n - 1)/n of its bytes through each process, one that all
  get twice that. Sharded, each micro-batch gathers the layers twice and the vocabulary once, and scatters gradients;
  scoring gathers a model for each micro-batch, sampling the policy once. Cut, each layer sums hidden states twice
  forward and twice backward, the embeddings once. Gradients of weights that are whole are summed once a step.
- In stages, hidden states go on once forward and once backward, the policy is gathered once to sample, and of M
  micro-batches and P stages (four of them a stage at least) each waits for (P - 1)/(M + P - 1) of the time. What the
  two ends of a tied vocabulary sum is left out.
- Machines are filled one after the other, by neighbours: processes that share layers are on one where they can be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from truing.config.recipe import Recipe
from truing.config.stages import STAGES
from truing.models.stage_plan import MICRO_BATCHES
from truing.preflight.held_by_recipe import reward_models
from truing.preflight.layouts import (
    FLOAT,
    Layout,
    Models,
    Numbers,
    Shape,
    bytes_of_frozen,
    layers_of_process,
    parameters_of_process,
)


@dataclass(frozen=True)
class Links:
    """What joins a process to others."""

    link: float
    """Bytes a second, one way, to others on its machine"""
    link_between: float
    """Bytes a second, one way, to those on other machines"""
    on_machine: int
    """Processes of one machine"""
    message: float
    """Seconds that a message takes, however little it says"""


@dataclass(frozen=True)
class Device(Links):
    """What a process computes on, besides."""

    memory: float
    """Bytes"""
    operations: float
    """A second, of products in bfloat16"""
    bandwidth: float
    """Bytes a second that are read from its memory"""
    source: str


DEVICES = {
    "H100 SXM": Device(
        450e9, 50e9, 8, 0.0, 80e9, 989e12, 3.35e12, "data sheet: dense bfloat16, NVLink 4, 400 Gb/s each"
    ),
    "H200 SXM": Device(450e9, 50e9, 8, 0.0, 141e9, 788e12, 4.3e12, "measured products and reads; links by data sheet"),
}


@dataclass(frozen=True)
class Update:
    """Sizes of a step: by default an update of PPO with a reward model, in which a policy answers, two models and the
    reference are asked about that, and policy and critic learn from it.
    """

    episodes: int
    """Texts, whether they are sampled or rows"""
    prompt_tokens: int
    response_tokens: int
    epochs: int
    minibatches: int = 1
    samples: bool = True
    """Whether the texts are sampled"""
    scored: int = 3
    """Roles that are asked about each text"""
    learning: int = 2
    """Roles that learn from it"""
    has_logits: bool = True
    """Whether what learns gives logits, as a policy does and a model of rewards does not"""

    @property
    def length(self) -> int:
        """Tokens of a prompt and its response."""
        return self.prompt_tokens + self.response_tokens

    @property
    def lengths(self) -> list[int]:
        """Of each text."""
        return [self.length] * self.episodes

    @property
    def tokens(self) -> int:
        """Of all prompts and responses."""
        return self.episodes * self.length


@dataclass(frozen=True)
class Phase:
    """One of sampling, scoring and learning."""

    operations: float
    """Of all processes together"""
    read: float
    """Bytes of weights and caches that each process reads to sample"""
    moved: float
    """Bytes that go through each process between those that hold parts of weights, or read different rows"""
    moved_in_layers: float = 0.0
    """Bytes that go through each process between those that share layers"""
    waiting: float = 0.0
    """Share of the time in which a stage waits for others"""

    def seconds(self, device: Device, layout: Layout) -> float:
        """On devices of this kind. Where weights are read for few rows, reading them is what takes the time."""
        operations = self.operations / layout.processes / (1 - self.waiting)
        compute = max(operations / device.operations, self.read / device.bandwidth)
        return compute + self.seconds_of_exchange(device, layout)

    def seconds_of_exchange(self, links: Links, layout: Layout) -> float:
        """Of all that goes between the processes."""
        near = links.on_machine
        outer = links.link if layout.processes <= near else links.link_between
        inner = links.link if layout.tensor <= near else links.link_between
        return self.moved / outer + self.moved_in_layers / inner


@dataclass(frozen=True)
class Case:
    """An update of a model in a layout."""

    shape: Shape
    models: Models
    numbers: Numbers
    update: Update
    layout: Layout

    @property
    def by_adapter(self) -> bool:
        """Whether all roles are adapters on one frozen model."""
        return self.models.trained == 0

    @property
    def micro_batches(self) -> int:
        """Of one process that goes through all tokens of the update once."""
        return ceil(self.update.tokens / self.layout.data / self.numbers.learn_tokens)

    @property
    def policy_bytes(self) -> float:
        """Of the whole policy without its adapter."""
        return bytes_of_frozen(self.shape, self.numbers) if self.by_adapter else FLOAT * self.shape.parameters


def update_of(recipe: Recipe, stage: str, text_tokens: int) -> Update:
    """A step of a stage of the recipe, which reads texts of so many tokens."""
    spec, section = STAGES[stage], getattr(recipe, stage)
    sampled = spec.must_be_scored
    response = min(recipe.longest_response, text_tokens) if sampled else 0
    return Update(
        episodes=section.episodes if sampled else section.batch_size * spec.texts_per_row,
        prompt_tokens=text_tokens - response,
        response_tokens=response,
        epochs=section.epochs if sampled else 1,
        minibatches=getattr(section, "minibatches", 1),
        samples=sampled,
        scored=spec.makes_policy * spec.read_besides + sampled * (1 + reward_models(recipe, spec)),
        learning=2 if hasattr(section, "critic_learning_rate") else getattr(section, "members", 1),
        has_logits=spec.makes_policy,
    )


def phases(case: Case) -> dict[str, Phase]:
    """What sampling, scoring and learning of an update take."""
    shape, update, layers = case.shape, case.update, case.shape.layers
    rank = case.numbers.rank if case.by_adapter else None
    whole = forward(shape, update.lengths, layers, rank)
    logits = 2.0 * shape.projection * update.episodes * update.response_tokens
    learnt = learning(shape, update.lengths, layers, rank) + case.numbers.checkpointing * whole
    through = update.epochs * update.learning
    apart = _ring(case.layout.parts) if case.layout.shard or case.layout.pipeline > 1 else 0.0
    gathered = case.micro_batches * apart if case.layout.shard else 0.0
    frozen_bytes = gathered * bytes_of_frozen(shape, case.numbers)
    moved = through * gathered * _bytes_of_micro_batch(case) + _bytes_of_steps(case)
    sums, passed = _bytes_of_sums(case), _bytes_passed_on(case)
    sampling = Phase(whole + logits, _bytes_read(case), apart * case.policy_bytes, sums)
    return {
        "rollout": sampling if update.samples else Phase(0.0, 0.0, 0.0),
        # The reference gives distributions, with which those of a policy that samples are compared.
        "score": Phase(
            update.scored * whole + (1 + update.samples) * min(update.scored, 1) * logits,
            0.0,
            update.scored * (frozen_bytes + passed),
            update.scored * sums,
            _waiting(case, 1),
        ),
        "learn": Phase(
            through * learnt + update.epochs * (2 if case.by_adapter else 3) * logits,
            0.0,
            moved + 2 * through * passed,
            2 * through * sums,
            _waiting(case, update.minibatches),
        ),
    }


def linear(shape: Shape, tokens: int, layers: int) -> float:
    """Operations of the linear layers, forward."""
    return 2.0 * layers * shape.products * tokens


def adapters(shape: Shape, tokens: int, layers: int, rank: int | None) -> float:
    """The same of the adapters on them; 0 where there are none."""
    return 2.0 * layers * shape.ends * tokens * (rank or 0)


def attention(shape: Shape, lengths: Sequence[int], layers: int) -> float:
    """Each token with itself and those before it: scores, and their sum over values."""
    return 4.0 * layers * shape.query_width * sum(n * (n + 1) / 2 for n in lengths)


def forward(shape: Shape, lengths: Sequence[int], layers: int, rank: int | None) -> float:
    """Sequences of these lengths through so many layers, without the vocabulary projection: about 2NT."""
    tokens = sum(lengths)
    return linear(shape, tokens, layers) + adapters(shape, tokens, layers, rank) + attention(shape, lengths, layers)


def learning(shape: Shape, lengths: Sequence[int], layers: int, rank: int | None) -> float:
    """Forward and backward. Backward is 4NT where weights learn, 2NT through frozen ones, to their inputs alone."""
    tokens, passes = sum(lengths), 3 if rank is None else 2
    always = 3 * (adapters(shape, tokens, layers, rank) + attention(shape, lengths, layers))
    return passes * linear(shape, tokens, layers) + always


def _bytes_read(case: Case) -> float:
    """By each process, to sample: weights and half of all keys and values, once for each token of a response."""
    shape, update, layout = case.shape, case.update, case.layout
    weights = case.numbers.compute_bytes * parameters_of_process(shape, Layout(tensor=layout.tensor))
    keys = 2 * shape.key_width / layout.tensor * shape.layers * case.numbers.compute_bytes
    rows = update.episodes / layout.data / layout.pipeline
    return update.response_tokens * (weights + keys * update.length / 2 * rows)


def _bytes_of_micro_batch(case: Case) -> float:
    """Of whole weights that a micro-batch of learning gathers or scatters, where they are sharded."""
    outside = case.shape.vocabulary + case.shape.rest
    layers = 1 - outside / case.shape.parameters
    return case.policy_bytes * (layers * 2 + (1 - layers) + (not case.by_adapter))


def _bytes_of_steps(case: Case) -> float:
    """Through each process, for gradients of what it holds as others do that read other rows."""
    shape, layout = case.shape, case.layout
    adapters = layers_of_process(shape, layout) * shape.ends * case.numbers.rank * case.models.adapters_trained
    whole = 0.0 if layout.shard else parameters_of_process(shape, layout) * case.models.trained
    steps = case.update.epochs * case.update.minibatches
    return steps * 2 * _ring(layout.data) * FLOAT * (whole + adapters * (1 + 1 / layout.tensor) / 2)


def _bytes_of_sums(case: Case) -> float:
    """Through each process, for hidden states of one forward of all its tokens, where layers are cut."""
    hidden = case.update.tokens / case.layout.data * case.shape.width * case.numbers.compute_bytes
    return 2 * _ring(case.layout.tensor) * hidden * (2 * case.shape.layers + 1)


def _bytes_passed_on(case: Case) -> float:
    """Through each process, of hidden states of one forward of all its tokens, where layers are in stages."""
    hidden = case.update.tokens / case.layout.data * case.shape.width * case.numbers.compute_bytes
    return 2 * _ring(case.layout.pipeline) * hidden


def _waiting(case: Case, steps: int) -> float:
    """The share of the time in which a stage has no micro-batch, with the update's tokens in so many steps."""
    stages, tokens = case.layout.pipeline, case.update.tokens / case.layout.data / steps
    micro_batches = max(MICRO_BATCHES * stages, ceil(tokens / case.numbers.learn_tokens))
    return (stages - 1) / (micro_batches + stages - 1)


def _ring(processes: int) -> float:
    """The share of what is gathered that goes through each of so many."""
    return 1 - 1 / processes
