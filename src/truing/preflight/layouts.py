"""What each process of a run holds, by count: models, adapters and what comes and goes, in any layout.

What is assumed:

- A weight that learns takes 16 bytes: itself, its gradient and AdamW's two moments, all float32. One that is frozen
  takes what `compute.dtype` does, or in 4 bit 0.516 bytes of a product. Adapters are float32.
- Of several members of a reward model each learns and scores as one does, and a stage that is scored holds their
  averaged weights too: an adapter of all their ranks, or a model.
- A micro-batch has at most a process's share of a step's rows. Learning keeps, of each layer and token of it, hidden
  states four times (before and behind two norms) and the inputs and outputs of its products; where a layer is
  computed in one, five fewer than these inputs and outputs (`kernels/fused_layer.py`: products that read the same
  states keep them once, norms and what leaves a gate are computed again); with checkpointing, one hidden state of each
  layer and all of one. Scoring keeps less. Logits come in small chunks and are left out, as are padding, weights that
  are cast to be computed with, and what the allocator cannot reuse.
- A layer's activations are gone when its gradients arrive, so of a step of one micro-batch the larger of the two
  counts; gradients of a micro-batch, or of another role, that came before are there beside activations.
- Where layers are cut over T processes, all of a layer is cut but its norms, half of an adapter, the hidden states, and
  two inputs of its products.
- Where layers are cut into P stages, what is counted is the stage that holds most: as many layers as any, an end of the
  vocabulary, and what is neither. A batch is cut into four micro-batches for each stage, and the first has one for each
  stage under way. While a policy samples, all of it is whole, and rows are shared by all processes.
- Sharded, two layers at a time are whole (one computes, the next arrives), and so are embeddings and projection, with
  their gradient where they learn. While a policy samples, all of it is whole. What is gathered so lies beside the
  process's own rows.
- Of layers each process reads its part, one weight after the other; embeddings and projection are whole until they have
  all their rows. Before, a few whole layers are asked what has to be known of the base; afterwards, those that are cut
  into stages are gone through once, one whole layer after the other.
- A checkpoint copies weights that learn and their moments, and at a stage's end the owner loads a whole base, to merge
  what was learnt into it: both in the memory of the machine, which on a CPU is that of the process.
- On a GPU, products of small layers are copied while a policy samples (`kernels/gpu/side_by_side.py`).
- Learning, sampling, saving and loading follow each other: the largest of them is what a peak has.
"""

from dataclasses import dataclass
from math import ceil

