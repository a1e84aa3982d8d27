"""``python -m batchpersist`` is the command ``batchpersist``."""

from .cli.main import main

if __name__ == "__main__":
    main()
