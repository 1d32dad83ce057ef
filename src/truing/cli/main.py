"""The commands, and what becomes of an error. Heavy imports wait inside the commands, so that --help is quick."""

import logging
import sys
import warnings
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Literal

import typer

from truing.cli.label import label
from truing.cli.options import AnswerSeed, AnswerTemperature, AnswerTokens, Overrides, Pipeline, SpeakingStage, Tensor
from truing.cli.output import show_traceback, tell
from truing.cli.round import round_command
from truing.core.errors import TruingError
from truing.processes import started

app = typer.Typer(
    help="Align a language model with human preferences, and see whether it can be trusted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="--debug anywhere on the line shows the traceback of an error.",
)

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped recipe.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Tokens = Annotated[int, typer.Option("--tokens", min=1, help="Longest response, in tokens.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0.01, help="Of the sampling.")]
TrustCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run Python code in the result's directory: read it before.")
]


@app.command()
def run(
    recipe: RecipeFile,
    out: Annotated[Path | None, typer.Option(help="Run directory; without it, runs/NAME of the recipe.")] = None,
    set_: Overrides = None,
    fork_to: Annotated[
        Path | None,
        typer.Option(help="New run directory: takes over the stages of --out that the recipe leaves alike."),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes on this machine that share the work; torchrun starts them on several.")
    ] = 1,
    tp: Tensor = 1,
    pp: Pipeline = 1,
) -> None:
    """Run a recipe, or go on with a run that was interrupted; a finished run is left as it is."""
    from truing.cli.run import run_command

    run_command(recipe, out, set_ or [], fork_to, processes, tp, pp)


@app.command()
def sweep(
    recipe: RecipeFile,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE[,VALUE...]", help="One value overrides a field, several make a grid."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each point: the recipe's seed and those after it.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, each a process of its own.")] = 1,
    best_of: Annotated[
        int,
        typer.Option(min=1, help="Responses of the start to each held-out prompt, for best-of-n; 1 for no baseline."),
    ] = 64,
    out: Annotated[Path | None, typer.Option(help="Directory of the sweep; without it, runs/NAME-sweep.")] = None,
) -> None:
    """Run a recipe over a grid of options and seeds, and draw reward against KL; an interrupted one goes on."""
    from truing.cli.sweep import sweep_command

    sweep_command(recipe, set_ or [], seeds, jobs, best_of, out)


@app.command()
def validate(
    recipe: RecipeFile,
    set_: Overrides = None,
    processes: Annotated[int, typer.Option(min=1, help="Whether so many could share the work.")] = 1,
    tp: Tensor = 1,
    pp: Pipeline = 1,
) -> None:
    """Check a recipe and its data without running anything."""
    from truing.cli.validate import validate_command

    validate_command(recipe, set_ or [], processes, tp, pp)


@app.command()
def migrate(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file, rewritten in place.")],
    to: Annotated[Path | None, typer.Option(help="Write this new file instead, in the same folder.")] = None,
) -> None:
    """Rewrite a recipe of an older truing with the keys of today; its comments stay where they can."""
    from truing.cli.migrate import migrate_command

    migrate_command(recipe, to)


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe.")] = None,
    copy: Annotated[Path | None, typer.Option(help="Copy the named recipe to this new file instead.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print every field and default as JSON Schema.")] = False,
) -> None:
    """List the shipped recipes, print one or copy one."""
    from truing.cli.recipes import recipes_command

    recipes_command(name, copy, schema)


@app.command()
def report(run: RunPath) -> None:
    """Write the report of a run again and print where it is."""
    from truing.cli.report import report_command

    report_command(run)


@app.command()
def chat(
    run: RunPath,
    stage: SpeakingStage = None,
    tokens: Tokens = 64,
    temperature: Temperature = 1.0,
    trust_remote_code: TrustCode = False,
) -> None:
    """Talk to the start and to the result of a run, side by side."""
    from truing.cli.chat import chat_command

    chat_command(run, stage, tokens, temperature, trust_remote_code)


@app.command()
def sample(
    run: RunPath,
    prompts: Annotated[Path, typer.Argument(metavar="PROMPTS", help="Rows with a prompt.")],
    stage: SpeakingStage = None,
    tokens: AnswerTokens = None,
    temperature: AnswerTemperature = None,
    best_of: Annotated[int, typer.Option(min=1, help="Draw so many to each prompt, and give the best scored.")] = 1,
    reward: Annotated[
        str | None,
        typer.Option(help="Scores them: what truing judge takes; without it, the run's reward model."),
    ] = None,
    seed: AnswerSeed = None,
    trust_remote_code: TrustCode = False,
) -> None:
    """Answer a file of prompts with the result of a run: a line of JSON each."""
    from truing.cli.sample import sample_command

    sample_command(run, prompts, stage, tokens, temperature, best_of, reward, seed, trust_remote_code)


