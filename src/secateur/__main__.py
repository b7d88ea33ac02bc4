"""``python -m secateur`` is the command ``secateur``."""

from secateur.cli.main import main

if __name__ == "__main__":
    main()
