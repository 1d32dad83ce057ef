"""How often the processes of a launch wait for each other in a step, by count.

Each time takes a while, however little is said: on a CPU often more than all the bytes. What is assumed:

- Of several that read different rows, each optimiser step has four exchanges: who has which gradients, their sum, and
  that nobody has failed before and behind it.
- Cut, a forward sums hidden states twice a layer and once for the embeddings, and a few times over the vocabulary; a
  backward as often, where the sums of what adapters learn, four small ones a layer, are left out. So does each token
  that is drawn, for all rows that go side by side.
- Sharded, a micro-batch gathers each layer and the vocabulary once forward, and learning gathers them once more and
  scatters their gradients; sampling gathers them once.
- In stages, a batch is cut into four micro-batches for each stage, each of which is taken and handed on once in each
  direction, and the policy is gathered weight by weight.
- Of a model in parts a message takes eight times as long as by itself, with all that is done around it, such as
  another micro-batch. Seen were 6 to 13 times, on a model of 0.2M parameters in two processes on a CPU, when slices
  went by torch's parallel layers. As slices are computed now, one of 30M waits 5 to 6 ms each time, bytes included, for
  messages of 0.3 to 0.5 (docs/log.md).
"""

from math import ceil

from truing.estimate.work import Case
from truing.models.stage_plan import MICRO_BATCHES

OF_STEP, OF_VOCABULARY = 4, 4
AROUND = 8
"""Times as long as a message by itself, with what is done around it"""
WEIGHTS = 9
"""Of a layer, those of the Llama family"""


def messages(case: Case) -> float:
    """Of a step, those that a process waits for, as many as take as long as messages by themselves."""
    update = case.update
    agreed = OF_STEP * update.epochs * update.minibatches if case.layout.processes > 1 else 0
    return agreed + AROUND * _in_parts(case)


def _in_parts(case: Case) -> float:
    """Between those that have parts of a model."""
    layers, update, layout = case.shape.layers, case.update, case.layout
    scored = update.scored * case.micro_batches
    learnt = update.epochs * update.learning * max(update.minibatches, case.micro_batches)
    if layout.tensor > 1:
        side_by_side = ceil(update.episodes / layout.data / case.numbers.rows) if update.samples else 0
        forwards = side_by_side * update.response_tokens + scored + 2 * learnt
        return forwards * (2 * layers + 1 + OF_VOCABULARY)
    if layout.pipeline > 1:
        each = MICRO_BATCHES * layout.pipeline
        passes = max(scored, update.scored * each) + 2 * max(
            learnt, update.epochs * update.learning * update.minibatches * each
        )
        return 2 * passes + WEIGHTS * layers * update.samples
    return (layers + 1) * (update.samples + scored + 3 * learnt) if layout.shard else 0