@app.command()
def export(
    run: RunPath,
    to: Annotated[Path, typer.Option(help="New directory for it.")],
    stage: SpeakingStage = None,
    adapter: Annotated[bool, typer.Option("--adapter", help="The adapter alone, for who has the base.")] = False,
    gguf: Annotated[
        Literal["auto", "f32", "f16", "bf16", "q8_0"] | None,
        typer.Option(help="Write a GGUF file too, with numbers of this kind, by llama.cpp's converter."),
    ] = None,
    converter: Annotated[Path | None, typer.Option(help="That converter, where it is not on PATH.")] = None,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Push it to this repository of the Hugging Face Hub too.")
    ] = None,
    trust_remote_code: TrustCode = False,
) -> None:
    """Write the result of a run in the forms that servers load, with its card."""
    from truing.cli.export import export_command

    export_command(run, to, stage, adapter, gguf, converter, push, trust_remote_code)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories, the first to compare with.")],
    prompts: Annotated[int, typer.Option(min=0, help="Held-out prompts whose answers are shown.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Write all of it to this file too, as JSON.")] = None,
) -> None:
    """Put runs side by side: what differs between them, their figures and their answers."""
    from truing.cli.compare import compare_command

    compare_command(runs, prompts, out)


@app.command()
def score(
    run: RunPath,
    rows: Annotated[Path, typer.Argument(metavar="ROWS", help="Rows of prompt and completion, or of messages.")],
    stage: Annotated[str | None, typer.Option(help="Whose reward model; without it, the run's first.")] = None,
) -> None:
    """Score rows of one's own with the reward model of a run; of several members, by the mean of their scores."""
    from truing.cli.score import score_command

    score_command(run, rows, stage)


@app.command()
def judge(
    reward: Annotated[
        str,
        typer.Argument(
            metavar="REWARD",
            help="A run, its reward stage, the directory or Hub id of a sequence classifier, file.py:function, or "
            "recipe.yaml:judge, one of its llm_judges.",
        ),
    ],
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS", help="Pairs that it has not learnt from.")],
    stage: Annotated[str | None, typer.Option(help="Of a run: whose reward model; without it, its first.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the report card to this file too, as JSON.")] = None,
) -> None:
    """Put a reward to the test on pairs: its report card, and what to do where it does not pass."""
    from truing.cli.judge import judge_command

    judge_command(reward, pairs, stage, out)


app.command()(label)
app.command("round")(round_command)


@app.command()
def doctor(
    recipe: Annotated[
        Path | None,
        typer.Argument(metavar="[RECIPE]", help="Predict the memory and time of this recipe.", show_default=False),
    ] = None,
    set_: Overrides = None,
    processes: Annotated[
        int, typer.Option(min=1, help="With a recipe: what each of so many takes, and which launches fit.")
    ] = 1,
    tp: Tensor = 1,
    pp: Pipeline = 1,
) -> None:
    """Say what this machine has; with a recipe, what each of its stages will need and whether that fits."""
    from truing.cli.doctor import doctor_command

    doctor_command(recipe, set_ or [], processes, tp, pp)


Shown = Annotated[bool, typer.Option("--version", help="Print the version, and what a report of a fault needs.")]


@app.callback(invoke_without_command=True)
def version(show: Shown = False) -> None:
    if show:
        from truing.cli.version import version_command

        version_command()
        raise typer.Exit


def main() -> None:
    """The entry point: exit 0 done, 2 the input was wrong, 1 anything else, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may have what a terminal cannot show
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    if not (debug or sys.warnoptions):
        warnings.filterwarnings("ignore", module=r"(?!truing\.)")  # libraries warn programmers, who have --debug
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # likewise, wherever it is installed
    try:
        app(arguments, prog_name="truing")
    except SystemExit as leaving:  # which is how typer ends
        if _is_ctrl_c(leaving) and started.is_first():
            goes_on = (
                " The same command goes on from what is saved, or begins again."
                if arguments[:1] in (["run"], ["sweep"], ["round"])
                else ""
            )
            tell(f"interrupted.{goes_on}")
        raise
    except TruingError as error:
        _complain(str(error), debug)
        sys.exit(error.exit_code)
    except Exception as error:
        _complain(f"unexpected {type(error).__name__}: {error}. This is a fault of truing; --debug shows where.", debug)
        sys.exit(1)


def _is_ctrl_c(leaving: SystemExit) -> bool:
    """Whether this is what typer makes of Ctrl-C. What commands themselves leave with has been told."""
    reason = leaving.__context__
    return reason is not None and isinstance(reason.__cause__, KeyboardInterrupt)


def _complain(text: str, debug: bool) -> None:
    if debug:
        sys.excepthook = show_traceback
        raise
    tell(text)
