"""Responses of very different lengths: what padding and finished rows cost, by truing, TRL 1.12 and generate.

    python benchmarks/ragged/run.py [--cache DIR] [--model DIR] [--episodes 8] [--longest 128] [--rounds 3]

Writes docs/results/performance-ragged.md.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import tables
from harness.environments import environment
from harness.options import Options, options, parser
from harness.prompts import even, prompts, ragged
from harness.sides import Measured, Side, alternate, refuse_unequal
from harness.tables import Target, gigabytes, table
from ppo.sides import NAMES, Work
from ppo.sides import sides as ppo_sides

BENCHMARKS = Path(__file__).resolve().parents[1]
SHORTEST, PROMPT = 4, 16
TITLES = NAMES | {"even": "truing, the same tokens in rows of one length", "generate": "Hugging Face generate"}
INTRODUCTION = """
# Ragged responses

One PPO update whose responses differ in length, each the same factor longer than the one before. Written by
`python benchmarks/ragged/run.py`. Lengths are forced, the same on both sides: on ours by the draws (a draw at the end
of the range gives the last token of the vocabulary, which is the eos there), in TRL by cutting what it generated, in
`generate` by the scores of the eos.

- TRL generates to the full length whatever ends before, and cuts afterwards; its reward model, reference, policy and
  critic run over the padding. That is its default, and its way with `stop_token="eos"` too where one row is long.
- `generate` stops when the longest row is done; until then it computes finished rows as well.
- The last side of ours learns from as many tokens in rows of one length: there is nothing to pad.
"""


def sides(work: Work, choices: Options) -> list[Side]:
    """Ours, ours without padding, TRL's two, and generate."""
    scratch = choices.scratch("ragged")
    equal = replace(work, lengths=tuple(even(list(work.lengths))))
    (level,) = ppo_sides(equal, ["shared"], scratch, choices)
    batch = {
        "name": "rollout",
        "prompts": prompts(len(work.lengths), PROMPT, work.config["vocab_size"]),
        "lengths": work.lengths,
    }
    told = {"model": str(work.model), "repeats": work.repeats, "batches": [batch]}
    python = environment("trl-1.12", choices.cache)
    generate = Side("generate", python, BENCHMARKS / "rollout" / "peer.py", told)
    return [
        *ppo_sides(work, ["shared", "trl", "trl-peft"], scratch, choices),
        replace(level, name="even"),
        generate,
    ]


def results(measured: dict[str, Measured], tokens: int) -> str:
    """A row a side; generate has no more than a rollout."""
    rows = []
    for name, side in measured.items():
        cells = [
            f"{side.median(phase):.2f}" if phase in side.seconds else "" for phase in ("rollout", "score", "learn")
        ]
        rows.append([TITLES[name], *cells, f"{tokens / side.median('rollout'):.1f}", gigabytes(side.peak)])
    head = ["side", "rollout, s", "score, s", "learn, s", "counted tokens/s of the rollout", "peak, GB"]
    return table(head, rows)


def wanted(measured: dict[str, Measured]) -> list[Target]:
    """What was to be reached, and the whole update against TRL's."""
    ours = measured["shared"]
    found = []
    if "generate" in measured:
        ratio = measured["generate"].median("rollout") / ours.median("rollout")
        found.append(Target("rollout: times as fast as generate", 2.5, ratio))
    if "even" in measured:
        ratio = ours.median("learn") / measured["even"].median("learn")
        found.append(Target("learning: over the same tokens without padding", 1.15, ratio, at_most=True))
    return found


def against(measured: dict[str, Measured]) -> str:
    """The whole update, in words."""
    ours = measured["shared"].total
    peers = [name for name in ("trl", "trl-peft") if name in measured]
    words = [f"{measured[name].total / ours:.2f} times as fast as {TITLES[name]}" for name in peers]
    return f"The whole update, {TITLES['shared']}: {'; '.join(words)}." if words else ""


def main() -> None:
    """Measure, print, write the page."""
    asked = parser(__doc__ or "", "performance-ragged.md")
    asked.add_argument("--episodes", type=int, default=8, help="responses (%(default)s)")
    asked.add_argument("--longest", type=int, default=128, help="tokens of the longest response (%(default)s)")
    asked.add_argument("--without", nargs="+", default=[], help="sides to leave out, such as trl-peft")
    told = asked.parse_args()
    choices, lengths = options(told), tuple(ragged(told.episodes, SHORTEST, told.longest))
    work = Work(choices.model, PROMPT, lengths, epochs=1, minibatches=1, repeats=1)
    run = [side for side in sides(work, choices) if side.name not in told.without]
    measured = alternate(run, choices.rounds, choices.scratch("ragged"), choices.threads)
    refuse_unequal({name: side for name, side in measured.items() if name != "generate"})
    spread = ", ".join(map(str, sorted(lengths)))
    about = f"{told.episodes} prompts of {PROMPT} tokens, responses of {spread} tokens, 1 epoch."
    tables.write(
        choices.page,
        INTRODUCTION,
        about,
        results(measured, sum(lengths)),
        against(measured),
        tables.targets(wanted(measured)),
        choices.conditions,
    )
    tables.tell(wanted(measured))


if __name__ == "__main__":
    main()
