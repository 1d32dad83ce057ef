"""What pyproject.toml asks for is what was tested at its lowest and at the versions that are pinned."""

from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from release.test_distribution import PROJECT, ROOT

ASKED = [Requirement(one) for one in PROJECT["dependencies"]]
ASKED += [
    Requirement(one)
    for extra, packages in PROJECT["optional-dependencies"].items()
    for one in packages
    if extra != "track" and not one.startswith("truing[")  # of track one is used, the one that a person has
]
FLOORS = {canonicalize_name(one.name): str(one.specifier) for one in ASKED}


def pinned(name: str) -> dict[str, str]:
    """Package to version of a file of constraints."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


def test_the_lowest_versions_that_are_tested_are_those_that_are_asked_for() -> None:
    lowest = pinned("constraints-lowest.txt")
    assert {name: f">={version}" for name, version in lowest.items()} == FLOORS


INSTALLED = [one for one in ASKED if one.name != "bitsandbytes"]  # which is tried by hand


@pytest.mark.parametrize("asked", INSTALLED, ids=lambda one: one.name)
def test_what_is_pinned_and_what_is_installed_here_is_no_lower(asked: Requirement) -> None:
    assert pinned("constraints.txt")[canonicalize_name(asked.name)] in asked.specifier
    assert metadata.version(asked.name) in asked.specifier
