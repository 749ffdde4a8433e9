"""Runs MMLU on a target or adapter: the older name of `capgate run`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
try:
    from capgate.commands.script_aliases import benchmark
except ModuleNotFoundError as missing:
    print(f"The package {missing.name} is not installed for {sys.executable}.", file=sys.stderr)
    print("Run `make install`, then use .venv/bin/python.", file=sys.stderr)
    sys.exit(11)

if __name__ == "__main__":
    sys.exit(benchmark())
