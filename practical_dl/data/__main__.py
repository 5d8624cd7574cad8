"""`python -m practical_dl.data NAME`: fetch data sets into the cache."""

from __future__ import annotations

import argparse
import sys

from practical_dl.data import PROFILES, DataError, load, names


def main(arguments: list[str]) -> int:
    """Fetch the data sets that the arguments name. Returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m practical_dl.data", description="Fetch data sets into the cache."
    )
    parser.add_argument("name", nargs="+", choices=names(), metavar="NAME", help=", ".join(names()))
    parser.add_argument("--profile", choices=PROFILES, default="small")
    options = parser.parse_args(arguments)
    for name in options.name:
        try:
            load(name, options.profile)
        except DataError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
