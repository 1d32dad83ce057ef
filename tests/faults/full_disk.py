"""A run on a disk that is full: a tmpfs of a few megabytes, in a name space of its own, so that no privilege is needed.

Run as `unshare -Urm python full_disk.py RECIPE PLACE COPY`: mounts the disk on PLACE, starts a run in it, fills what is
left while it runs, frees it again, goes on, and copies what the run left. Prints how each of the two ended.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path


def main(recipe: str, place: str, copy: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], check=True)
    out = Path(place) / "run"
    command = [sys.executable, "-m", "truing", "run", recipe, "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while not list(out.glob("sft/checkpoints/step-*")) and process.poll() is None:
            time.sleep(0.001)
        filler = Path(place) / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        said = process.communicate()[1]
    kept = len(list(out.glob("sft/checkpoints/step-*")))
    filler.unlink()
    again = subprocess.run(command, capture_output=True, text=True)
    shutil.copytree(out, copy)
    ends = {"code": process.returncode, "said": said, "kept": kept, "again": again.returncode, "error": again.stderr}
    print(json.dumps(ends))


if __name__ == "__main__":
    main(*sys.argv[1:])
