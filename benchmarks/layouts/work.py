"""Operations of an update of PPO and bytes that processes exchange in it, by count, and seconds at a machine's rates.

What is assumed:

- Rates are reached, nothing overlaps, and a message costs its bytes alone: seconds are the least that an update takes
  without overlap, not what it will take.
- A product costs two operations a parameter and token, attention 2 · width · length of a row a layer and token.
  Learning in all weights costs three forwards, through adapters two, with checkpointing one more.
- Sampling reads all weights and half of the final keys and values once a token of a response; the rows of a process go
  side by side. Scoring is a forward of each role but the policy.
- Exchanged in rings of n: a gathered or scattered sum moves (n - 1)/n of its bytes through each process, one that all
  get twice that. Sharded, each micro-batch gathers the layers twice and the vocabulary once, and scatters gradients;
  scoring gathers a model for each micro-batch, sampling the policy once. Cut, each layer sums hidden states twice
  forward and twice backward, the embeddings once. Gradients of weights that are whole are summed once a step.
- Machines are filled one after the other, by neighbours: processes that share layers are on one where they can be.
"""

from dataclasses import dataclass
from math import ceil

from truing.estimate.layouts import FLOAT, Layout, Models, Numbers, Shape, bytes_of_frozen, parameters_of_process

LEARNING, SCORED = 2, 3
"""Roles that learn; those that are asked about what the policy, the fourth, has said"""


@dataclass(frozen=True)
class Device:
    """What a process computes on, and what joins it to others."""

    memory: float
    """Bytes"""
    operations: float
    """A second, of products in bfloat16"""
    bandwidth: float
    """Bytes a second that are read from its memory"""
    link: float
    """Bytes a second, one way, to others on its machine"""
    link_between: float
    """Bytes a second, one way, to those on other machines"""
    on_machine: int
    """Devices of one machine"""
    source: str


DEVICES = {
    "H100 SXM": Device(80e9, 989e12, 3.35e12, 450e9, 50e9, 8, "data sheet: dense bfloat16, NVLink 4, 400 Gb/s each"),
    "H200 SXM": Device(141e9, 788e12, 4.3e12, 450e9, 50e9, 8, "measured products and reads; links by data sheet"),
}


@dataclass(frozen=True)
class Update:
    """Sizes of an update of PPO."""

    episodes: int
    prompt_tokens: int
    response_tokens: int
    epochs: int
    minibatches: int = 1

    @property
    def length(self) -> int:
        """Tokens of a prompt and its response."""
        return self.prompt_tokens + self.response_tokens

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

    def seconds(self, device: Device, layout: Layout) -> float:
        """On devices of this kind. Where weights are read for few rows, reading them is what takes the time."""
        near = device.on_machine
        outer = device.link if layout.processes <= near else device.link_between
        inner = device.link if layout.tensor <= near else device.link_between
        compute = max(self.operations / layout.processes / device.operations, self.read / device.bandwidth)
        return compute + self.moved / outer + self.moved_in_layers / inner


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


def phases(case: Case) -> dict[str, Phase]:
    """What sampling, scoring and learning of an update take."""
    forward = operations_of_forward(case.shape, case.update.tokens, case.update.length)
    through = case.update.epochs * LEARNING
    learning = through * ((2 if case.by_adapter else 3) + case.numbers.checkpointing)
    sharded = _ring(case.layout.parts) if case.layout.shard else 0.0
    gathered = case.micro_batches * sharded
    scored = SCORED * gathered * bytes_of_frozen(case.shape, case.numbers)
    learnt = through * gathered * _bytes_of_micro_batch(case) + _bytes_of_steps(case)
    sums = _bytes_of_sums(case)
    return {
        "rollout": Phase(forward, _bytes_read(case), sharded * case.policy_bytes, sums),
        "score": Phase(SCORED * forward, 0.0, scored, SCORED * sums),
        "learn": Phase(learning * forward, 0.0, learnt, 2 * through * sums),
    }


def operations_of_forward(shape: Shape, tokens: int, length: int) -> float:
    """Of so many tokens in rows of this length."""
    products = shape.layers * shape.products + shape.projection
    return tokens * (2.0 * products + 2.0 * shape.layers * shape.width * length)


def _bytes_read(case: Case) -> float:
    """By each process, to sample: weights and half of all keys and values, once for each token of a response."""
    shape, update, layout = case.shape, case.update, case.layout
    weights = case.numbers.compute_bytes * parameters_of_process(shape, Layout(tensor=layout.tensor))
    keys = 2 * shape.key_width / layout.tensor * shape.layers * case.numbers.compute_bytes
    return update.response_tokens * (weights + keys * update.length / 2 * update.episodes / layout.data)


def _bytes_of_micro_batch(case: Case) -> float:
    """Of whole weights that a micro-batch of learning gathers or scatters, where they are sharded."""
    outside = case.shape.vocabulary + case.shape.rest
    layers = 1 - outside / case.shape.parameters
    return case.policy_bytes * (layers * 2 + (1 - layers) + (not case.by_adapter))


def _bytes_of_steps(case: Case) -> float:
    """Through each process, for gradients of what it holds as others do that read other rows."""
    shape, layout = case.shape, case.layout
    adapters = shape.layers * shape.ends * case.numbers.rank * case.models.adapters_trained
    whole = 0.0 if layout.shard else parameters_of_process(shape, layout) * case.models.trained
    steps = case.update.epochs * case.update.minibatches
    return steps * 2 * _ring(layout.data) * FLOAT * (whole + adapters * (1 + 1 / layout.tensor) / 2)


def _bytes_of_sums(case: Case) -> float:
    """Through each process, for hidden states of one forward of all its tokens, where layers are cut."""
    hidden = case.update.tokens / case.layout.data * case.shape.width * case.numbers.compute_bytes
    return 2 * _ring(case.layout.tensor) * hidden * (2 * case.shape.layers + 1)


def _ring(processes: int) -> float:
    """The share of what is gathered that goes through each of so many."""
    return 1 - 1 / processes