FLOAT = 4
"""Bytes of a number of what learns"""
HALF = 2
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a number in 4 bit: 64 share a scale of one byte, and 256 of these one of four"""
LAYERS_AT_ONCE = 2
"""Of a sharded model, that are whole as it computes; of one that is in any parts, as it is loaded"""
AROUND_NORMS, IN_ONE = 4, -5
"""Hidden states that a layer keeps for its backward, beside the inputs and outputs of its products; and where it is
computed in one"""
INTO_PRODUCTS = 2
"""Hidden states that are whole where products are cut: what attention and perceptron read; in one, what they add to"""


@dataclass(frozen=True)
class Shape:
    """Counts of parameters and widths of a decoder."""

    layers: int
    width: int
    """Of a hidden state"""
    query_width: int
    """Of all heads of queries together"""
    key_width: int
    """Of all heads of keys together, which is that of the values too"""
    products: int
    """Parameters of the linear layers of one layer"""
    ends: int
    """Inputs and outputs of these linear layers together: the parameters of an adapter of rank 1"""
    others: int
    """Other parameters of one layer: norms and biases"""
    vocabulary: int
    """Parameters of embeddings and projection, counted once where they are tied"""
    projection: int
    """Parameters of the projection to the vocabulary alone"""
    rest: int
    """All other parameters"""

    @property
    def parameters(self) -> int:
        """Of the whole model."""
        return self.layers * (self.products + self.others) + self.vocabulary + self.rest


@dataclass(frozen=True)
class Layout:
    """How the processes of a run share its work."""

    data: int = 1
    """Groups that read different rows"""
    tensor: int = 1
    """Processes of each group, which share every layer"""
    shard: bool = False
    """Whether each keeps a part of every weight; only where `tensor` and `pipeline` are 1"""
    pipeline: int = 1
    """Stages that the layers are cut into, whose processes read the same rows; only where `tensor` is 1"""

    @property
    def processes(self) -> int:
        """All of them."""
        return self.data * self.tensor * self.pipeline

    @property
    def parts(self) -> int:
        """In how many parts the weights lie."""
        return self.data if self.shard else self.tensor * self.pipeline

    @property
    def options(self) -> str:
        """As they are typed behind `truing run RECIPE`; empty for one process."""
        words = [f"--processes {self.processes}"] if self.processes > 1 else []
        words += [f"--tp {self.tensor}"] if self.tensor > 1 else []
        words += [f"--pp {self.pipeline}"] if self.pipeline > 1 else []
        return " ".join([*words, "--set compute.shard=true"] if self.shard else words)


ONE_PROCESS = Layout()


@dataclass(frozen=True)
class Models:
    """The models and adapters of a stage."""

    trained: int
    """Whole models that learn"""
    frozen: int
    """Whole models that do not"""
    adapters_trained: float
    """Adapters that learn, as shares of one on all layers"""
    adapters_frozen: int
    samples: bool
    """Whether one of them answers prompts"""


@dataclass(frozen=True)
class Numbers:
    """What of a recipe decides how much is held."""

    rank: int
    """Of an adapter"""
    compute_bytes: int
    """Of a number that is computed with: 4 or 2"""
    quantised: bool
    """Whether frozen models are in 4 bit"""
    learn_tokens: int
    """Of a micro-batch"""
    checkpointing: bool
    adapted: float
    """Share of the layers that learn"""
    rows: int
    """Responses that one process samples side by side"""
    row_tokens: int
    """Of a prompt and its response"""
    accumulates: bool = True
    """Whether a step has several micro-batches for each role"""
    fused: bool = False
    """Whether a layer is computed in one"""
    copied: bool = False
    """Whether products are copied to sample by"""


@dataclass(frozen=True)
class Held:
    """Bytes of one process."""

    weights: float
    moments: float
    adapters: float
    """With gradients and moments of those that learn"""
    gradients: float
    activations: float
    gathered: float
    """Of a sharded model, what is whole while it learns"""
    caches: float
    """Keys and values of the responses that are sampled side by side"""
    copied: float
    """Products that a policy samples by, where they are copied"""
    gathered_policy: float
    """Of a policy that is sharded or in stages, what is whole while it samples, beside this process's part"""
    saved: float
    """The copy of what learns as a checkpoint is written"""
    loading: float
    """What the last model takes as it is loaded beyond what is kept of it"""
    merged: float
    """Where weights are in parts, the whole base that the owner loads in the end"""
    accumulates: bool
    """Whether there are gradients before the last activations are"""

    @property
    def kept(self) -> float:
        """At any time of a step."""
        return self.weights + self.moments + self.adapters

    @property
    def peak(self) -> float:
        """At the worst moment, in the memory that is computed in, without Python and its libraries."""
        learnt = self.gradients, self.activations
        learning = sum(learnt) if self.accumulates else max(learnt)
        step = self.moments + max(learning + self.gathered, self.caches + self.copied + self.gathered_policy)
        return self.weights + self.adapters + max(step, self.loading)

    @property
    def peak_on_cpu(self) -> float:
        """The same of the owner where that memory is the machine's: checkpoints and the base to merge lie there."""
        return max(self.peak, self.kept + self.saved, self.kept + self.merged)


