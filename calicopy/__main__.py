"""The `calicopy` command."""
from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; the exit code."""
    from calicopy.cli import quick

    code = quick.run(sys.argv[1:])
    if code is not None:
        return code
    from calicopy.cli.main import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
