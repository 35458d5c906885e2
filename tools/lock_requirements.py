"""Resolves requirements.in in a fresh environment and writes requirements.lock."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADER = "# Every package of .venv but those of requirements-nodeps.lock. Made by `make lock` from requirements.in.\n"

# The ROS wheels carry the metadata of the ROS packages inside them (rclpy, std_msgs...), which pip freeze lists
# although no index has them. Only what was installed as a wheel counts.
LIST = """
import importlib.metadata
for distribution in importlib.metadata.distributions():
    if distribution.read_text("WHEEL") is not None:
        print(distribution.metadata["Name"], distribution.version)
"""


def lock(listing: str) -> str:
    """The lock file for lines of ``name version``."""
    pins = {}
    for line in listing.splitlines():
        name, version = line.split()
        # A local version (+cpu) is a build of the same release: which one is the index's affair.
        pins[re.sub(r"[-_.]+", "-", name).lower()] = version.partition("+")[0]
    return HEADER + "".join(f"{name}=={pins[name]}\n" for name in sorted(pins) if name not in ("pip", "wheel"))


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        python = pathlib.Path(folder) / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-r", ROOT / "requirements.in"], check=True)
        listing = subprocess.run([python, "-c", LIST], check=True, capture_output=True, text=True).stdout
    (ROOT / "requirements.lock").write_text(lock(listing))
    return 0


if __name__ == "__main__":
    sys.exit(main())
