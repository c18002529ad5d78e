"""usermeta with its write path changed, to compare: `python bench/variant.py serve …` takes what `usermeta` takes.

In the environment: BENCH_BATCH, how many writes share a transaction at the most; BENCH_SYNCHRONOUS, what SQLite's
writing connection does before it acknowledges (FULL, NORMAL, OFF).
"""

import os

from usermeta_server import cli
from usermeta_server.store import writer
from usermeta_server.store.sqlite import store


def main() -> None:
    """Change what the environment says, and run the command line."""
    if batch := os.environ.get("BENCH_BATCH"):
        vars(writer)["MAX_BATCH"] = int(batch)
    if synchronous := os.environ.get("BENCH_SYNCHRONOUS"):
        pragmas = vars(store)["_WRITER_PRAGMAS"]
        changed = [f"PRAGMA synchronous = {synchronous}" if "synchronous" in each else each for each in pragmas]
        assert changed != list(pragmas) or synchronous == "FULL"
        vars(store)["_WRITER_PRAGMAS"] = tuple(changed)
    cli.main()


if __name__ == "__main__":
    main()
