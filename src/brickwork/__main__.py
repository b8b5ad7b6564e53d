"""``python -m brickwork``: the command line."""

from brickwork.cli.main import main

if __name__ == "__main__":
    main()
