"""Whether the server that is to sample for a stage is there, before any stage is paid for. Imports torch."""

from truing.config.plan import Planned
from truing.config.sections import Base
from truing.data.prepared import Prepared
from truing.models.layout import trained_role
from truing.models.load import outline_base
from truing.rollout.selection import check_server


def server_remarks(stage: Planned, rows: Prepared, start: Base | None) -> list[str]:
    """Asks the server of a stage that has one, if it can be there yet.

    Args:
        stage: whose prompts it is to answer.
        rows: of the run, with these prompts.
        start: the model that it is to serve; None where an earlier stage has yet to make it.

    Returns:
        A sentence where it cannot be there yet, or says that it serves another model.

    Raises:
        EngineError: it is not there, or is not one that could do.
    """
    recipe = stage.recipe
    if recipe.rollout.engine == "local" or not stage.spec.must_be_scored:
        return []
    if start is None:
        return [
            f"{stage.name}: what {stage.spec.starts_from} makes is to be served at {recipe.rollout.vllm.url} by then: "
            f"where it is not, the run ends before {stage.name} with the command that serves it, and the same command "
            "goes on"
        ]
    base = outline_base(start, recipe.compute, fetch=False)
    policy = trained_role(base, "policy", recipe.lora, recipe.seed)
    return check_server(recipe, policy, base, rows.prompts(recipe).train, stage.name)
