"""Batches of responses by truing's sampler, as the PPO stage asks for them."""

from typing import Any

from harness.child import Stopwatch, report, work
from ppo.ours import forced

from truing.config.recipe import Recipe
from truing.data.encode import EncodedPrompt
from truing.kernels.cpu.products import computed_by
from truing.models.layout import Roles, policy_roles
from truing.models.roles import Role
from truing.pipeline.products import products_of_machine
from truing.rollout import episodes
from truing.rollout.local import LocalEngine


def recipe_of(told: dict[str, Any], batch: dict[str, Any], new_tokens: int) -> Recipe:
    """One that samples this batch at once."""
    rows = len(batch["prompts"])
    return Recipe.model_validate(
        {
            "base": {"path": told["model"]},
            "lora": {"rank": told["rank"], "alpha": 2.0 * told["rank"]} | told["lora"],
            "rollout": {"max_new_tokens": new_tokens},
            "compute": {"device": "cpu", "threads": told["threads"], "rollout_rows": rows},
        }
    )


def respond(role: Role, roles: Roles, recipe: Recipe, batch: dict[str, Any]) -> None:
    """Responses of the batch's lengths, or of the recipe's if that is shorter."""
    prompts = [EncodedPrompt("", tuple(prompt)) for prompt in batch["prompts"]]
    with forced(batch["lengths"], roles):
        said = episodes.respond(LocalEngine(role), prompts, recipe, roles.base, "rollout")
    wanted = [min(length, recipe.rollout.max_new_tokens) for length in batch["lengths"]]
    if said.sequences.response_lengths.tolist() != wanted:
        raise RuntimeError(f"lengths {said.sequences.response_lengths.tolist()} where {wanted} were forced")


def main() -> None:
    """Every batch: two tokens first, then all of them as often as is told; products are computed as in a run."""
    told = work()
    with computed_by(products_of_machine(told["threads"])):
        measure(told)


def measure(told: dict[str, Any]) -> None:
    """The batches, and the file that says how long they took."""
    batches = told["batches"]
    roles = policy_roles(whole := recipe_of(told, batches[0], 2), whole.base, None)
    role, watch = roles.policy if told["adapted"] else roles.reference, Stopwatch()
    for batch in batches:
        respond(role, roles, recipe_of(told, batch, 2), batch)
        for _ in range(told["repeats"]):
            watch.start()
            respond(role, roles, recipe_of(told, batch, max(batch["lengths"])), batch)
            watch.lap(batch["name"])
    report(told, watch.seconds, new_tokens=[sum(batch["lengths"]) for batch in batches])


if __name__ == "__main__":
    main()
