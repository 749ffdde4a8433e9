"""Checks the setup: `capgate doctor`, which see, by its older name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from capgate.commands.doctor import main

if __name__ == "__main__":
    sys.exit(main())
