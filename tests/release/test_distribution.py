"""Wheel and sdist: what is in them, and that a wheel runs where no clone is."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = ("constraints.txt", "constraints-lowest.txt")
SMALL = (
    "world={demonstrations: 96, preferences: 64, prompts: 40}",
    "sft.epochs=1",
    "reward.epochs=1",
    "ppo.updates=1",
    "ppo.episodes=8",
    "rollout.max_new_tokens=8",
    "evaluation.prompts=8",
    "variants={}",
    "on_unsound_reward=go_on",  # two steps teach it nothing
)
"""The quickstart in seconds"""


OWN = ("tests/config", "tests/functional", "tests/docs/test_pages.py")
"""Some of an sdist's own tests"""


class Built(NamedTuple):
    wheel: Path
    sdist: Path


def build(source: Path, to: Path, *kinds: str) -> list[Path]:
    """What hatchling makes of a folder, by name."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(to), *kinds]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    return sorted(to.iterdir())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both, of this project."""
    pytest.importorskip("hatchling")
    return Built(*build(ROOT, tmp_path_factory.mktemp("dist")))


@pytest.fixture(scope="module")
def unpacked(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that comes out of the sdist."""
    to = tmp_path_factory.mktemp("sdist")
    with tarfile.open(built.sdist) as archive:
        archive.extractall(to, filter="data")
    (folder,) = to.iterdir()
    return folder


def files_below(folder: Path) -> dict[str, bytes]:
    """Path and content of each, but for what Python leaves behind."""
    found = (file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in found}


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_wheel_has_the_package_the_recipes_and_nothing_else(built: Built) -> None:
    inside = content(built.wheel)
    package = {f"truing/{name}": file for name, file in files_below(ROOT / "src" / "truing").items()}
    recipes = {f"truing/recipes/{name}": file for name, file in files_below(ROOT / "recipes").items()}
    about = {name: file for name, file in inside.items() if name.partition("/")[0].endswith(".dist-info")}
    assert inside == {**package, **recipes, **about}
    assert {"truing/py.typed", "truing/report/template.html", "truing/recipes/quickstart.yaml"} < inside.keys()


def test_an_sdist_has_what_its_tests_and_pages_need_and_makes_the_same_wheel(
    built: Built, unpacked: Path, tmp_path: Path
) -> None:
    inside = files_below(unpacked)
    for folder in ("src", "recipes", "tests", "docs", "examples", "benchmarks"):
        there = {f"{folder}/{name}": file for name, file in files_below(ROOT / folder).items()}
        assert there.items() <= inside.items()
    for name in ("pyproject.toml", "Makefile", "README.md", "LICENSE", "CHANGELOG.md", *CONSTRAINTS):
        assert inside[name] == (ROOT / name).read_bytes()
    (again,) = build(unpacked, tmp_path, "-t", "wheel")
    assert content(again) == content(built.wheel)


def test_what_an_index_is_told_is_sound(built: Built, unpacked: Path) -> None:
    (name,) = [name for name in content(built.wheel) if name.endswith(".dist-info/METADATA")]
    text = content(built.wheel)[name]
    told = Metadata.from_email(text, validate=True)
    assert text == (unpacked / "PKG-INFO").read_bytes()
    assert (told.name, told.license_expression, told.license_files) == ("truing", PROJECT["license"], ["LICENSE"])
    assert str(told.requires_python) == PROJECT["requires-python"]
    assert told.description_content_type == "text/markdown"
    assert told.description == (ROOT / "README.md").read_text(encoding="utf-8")
    needed = {(canonicalize_name(one.name), one.specifier) for one in told.requires_dist or [] if one.marker is None}
    asked = map(Requirement, PROJECT["dependencies"])
    assert needed == {(canonicalize_name(one.name), one.specifier) for one in asked}


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `truing` of an environment that has the wheel, and the libraries of this one without its truing."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    libraries = [path for path in sys.path if path.endswith("-packages")]
    (site / "libraries.pth").write_text("\n".join(libraries))  # their own .pth files, such as a clone's, do not count
    command = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install", "--no-deps"]
    subprocess.run([*command, "--no-index", str(built.wheel)], check=True, capture_output=True)
    return home / "bin" / "truing"


def test_what_is_installed_runs_where_no_clone_is(installed: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def truing(*arguments: str) -> str:
        command = [str(installed), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
        assert done.stderr == ""
        return done.stdout

    assert f"installed  {installed.parents[1]}" in truing("--version")
    shelf = [path.stem for path in (ROOT / "recipes").glob("*.yaml")]
    assert all(f" {name} " in truing("recipes") for name in shelf)
    assert "quickstart: sound" in truing("validate", "quickstart")
    settings = [part for setting in SMALL for part in ("--set", setting)]
    assert "report: run/report.html" in truing("run", "quickstart", "--out", "run", *settings)
    assert truing("report", "run") == "run/report.html\n"
    assert "</html>" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_it_installs_with_its_libraries_and_runs_the_quickstart(kind: str, built: Built, tmp_path: Path) -> None:
    """Asks the package index for everything; `make fresh` runs it."""
    home, elsewhere = tmp_path / "environment", tmp_path / "elsewhere"
    venv.create(home, symlinks=True, with_pip=True)
    elsewhere.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def call(program: str, *arguments: str) -> str:
        command = [str(home / "bin" / program), *arguments]
        done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    package = f"{getattr(built, kind)}[test]"
    call("python", "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), package)
    call("python", "-m", "pip", "check")
    print(call("truing", "--version"))
    assert "sound" in call("truing", "validate", "quickstart")
    print(call("truing", "run", "quickstart", "--out", "run"))
    assert call("truing", "report", "run") == "run/report.html\n"
    if kind == "sdist":
        with tarfile.open(built.sdist) as archive:
            archive.extractall(tmp_path, filter="data")
        (unpacked,) = tmp_path.glob("truing-*")
        print(call("python", "-m", "pytest", "-q", "--rootdir", str(unpacked), *(str(unpacked / part) for part in OWN)))
