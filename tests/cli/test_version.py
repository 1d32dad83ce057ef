"""`truing --version`: one screen that a report of a fault can be read by, at once and on any machine."""

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cli.test_main import IMPORTED

import truing as package
from truing.cli import version

ROOT = Path(__file__).resolve().parents[2]


def test_the_first_line_is_the_version_and_one_screen_says_the_rest(truing: Any) -> None:
    first, *rest = truing("--version").out.splitlines()
    assert first == f"truing {package.__version__}"
    said = dict(line.split(maxsplit=1) for line in rest)
    assert list(said) == ["installed", "python", "libraries", "platform", "processor", "threads", "gpu"]
    assert said["installed"].startswith(f"{ROOT / 'src' / 'truing'}, ")
    assert said["python"] == f"{platform.python_version()} (CPython) at {sys.executable}"
    for library in ("torch", "transformers", "peft", "datasets"):
        assert f"{library} {metadata.version(library)}" in said["libraries"].split(", ")
    assert said["platform"] == platform.platform()
    assert said["threads"].startswith(f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores")


def test_no_library_for_models_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTED, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "imported: []"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the code lies as in a clone or an environment."""
    monkeypatch.setattr(version, "__file__", str(tmp_path / "src" / "truing" / "cli" / "version.py"))
    return tmp_path


def test_a_clone_has_its_commit_and_whether_it_was_changed(elsewhere: Path) -> None:
    def git(*arguments: str) -> str:
        own = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(elsewhere), *own, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    assert version.source() == "a clone at an unknown commit"
    (elsewhere / "file").write_text("1")
    git("add", "file")
    git("commit", "-qm", "x")
    git("tag", "a-name")
    commit = git("rev-parse", "HEAD")[:12]
    assert version.source() == f"a clone at commit {commit}"
    (elsewhere / "file").write_text("2")
    assert version.source() == f"a clone at commit {commit}-dirty"


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        (None, "from a package"),
        ({"url": "file:///x", "dir_info": {}}, "from a package"),
        ({"url": "https://example.org/x", "vcs_info": {"vcs": "git", "commit_id": "abc123"}}, "from commit abc123"),
    ],
)
def test_what_pip_installed_has_the_commit_that_pip_recorded(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, origin: Any, said: str
) -> None:
    folder = elsewhere / "truing-0.2.0.dist-info"
    folder.mkdir()
    if origin:
        (folder / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.setattr(version.metadata, "distribution", lambda name: metadata.PathDistribution(folder))
    assert version.source() == said


def test_what_is_not_installed_at_all_is_said(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(version.metadata, "distribution", none)
    monkeypatch.setattr(version.metadata, "version", none)
    assert version.source() == "a copy that is not installed"
    assert version.libraries() == [f"{name} missing" for name in version.LIBRARIES]


NVIDIA = "#!/bin/sh\necho 'NVIDIA H200, 143771 MiB, 570.1'\necho 'NVIDIA H200, 143771 MiB, 570.1'\n"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (NVIDIA, "NVIDIA H200, 143771 MiB, 570.1; NVIDIA H200, 143771 MiB, 570.1"),
        ("#!/bin/sh\nexit 9\n", "nvidia-smi does not answer"),
        ("#!/bin/sh\nexec sleep 9\n", "nvidia-smi does not answer"),
        (None, "no NVIDIA driver found"),
    ],
)
def test_gpus_are_those_that_the_driver_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, said: str
) -> None:
    if program:
        (tmp_path / "nvidia-smi").write_text(program)
        (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setattr(version, "SECONDS", 0.5)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin" if program else str(tmp_path))
    assert version.gpus() == said
