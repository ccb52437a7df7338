"""The `optkit` command, as `python -m optkit` too; an interrupt is told in a word while it is still being loaded."""

import sys


def main() -> None:
    try:
        from optkit.cli.app import main as run
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except ModuleNotFoundError as error:
        # As after `pip install --no-deps`, which installs what serves a model.
        sys.exit(f"the command line needs the package {error.name}: pip install 'typer>=0.15' 'click<8.5' rich")
    run()


if __name__ == "__main__":
    main()
