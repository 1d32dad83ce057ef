"""How often the processes of a launch wait for each other in a step, by count.

Each time takes a while, however little is said: on a CPU often more than all the bytes. What is assumed:

- Of several that read different rows, each optimiser step has four exchanges: who has which gradients, their sum, and
  that nobody has failed before and behind it.
- Cut, a forward sums hidden states twice a layer and once for the embeddings, a backward twice a layer, and each token
  that is drawn is a forward of all rows that go side by side. What adapters learn has two small sums a layer. A draw
  goes three times over the vocabulary, and so does what is asked of the logits of a policy, and of its reference, for
  each block of positions whose logits exist at once, of which a micro-batch has at least one.
- Sharded, a micro-batch gathers each layer and the vocabulary once forward, and learning gathers them once more and
  scatters their gradients; sampling gathers them once.
- In stages, a batch is cut into four micro-batches for each stage, each of which is taken and handed on once in each
  direction, and the policy is gathered weight by weight.
- Where rows of weights are gathered, or layers are in stages, a message takes eight times as long as by itself, with
  all that is done around it, such as another micro-batch. Seen were 6 to 13 times, on a model of 0.2M parameters in two
  processes on a CPU. A sum of slices takes as long as any message, and its bytes (docs/log.md).
"""

from math import ceil

import torch

from truing.estimate.work import Case
from truing.kernels.vocabulary import Positions
from truing.models.stage_plan import MICRO_BATCHES

OF_STEP = 4
OF_VOCABULARY, OF_ADAPTERS = 3, 2
"""Over its slices, for a token that is drawn or a block of positions that are asked about; and of a layer's adapters"""
AROUND = 8
"""Times as long as a message by itself, with what is done around it, where weights are gathered or in stages"""
WEIGHTS = 9
"""Of a layer, those of the Llama family"""


def messages(case: Case, device: torch.device) -> float:
    """Of a step on devices of this kind, those that a process waits for, as many as take as long as messages by
    themselves.
    """
    update = case.update
    agreed = OF_STEP * update.epochs * update.minibatches if case.layout.processes > 1 else 0
    return agreed + _in_parts(case, device)


def _in_parts(case: Case, device: torch.device) -> float:
    """Between those that have parts of a model."""
    layers, update, layout = case.shape.layers, case.update, case.layout
    scored = update.scored * case.micro_batches
    learnt = update.epochs * update.learning * max(update.minibatches, case.micro_batches)
    if layout.tensor > 1:
        side_by_side = ceil(update.episodes / layout.data / case.numbers.rows) if update.samples else 0
        forward, backward = 2 * layers + 1, (2 + OF_ADAPTERS * case.by_adapter) * layers
        drawn = side_by_side * update.response_tokens * (forward + OF_VOCABULARY)
        asked = (1 + update.samples) * min(update.scored, 1) + update.epochs * update.has_logits
        through = scored * forward + learnt * (forward + backward)
        return drawn + through + asked * _blocks(case, device) * OF_VOCABULARY
    if layout.pipeline > 1:
        each = MICRO_BATCHES * layout.pipeline
        passes = max(scored, update.scored * each) + 2 * max(
            learnt, update.epochs * update.learning * update.minibatches * each
        )
        return AROUND * (2 * passes + WEIGHTS * layers * update.samples)
    return AROUND * (layers + 1) * (update.samples + scored + 3 * learnt) if layout.shard else 0


def _blocks(case: Case, device: torch.device) -> int:
    """Of all positions whose logits are asked about: so many as exist at once, and none goes beyond a micro-batch."""
    update, shape, layout = case.update, case.shape, case.layout
    positions = update.episodes / layout.data * (update.response_tokens or update.length)
    tokens = shape.projection // shape.width // layout.tensor
    of_micro_batch = positions / case.micro_batches
    return case.micro_batches * ceil(of_micro_batch / Positions.of(device, tokens).cached)
