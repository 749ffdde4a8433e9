"""Names of groups as test ids and files can hold them."""

from __future__ import annotations

import re


def group_name(value: object) -> str:
    """A group's name as test ids and files have it: letters, digits, `.`, `+`, `-` and `_`."""
    return re.sub(r"[^\w.+-]+", "_", str(value)).strip("_")
