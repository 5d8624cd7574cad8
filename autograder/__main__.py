"""The command `autograder`, also `python -m autograder`."""

import sys


def main() -> None:
    """Run a command, or say what is missing to do so."""
    try:
        from autograder import cli
    except ModuleNotFoundError as error:
        # A student's environment has the package, but not what it stands on.
        print(
            f"error: {error.name} is not installed; autograder is for instructors: "
            'python -m pip install "practical-dl[instructors]"',
            file=sys.stderr,
        )
        sys.exit(2)
    cli.main()


if __name__ == "__main__":
    main()
