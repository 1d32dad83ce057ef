"""A run on a disk that is full: a tmpfs of a few megabytes, in a name space of its own, so that no privilege is needed.

Run as `full_disk.py RECIPE PLACE COPY`: mounts the disk on PLACE, starts a run in it, fills what is left while it runs,
frees it again, goes on, and copies what the run left. Prints how each of the two ended.
"""

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from truing.processes.launch import start_truing

NEW_USER, NEW_MOUNTS = 0x10000000, 0x00020000


def main(recipe: str, place: str, copy: str) -> None:
    enter_name_space()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], check=True)
    out, log = Path(place) / "run", Path(copy).with_suffix(".log")
    command = ["run", recipe, "--out", str(out)]
    with log.open("wb") as told:
        process = start_truing(command, os.environ, stdout=told, stderr=subprocess.STDOUT)
        while not list(out.glob("sft/checkpoints/step-*")) and process.poll() is None:
            time.sleep(0.001)
        filler = Path(place) / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        code = process.wait()
        said, kept = log.read_text(), len(list(out.glob("sft/checkpoints/step-*")))
        filler.unlink()
        again = start_truing(command, os.environ, stdout=told, stderr=subprocess.STDOUT).wait()
    shutil.copytree(out, copy)
    print(json.dumps({"code": code, "said": said, "kept": kept, "again": again}))


def enter_name_space() -> None:
    """As its root, whoever one is outside, with mounts that nobody else sees; as `unshare -Urm` does it."""
    user, group = os.getuid(), os.getgid()
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_USER | NEW_MOUNTS):
        raise OSError(ctypes.get_errno(), "no name space")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


if __name__ == "__main__":
    main(*sys.argv[1:])
