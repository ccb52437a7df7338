"""`python -m optkit` is `optkit`."""

from optkit.cli.app import main

if __name__ == "__main__":
    main()
