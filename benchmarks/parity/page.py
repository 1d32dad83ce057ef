"""The results page, from what was measured."""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from textwrap import fill
from typing import Any

from cases import PPO
from compare import TOLERANCE, Gap
from comparisons import Row
from group_cases import GROUP, RESPONSES, STEPS

DEFECTS = {
    "equal_micro_batches": (
        "micro-batches weigh the same whatever they hold",
        "The means of the micro-batches are averaged. In the reward, DPO and CPO trainers the pairs of a last "
        "batch that is not full weigh more than the others; in PPO the tokens of a micro-batch with shorter responses "
        "do. Ours weighs by what is counted. TRL's SFT counts the tokens of all micro-batches first, and agrees.",
    ),
    "no_smoothing": (
        "`label_smoothing` has no effect on the sigmoid loss",
        "It is used in the losses robust, EXO and AOT only, and documented so but for AOT. With the default loss it is "
        "accepted, changes nothing and says nothing, so conservative DPO cannot be had.",
    ),
    "own_reference_points": (
        "KTO's reference point is of a micro-batch, not of the batch",
        "Each micro-batch estimates the KL by its own mismatched responses, and the micro-batches weigh the same. So "
        "loss and gradient change with `per_device_train_batch_size`, and a micro-batch of one row has no mismatched "
        "response at all. Ours takes one pass over the whole batch before the step.",
    ),
    "sft_by_tokens": (
        "the SFT term of DPO averages over the tokens of a batch",
        "A convention more than an error: Pang et al. 2024 (equation 1) average over the tokens of each response, and "
        "then over pairs, as ours does. For one pair the two are the same, as the table shows.",
    ),
    "prompts_in_sft": (
        "ORPO's SFT term learns the prompt too",
        "Its −log probability is of prompt and chosen response, averaged over all their tokens in the batch; the "
        "paper's (equation 6) is of the chosen response. With long prompts most of what is learnt is to write prompts.",
    ),
    "past_eos": (
        "the score is placed one position after eos",
        "The episode goes on for one padding token: the score stands there, the critic's value of that place enters "
        "the response's advantages and the value loss, and the policy loss does not count it. A response that fills "
        "the whole length has its score on its last token, so the two kinds are treated differently.",
    ),
    "sample_variance": (
        "whitening uses the variance of a sample",
        "A convention more than an error: it divides by n − 1 where Ziegler et al.'s reference code divides by n, so "
        "advantages are √((n − 1)/n) of ours. It goes away as batches grow.",
    ),
}


@dataclass(frozen=True)
class Findings:
    """All that the page tells."""

    offline: list[Row]
    groups: list[Row]
    ppo: list[Row]
    inputs: dict[str, float]
    alone: dict[str, Gap]
    figures: dict[str, float]
    after_eos: tuple[int, int]
    counted: dict[str, Any]

    @property
    def rows(self) -> list[Row]:
        return [*self.offline, *self.groups, *self.ppo]

    @property
    def hold(self) -> bool:
        """Whether every difference is rounding or explained."""
        return all(row.holds for row in self.rows) and self.alone["none"].closed


def table(head: list[str], lines: list[list[str]]) -> str:
    """Markdown."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines])


def comparison(rows: list[Row]) -> str:
    """The main table of one peer."""
    numbers = {name: number for number, name in enumerate(DEFECTS, start=1)}

    def line(row: Row) -> list[str]:
        left = row.explained if not row.gap.closed else None
        why = " + ".join(f"[{numbers[name]}](#defects)" for name in row.defects)
        return [
            row.title,
            f"{row.theirs:.5f}",
            f"{row.ours:.5f}",
            *shown(row.gap),
            why if left else "equal",
            *(shown(left) if left else ["", ""]),
        ]

    head = ["step", "TRL's loss", "ours", "Δ loss", "Δ gradient", "explained by", "Δ loss then", "Δ gradient then"]
    return table(head, [line(row) for row in rows])


def shown(measured: Gap) -> list[str]:
    """Loss and relative gradient."""
    return [figure(measured.loss), figure(measured.relative)]


def figure(value: float) -> str:
    """One digit of what is rounding, three of what is not."""
    return "0" if value == 0 else f"{value:.0e}" if value <= TOLERANCE else f"{value:.3g}"


def defects(findings: Findings) -> str:
    """What the numbers in the tables stand for."""
    lines = [
        [str(number), f"**{title}.** {text}", f"{findings.alone[name].relative:.1%}" if name in findings.alone else ""]
        for number, (name, (title, text)) in enumerate(DEFECTS.items(), start=1)
    ]
    return table(["", "in TRL", "alone, in PPO"], lines)


def counted(findings: Findings) -> str:
    """Defects that show in other figures than loss and gradient."""
    figures, (after, all_tokens) = findings.figures, findings.after_eos
    eos = findings.counted["eos_as_pad"]
    lines = [
        [
            "gradients are never clipped",
            f"norm of the gradient applied in the first step with `max_grad_norm=1.0`: {figures['applied_norm']:.2f}",
            "clipped to 1.00",
        ],
        [
            "by default nothing ends a response",
            f"{after} of {all_tokens} tokens that are learnt from come after eos",
            "none: sampling stops at eos",
        ],
        [
            "pad = eos",
            f"{eos['counted']} of {eos['sampled']} sampled eos count in the policy loss: stopping is not learnt",
            "every one; pad is never eos",
        ],
        [
            "`policy/approxkl_avg` averages over padding",
            f"{figures['their_approx_kl']:.4f}",
            f"{figures['approx_kl']:.4f} over the {figures['counted']} counted of {figures['positions']} positions",
        ],
        [
            "`policy/entropy_avg` averages over padding",
            f"{figures['their_entropy']:.4f}",
            f"{figures['entropy']:.4f}",
        ],
    ]
    return table(["in TRL", "measured there", "ours"], lines)


def optimiser_steps(findings: Findings) -> str:
    """How often the optimiser really stepped."""
    responses, epochs = PPO["responses"], PPO["epochs"]

    def line(setting: dict[str, int]) -> list[str]:
        last = "yes" if setting["prompts"] == responses else "no"
        accumulated = responses // setting["micro"]
        wanted = setting["minibatches"] * epochs
        steps = str(setting["steps"]) if setting["steps"] == wanted else f"**{setting['steps']}**"
        return [str(setting["micro"]), str(accumulated), str(setting["minibatches"]), last, steps, str(wanted)]

    head = ["rows a micro-batch", "accumulated", "`num_mini_batches`", "last prompts of the data", "steps", "asked for"]
    return table(head, [line(setting) for setting in findings.counted["steps"]])


def page(findings: Findings) -> str:
    """The whole page."""
    libraries = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in ("torch", "transformers", "peft"))
    equal = sum(row.gap.closed for row in findings.rows)
    explained = sum(row.holds and not row.gap.closed for row in findings.rows)
    inputs = "; ".join(f"{name} {figure(value)}" for name, value in findings.inputs.items())
    return wrapped(f"""\
