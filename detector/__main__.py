"""`python -m detector` is the `detector` command."""

from detector.cli.main import main

if __name__ == "__main__":
    main()
