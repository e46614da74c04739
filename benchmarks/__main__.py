"""Runs every benchmark of this folder, or those that are named, each in a process of its own.

`python benchmarks [name ...]`; a benchmark is a file with a `main()` that prints its tables and ends with status 1 where a
target is missed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> None:
    found = {
        path.stem: path for path in sorted(Path(__file__).parent.glob("*.py")) if path.stem != "__main__"
    }
    wanted = sys.argv[1:] or list(found)
    if unknown := [name for name in wanted if name not in found]:
        sys.exit(f"'{unknown[0]}' is no benchmark; there are {', '.join(found)}")
    missed = []
    for name in wanted:
        if subprocess.run([sys.executable, found[name]], check=False).returncode:
            missed.append(name)
        print(flush=True)
    sys.exit(f"missed or failed: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
