"""`python -m gateway` and the `foreword` command."""

from __future__ import annotations

import sys

from gateway.cli import run


def main() -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 wrong usage or configuration."""
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
