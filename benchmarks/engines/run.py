"""The same PPO by the local engine and by a vLLM server: score, KL, how far the two computations are apart, seconds.

    python benchmarks/engines/run.py --base DIR --url http://localhost:8000 [--updates 10] [--episodes 32] [--seeds 17]
        [--staleness 0 1]

The server is started beforehand, in an environment of its own: without --url the local engine runs alone, and what it
leaves in --cache is not run again. Prints the tables of docs/engines.md and docs/asynchronous.md.
"""

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

REWARD = """
GOOD = {"good", "great", "love", "loved", "best", "beautiful", "wonderful", "funny", "fun", "well", "happy"}


def score(prompts, responses):
    return [float(sum(word.strip(".,!?;:").lower() in GOOD for word in text.split())) for text in responses]
"""
RECIPE = """
name: engines
data: {{prompts: {{path: prompts.jsonl}}}}
base: {{path: "{base}"}}
stages: [ppo]
rewards: {{sources: [{{kind: function, path: "reward.py:score", normalise: false}}]}}
ppo: {{updates: {updates}, episodes: {episodes}, optimiser: {{learning_rate: 3.0e-4, warmup: 0.1}}}}
rollout: {{max_new_tokens: {tokens}}}
evaluation: {{prompts: 4, every: 1000}}
"""
OPENINGS = itertools.product(
    ("The film", "This movie", "The story", "The cast", "The ending", "The music", "Her acting", "His direction"),
    ("is", "was", "seems", "felt", "looks", "turned out", "could be", "has been"),
    ("really", "so", "very", "quite"),
)
UPDATE = (
    "engine_mismatch",
    "engine_ratio_mean",
    "engine_ratio_max",
    "engine_ratio_capped",
    "sync_mismatch",
    "staleness_shift",
)
SECONDS = ("sync_s", "rollout_s", "score_s", "learn_s")
PHASES = SECONDS[1:]
"""That make up an update; the sync is a part of its rollout"""


def prepare(cache: Path, base: Path, updates: int, episodes: int, tokens: int) -> None:
    """Prompts, reward and recipe."""
    cache.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"prompt": " ".join(opening)}) + "\n" for opening in OPENINGS]
    (cache / "prompts.jsonl").write_text("".join(lines), encoding="utf-8")
    (cache / "reward.py").write_text(REWARD, encoding="utf-8")
    recipe = RECIPE.format(base=base.absolute(), updates=updates, episodes=episodes, tokens=tokens)
    (cache / "recipe.yaml").write_text(recipe, encoding="utf-8")


def updates_of(cache: Path, name: str, changes: list[str]) -> list[dict[str, Any]]:
    """The metrics of every update of a run, which goes on where it was begun."""
    out = cache / name
    command = [sys.executable, "-m", "truing", "run", str(cache / "recipe.yaml"), "--out", str(out)]
    subprocess.run([*command, *(part for change in changes for part in ("--set", change))], check=True)
    lines = (out / "ppo" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines][1:]


def row(engine: str, seed: int, rows: list[dict[str, Any]]) -> str:
    """A line of the table: first and last update, and means of seconds over all but the first, that of all phases last.

    Of what an update measures of its server, it is the largest value of all.
    """
    first, last = rows[0], rows[-1]
    seconds = {name: fmean(one.get(name, 0.0) for one in rows[1:]) for name in SECONDS}
    worst = {name: max((one[name] for one in rows if name in one), default=None) for name in UPDATE}
    shown = ["" if value is None else f"{value:.2g}" if value < 1 else f"{value:.4f}" for value in worst.values()]
    cells = [
        engine,
        str(seed),
        f"{first['score']:.2f} → {last['score']:.2f}",
        f"{last['kl']:.2f}",
        f"{last['entropy']:.2f}",
        f"{last['length']:.1f}",
        f"{last['heldout_score']:.2f}",
        f"{last['heldout_kl']:.2f}",
        *shown,
        *(f"{value:.2f}" for value in seconds.values()),
        f"{sum(seconds[name] for name in PHASES):.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Runs both sides and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=Path("engines-cache"))
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--url")
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--episodes", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--seeds", type=int, nargs="+", default=[17])
    parser.add_argument("--staleness", type=int, nargs="+", default=[0], help="of the server, one run for each")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE for both sides, as of truing run")
    given = parser.parse_args()
    prepare(given.cache, given.base, given.updates, given.episodes, given.tokens)
    served = ["rollout.engine=vllm", f"rollout.vllm.url={given.url}"]
    sides = {"local": []} | {
        f"vllm-{age}": [*served, f"rollout.max_staleness={age}"] for age in given.staleness if given.url
    }
    heading = [
        "engine",
        "seed",
        "score",
        "KL",
        "entropy",
        "length",
        "held-out score",
        "held-out KL",
        *UPDATE,
        *SECONDS,
        "update",
    ]
    lines = [f"| {' | '.join(heading)} |", f"|{'---|' * len(heading)}"]
    for seed in given.seeds:
        for engine, changes in sides.items():
            rows = updates_of(given.cache, f"{engine}-{seed}", [f"seed={seed}", *changes, *given.set])
            lines.append(row(engine, seed, rows))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
