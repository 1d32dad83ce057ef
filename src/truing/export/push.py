"""An exported directory, pushed to the Hugging Face Hub by its own client, whose log-in is the client's alone."""

from pathlib import Path

from huggingface_hub import HfApi

from truing.core.errors import RunError, first_line

LOG_IN = "Log in once with `hf auth login`, or set HF_TOKEN; the token has to be allowed to write."


def push(directory: Path, repository: str, endpoint: str | None = None) -> str:
    """Makes a private repository where there is none, uploads all files in one commit, and gives its address.

    Raises:
        RunError: the Hub refuses, or cannot be reached.
    """
    api = HfApi(endpoint=endpoint)
    try:
        made = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=made.repo_id, folder_path=directory, commit_message="A result of truing")
    except Exception as error:  # what a network raises is of the library that the client happens to call
        what = f"could not be pushed to {repository} ({first_line(error)})."
        raise RunError(what, code="run/not-pushed", where=str(directory), hint=LOG_IN) from error
    return str(made)