def held(shape: Shape, models: Models, numbers: Numbers, layout: Layout) -> Held:
    """Bytes that each process of the layout holds in a stage."""
    own = parameters_of_process(shape, layout)
    frozen_bytes = bytes_of_frozen(shape, numbers)
    adapter = layers_of_process(shape, layout) * shape.ends * numbers.rank * FLOAT * (1 + 1 / layout.tensor) / 2
    learnt = FLOAT * own * models.trained
    whole = FLOAT * shape.parameters if models.trained else frozen_bytes
    sampled = models.samples and (layout.shard or layout.pipeline > 1)
    return Held(
        weights=learnt + models.frozen * frozen_bytes * own / shape.parameters,
        moments=2 * learnt,
        adapters=adapter * (4 * models.adapters_trained + models.adapters_frozen),
        gradients=learnt,
        activations=_activations(shape, numbers, layout),
        gathered=_gathered(shape, models, numbers) if layout.shard else 0.0,
        caches=_caches(shape, numbers, layout) if models.samples else 0.0,
        copied=_copied(shape, numbers) / layout.tensor if models.samples else 0.0,
        gathered_policy=whole * (1.0 if layout.shard else 1 - own / shape.parameters) if sampled else 0.0,
        saved=3 * (learnt + adapter * models.adapters_trained),
        loading=whole / shape.parameters * _loading(shape, layout, own),
        merged=whole if layout.parts > 1 else 0.0,
        accumulates=numbers.accumulates or models.trained > 1,
    )


def parameters_of_process(shape: Shape, layout: Layout) -> float:
    """Of one model that a process keeps."""
    if layout.shard:
        return shape.parameters / layout.parts
    if layout.pipeline > 1:
        of_layers = layers_of_process(shape, layout) * (shape.products + shape.others)
        return of_layers + _end(shape) + shape.rest
    cut = shape.layers * shape.products + shape.vocabulary
    return cut / layout.tensor + shape.parameters - cut


def _end(shape: Shape) -> int:
    """Parameters of an end of the vocabulary: of the projection, or of embeddings where there is none."""
    return shape.projection or shape.vocabulary


def layers_of_process(shape: Shape, layout: Layout) -> int:
    """That a process computes, all or a slice of each."""
    return ceil(shape.layers / layout.pipeline)


def bytes_of_frozen(shape: Shape, numbers: Numbers) -> float:
    """Of a whole model that does not learn."""
    if numbers.quantised:
        products = shape.layers * shape.products
        return NF4 * products + numbers.compute_bytes * (shape.parameters - products)
    return float(numbers.compute_bytes * shape.parameters)


def _loading(shape: Shape, layout: Layout, own: float) -> float:
    """Parameters of a model in parts that are there beyond the `own` ones, as it is loaded."""
    if layout.parts == 1:
        return 0.0
    layer = shape.products + shape.others
    asked = LAYERS_AT_ONCE * layer + shape.vocabulary + shape.rest - own
    if layout.pipeline > 1:
        return max(asked, shape.vocabulary - _end(shape) + layer)
    return max(asked, shape.vocabulary * (1 - 1 / layout.parts) + shape.products)  # a weight is at most a layer's


def _activations(shape: Shape, numbers: Numbers, layout: Layout) -> float:
    layers = min(shape.layers * numbers.adapted, layers_of_process(shape, layout)) * layout.pipeline
    whole = INTO_PRODUCTS if layout.tensor > 1 else 0
    cut = (IN_ONE - whole if numbers.fused else 0) * shape.width + shape.ends
    kept = (whole + (0 if numbers.fused else AROUND_NORMS)) * shape.width + cut / layout.tensor
    entries = layers * shape.width + kept if numbers.checkpointing else layers * kept
    return numbers.learn_tokens * entries * numbers.compute_bytes


def _gathered(shape: Shape, models: Models, numbers: Numbers) -> float:
    vocabulary = shape.vocabulary * (2 if models.trained else 1)
    each = FLOAT if models.trained else numbers.compute_bytes
    return each * (LAYERS_AT_ONCE * (shape.products + shape.others) + vocabulary)


def _caches(shape: Shape, numbers: Numbers, layout: Layout) -> float:
    entries = 2 * shape.key_width / layout.tensor * shape.layers
    return numbers.rows * numbers.row_tokens * entries * numbers.compute_bytes


def _copied(shape: Shape, numbers: Numbers) -> float:
    return float(numbers.compute_bytes * shape.layers * shape.products * numbers.copied)
