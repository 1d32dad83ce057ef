"""Optimiser steps of truing's SFT, reward and DPO stages: their data path, their losses, their learner."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from harness.child import Stopwatch, report, work

from truing.config.defaults import ON_CPU, given, sizes_left_out
from truing.config.recipe import Recipe
from truing.config.sections import Data, Optimiser
from truing.config.variants import with_changes
from truing.core.records import Demonstration, Preference
from truing.core.rows import PairRows, TokenRows
from truing.data.chat import write_prompt
from truing.data.encode import EncodedRow, Record, encode_records
from truing.kernels.cpu.products import computed_by
from truing.models.layout import policy_roles, trained_role
from truing.models.load import LoadedBase, load_base
from truing.models.roles import Role
from truing.pipeline.products import products_of_machine
from truing.stages.dpo import preference_loss, with_reference
from truing.stages.reward import pair_loss
from truing.stages.sft import completion_loss
from truing.training.learner import Learner, Trained

Step = Callable[[Sequence[int]], Any]
"""One optimiser step on these rows"""

RATES = {"sft": 2e-4, "reward": 2e-4, "dpo": 5e-5}


def recipe_of(told: dict[str, Any]) -> Recipe:
    """With every setting that is not told as truing has it."""
    recipe = Recipe.model_validate(
        {
            "base": {"path": told["model"]},
            "lora": {"rank": told["rank"], "alpha": 2.0 * told["rank"]},
            **{stage: {"optimiser": {"learning_rate": rate}} for stage, rate in RATES.items()},
            "compute": {"device": "cpu", "threads": told["threads"]},
        }
    )
    return with_changes(recipe, {key: size for key, size in ON_CPU.items() if key in sizes_left_out(recipe)})


def learner_of(role: Role, optimiser: Optimiser, recipe: Recipe, told: dict[str, Any]) -> Learner:
    """For the step that is not measured, and those that are."""
    trained = Trained("policy", role, given(optimiser.learning_rate))
    return Learner([trained], optimiser, told["steps"] + 1, given(recipe.compute.learn_tokens))


def sft(recipe: Recipe, told: dict[str, Any]) -> tuple[Step, list[int]]:
    """The step, and the tokens of every row."""
    base = load_base(recipe.base, recipe.compute)
    rows = encoded(base, [Demonstration(**row, where="") for row in told["rows"]], "completion")
    batch = token_rows(base, rows, "completion")
    policy = trained_role(base, "policy", recipe.lora, recipe.seed)
    learner = learner_of(policy, recipe.sft.optimiser, recipe, told)
    return lambda rows: learner.train_step(
        batch.rows(rows), lambda part: completion_loss(policy, part)
    ), batch.token_counts


def reward(recipe: Recipe, told: dict[str, Any]) -> tuple[Step, list[int]]:
    """The same for the reward model."""
    base = load_base(recipe.base, recipe.compute)
    pairs = pairs_of(base, told)
    model = trained_role(base, "reward", recipe.lora, recipe.seed, head=True)
    learner = learner_of(model, recipe.reward.optimiser, recipe, told)
    return (
        lambda rows: learner.train_step(pairs.rows(rows), lambda part: pair_loss(model, part, recipe.reward)),
        pairs.token_counts,
    )


def dpo(recipe: Recipe, told: dict[str, Any]) -> tuple[Step, list[int]]:
    """The same for DPO; the reference's pass over the rows belongs to the step."""
    roles = policy_roles(recipe, recipe.base, None)
    pairs = pairs_of(roles.base, told)
    learner = learner_of(roles.policy, recipe.dpo.optimiser, recipe, told)

    def step(rows: Sequence[int]) -> None:
        referenced = with_reference(roles.reference, pairs.rows(rows), recipe)
        learner.train_step(referenced, lambda part: preference_loss(roles.policy, part, recipe.dpo))

    return step, pairs.token_counts


def pairs_of(base: LoadedBase, told: dict[str, Any]) -> PairRows:
    rows = encoded(base, [Preference(**row, where="") for row in told["rows"]], "chosen", "rejected")
    return PairRows(token_rows(base, rows, "chosen"), token_rows(base, rows, "rejected"), [row.margin for row in rows])


def token_rows(base: LoadedBase, rows: Sequence[EncodedRow], completion: str) -> TokenRows:
    responses = [row.completions[completion] for row in rows]
    return TokenRows([row.prompt for row in rows], responses, base.tokenizer.pad_token_id, [""] * len(rows))


def encoded(base: LoadedBase, records: Sequence[Record], *completions: str) -> list[EncodedRow]:
    form = base.text_format(Data())
    return encode_records(records, completions, form, partial(write_prompt, form))[0]


def main() -> None:
    """One step, then as many as are told; products are computed as in a run."""
    told = work()
    with computed_by(products_of_machine(told["threads"])):
        measure(told)


def measure(told: dict[str, Any]) -> None:
    """The steps, and the file that says how long they took."""
    watch = Stopwatch()
    step, tokens = {"sft": sft, "reward": reward, "dpo": dpo}[told["stage"]](recipe_of(told), told)
    size = told["batch"]
    batches = [range(start, start + size) for start in range(0, size * (told["steps"] + 1), size)]
    step(batches[0])
    watch.start()
    for batch in batches[1:]:
        step(batch)
    watch.lap("steps")
    report(told, watch.seconds, tokens=[sum(tokens[row] for row in batch) for batch in batches])


if __name__ == "__main__":
    main()
