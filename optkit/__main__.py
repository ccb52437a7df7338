"""The `optkit` command, as `python -m optkit` too; an interrupt is told in a word while it is still being loaded."""

import sys


def main() -> None:
    try:
        from optkit.cli.app import main as run
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
