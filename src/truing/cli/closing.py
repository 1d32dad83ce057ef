"""What a run says when it is done: a table in words."""

from typing import Any

from rich.console import Console
from rich.table import Table

from truing.runs.directory import RunDirectory
from truing.runs.files import read_json


def closing_table(run: RunDirectory, console: Console) -> None:
    """One row a stage, its warnings below, and where the report is."""
    table = Table("stage", "time", "result", box=None, pad_edge=False)
    warnings = []
    for stage in run.lineage.stages:
        result = read_json(run.stage(stage.name).result)
        table.add_row(stage.name, f"{stage.seconds or 0:.0f} s", WORDS[stage.kind](result))
        warnings += [f"{stage.name}: {sentence}" for sentence in result.get("warnings", [])]
    console.print(table)
    for warning in warnings:
        console.print(warning, style="yellow", markup=False, highlight=False)
    console.print(f"report: {run.report}", markup=False, highlight=False, soft_wrap=True)


def _sft(result: dict[str, Any]) -> str:
    return f"held-out loss {result['heldout_loss_before']:.2f} → {result['heldout_loss']:.2f} nats a token"


def _reward(result: dict[str, Any]) -> str:
    low, high = result["heldout_accuracy_ci95"]
    return (
        f"agrees with {result['heldout_accuracy']:.0%} of {result['heldout_pairs']} held-out judgements "
        f"({low:.0%} to {high:.0%}); 'the longer wins' {result['longer_wins_accuracy']:.0%}"
    )


def _ppo(result: dict[str, Any]) -> str:
    return f"β {result['beta']:g}: {_policy(result)}"


def _dpo(result: dict[str, Any]) -> str:
    return f"β {result['beta']:g}, {result['variant']}: {_reward(result)}; {_policy(result)}"


def _policy(result: dict[str, Any]) -> str:
    """What changed on held-out prompts: the score where there is one, every judge, and the price in nats."""
    changes = {name: (figures["first"], figures["last"]) for name, figures in result["judges"].items()}
    if "heldout_score_last" in result:
        changes = {"held-out score": (result["heldout_score_first"], result["heldout_score_last"])} | changes
    words = [f"{name} {first:+.2f} → {last:+.2f}" for name, (first, last) in changes.items()]
    return "; ".join([*words, f"KL {result['heldout_kl_last']:z.1f} nats"])


WORDS = {"sft": _sft, "reward": _reward, "ppo": _ppo, "dpo": _dpo}
