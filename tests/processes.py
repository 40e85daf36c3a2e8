"""Python processes of their own, for tests."""

import subprocess
import sys


def printed(script: str, *, hash_seed: int) -> str:
    """Return what `script` prints in a process whose sets have an order of their own."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
