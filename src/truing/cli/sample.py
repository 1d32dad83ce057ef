"""truing sample."""

import json
from dataclasses import asdict
from pathlib import Path

from truing.cli.output import say
from truing.data.datasets import PromptFile
from truing.runs.directory import RunDirectory
from truing.runs.finished import speaking_stage
from truing.runs.received import received_stage


def sample_command(
    root: Path,
    prompts: Path,
    stage: str | None,
    tokens: int | None,
    temperature: float | None,
    best_of: int,
    reward: str | None,
    seed: int | None,
    trust: bool,
) -> None:
    """Prints a line of JSON for each prompt: where it stands, and the answer; all in ASCII, so nothing is lost."""
    run = RunDirectory(root)
    stage = speaking_stage(run, stage)
    transcripts = received_stage(run, stage).recipe.data.transcripts
    file = PromptFile.read(prompts, transcripts, columns=reward is not None)
    from truing.results import naming_consent, open_result  # imports torch
    from truing.sample import reward_for, sample_file

    scorer = reward_for(run, reward, best_of)
    with naming_consent(run, stage, trust):
        model = open_result(run, stage, trust)
    for answer in sample_file(model, file, tokens, temperature, best_of, scorer, seed):
        say(json.dumps({key: value for key, value in asdict(answer).items() if value is not None}))
