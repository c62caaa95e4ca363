"""``python -m wasme`` is the same as ``wasme``."""

from wasme.cli.main import main

if __name__ == "__main__":
    main()
