"""`python -m tracking`, and the entry point of the command `tracking`: hands over to the command line."""

from tracking.app.cli.main import main

if __name__ == "__main__":
    main()
