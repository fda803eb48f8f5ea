"""Check that a wheel holds the files of the package, and nothing that .ci/wheel_files.txt does not name."""  # noqa: INP001

import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from zipfile import ZipFile

HERE = Path(__file__).parent


def main(wheel: str) -> None:
    """Exit with the names of files that are missing or too many."""
    packed = set(ZipFile(wheel).namelist())
    patterns = (HERE / "wheel_files.txt").read_text().split()
    in_git = ["git", "-C", str(HERE.parent), "ls-files", "claude_bridge"]
    kept = set(subprocess.run(in_git, capture_output=True, text=True, check=True).stdout.split())  # noqa: S603
    strays = [name for name in sorted(packed) if not any(fnmatchcase(name, pattern) for pattern in patterns)]
    missing = sorted(kept - packed)
    if strays or missing:
        sys.exit(f"The wheel has {strays} beyond .ci/wheel_files.txt, and lacks {missing}.")
    print(f"{len(packed)} files, as listed.")  # noqa: T201


main(sys.argv[1])