# Parity with TRL

Losses and gradients of truing against those of TRL's own trainers, from the same weights and the same rows.
{equal} of {len(findings.rows)} steps are equal within 1e-5; {explained} differ by what the
[named defects](#defects) of TRL explain, {len(findings.rows) - equal - explained} by anything else. A defect explains
a difference when our own code with that defect put in gives TRL's loss and gradients within 1e-5: the last two columns.

Written by `python benchmarks/parity/run.py`. TRL 1.16.0 and 1.12.0, the last with PPO, each in an environment of its
own with {libraries}; Python {platform.python_version()}, one thread, float32, random Llama models of 2 layers and
width 16. `Δ gradient` is the largest difference in any entry of any parameter's gradient over the largest entry.
Differences that are rounding have one digit and depend on the machine.

## SFT, reward model, DPO, KTO, SimPO, ORPO (TRL 1.16)

The trainers run as their users run them: rows of text in, `train()` for one optimiser step, no clipping. So their
tokenisation, collator, loss and accumulation are compared, with ours.

{comparison(findings.offline)}

TRL's `ipo` averages log-probabilities over the tokens of a response, as ours does; its `sigmoid_norm` is our
`length_normalised`. SimPO is the `simpo` loss of its CPO trainer. KTO pairs each prompt with the response of the row
before, on both sides.

## GRPO and RLOO (TRL 1.16)

`train()` runs as it is for one update of {RESPONSES} responses in groups of {GROUP}, with {STEPS} passes; a callback
reads weights and gradients before each step. Ours takes the sampled tokens and those weights, and computes all else:
rewards, log-probabilities, advantages (equal within 1e-5), loss. Where the table says corrected, TRL's own default is
meant (`use_bias_correction_kl`); elsewhere that is off. By the last step many tokens are clipped.

{comparison(findings.groups)}

RLOO has its penalty in the reward on both sides. GRPO's penalty in the reward, which is our default, is not in TRL.

## PPO (TRL 1.12)

`PPOTrainer.train()` runs as it is for one update of {PPO["responses"]} responses with {PPO["epochs"]} passes:
everything from sampling to the optimiser (`trl/experimental/ppo/ppo_trainer.py`, lines 604 to 910). The functions
that it calls, `backward` and the optimiser's `step` are replaced by ones that call the original and keep what they
saw. Ours takes the sampled tokens and the weights before each step, and computes all else: log-probabilities, scores,
values, rewards, GAE, whitening, both losses. In the last step {findings.figures["last_clip_fraction"]:.0%} of the
tokens are clipped.

{comparison(findings.ppo)}

What the losses are made of, largest difference over counted tokens: {inputs}.

## Defects

The last column is how far the defect alone moves our gradient, as `Δ gradient`, in the last step of the PPO tables
("{findings.ppo[-1].title}").

{defects(findings)}

Not in the loss of a step, and so measured by other figures of the same runs:

{counted(findings)}

### Optimiser steps

What TRL's PPO makes of its settings in one update. With accumulation, `num_mini_batches` changes nothing. And where
the update draws the last prompts of the data, accumulation is off: the optimiser steps at every micro-batch, with a
loss that is still divided by their number. Ours takes `epochs × minibatches` steps, however large the micro-batches.

{optimiser_steps(findings)}

## Not compared

`center_rewards_coefficient` and TRL's other DPO losses (ours has none of them); packing; adapters; more than one
process; PPO with `kl_estimator="k3"`. Memory, speed and resuming are no matter of losses.
""")


def wrapped(text: str) -> str:
    """Paragraphs in lines of at most 120 characters; headings and tables as they are."""
    blocks = text.strip().split("\n\n")
    filled = [block if block[0] in "|#" else fill(block, 120, break_on_hyphens=False) for block in blocks]
    return "\n\n".join(filled) + "\n"
