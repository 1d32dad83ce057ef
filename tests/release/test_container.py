"""The container file agrees with the project. No engine builds it here: what it copies, installs and begins is seen."""

import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from release.test_distribution import PROJECT, ROOT, Built, build, built, content

__all__ = ["built"]
TEXT = (ROOT / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
STEPS = [line.split(maxsplit=1) for line in TEXT.splitlines() if line and not line.startswith("#")]
"""Instruction and what it is given"""
PLACE = "/tmp/truing"
IGNORE = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()


def of(kind: str) -> list[str]:
    return [given for instruction, given in STEPS if instruction == kind]


def copied(to: Path) -> Path:
    """What the container file copies to `PLACE`, as the engine is let to see it."""
    for given in of("COPY"):
        *names, target = given.split()
        for name in names:
            assert lets_through(name), f".dockerignore keeps {name} back"
            there = to / target.removeprefix(PLACE).strip("/")
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, there, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, there)
    return to


def lets_through(name: str) -> bool:
    """The last pattern that matches decides."""
    matching = [pattern for pattern in IGNORE if fnmatch(name, pattern.removeprefix("!"))]
    return not matching or matching[-1].startswith("!")


def test_what_it_copies_makes_the_wheel_of_the_project(built: Built, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (wheel,) = build(copied(tmp_path / "place"), tmp_path / "dist", "-t", "wheel")
    assert content(wheel) == content(built.wheel)
    assert not lets_through("runs")
    assert not lets_through("src/truing/__pycache__")


def test_what_it_installs_first_is_what_the_project_depends_on(tmp_path: Path) -> None:
    (code,) = re.findall(r'python -c "(.*?)" ', TEXT)
    code = code.replace(PLACE, str(copied(tmp_path)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == PROJECT["dependencies"]


def test_each_pip_line_names_what_there_is() -> None:
    lines = [line for line in of("RUN") if "pip install" in line]
    assert [re.findall(r"(?:--requirement |\"|torch)\S*$", line.strip()) for line in lines] == [
        ["torch"],
        [f"--requirement {PLACE}/dependencies.txt"],
        [f'"{PLACE}[gguf,trust]"'],
    ]
    asked = Requirement(lines[-1].split("/")[-1].strip('"'))
    assert asked.name == PROJECT["name"]
    assert asked.extras < PROJECT["optional-dependencies"].keys()
    assert "torch" in {Requirement(one).name for one in PROJECT["dependencies"]}
    constraints = [given for given in of("ENV") if "PIP_CONSTRAINT=/" in given]
    assert f"PIP_CONSTRAINT={PLACE}/constraints.txt" in constraints[0].split()


def test_python_is_one_that_the_project_takes_and_the_image_is_dated_by_it() -> None:
    (python,) = re.findall(r"^PYTHON=(\S+)", "\n".join(of("ARG")), re.MULTILINE)
    assert python in SpecifierSet(PROJECT["requires-python"])
    assert of("FROM") == ["docker.io/library/python:${PYTHON}-slim"]


def test_it_runs_truing_as_nobody_special() -> None:
    names = [instruction for instruction, _ in STEPS]
    assert "RUN" not in names[names.index("USER") :]
    assert of("USER") == ["truing"]
    assert of("ENTRYPOINT") == ['["truing"]']
    assert "truing" in PROJECT["scripts"]
    assert of("VOLUME") == ["/cache"]
    assert any("HF_HOME=/cache" in given for given in of("ENV"))
