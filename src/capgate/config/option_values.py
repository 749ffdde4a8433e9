"""Readers of options' values, for argparse's `type=`."""

from __future__ import annotations

import argparse
import math


def positive(text: str) -> int:
    """Reads a whole number of at least 1.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return number


def parse_dollars(text: str) -> float:
    """Reads an amount of US dollars above 0.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        amount = float(text.removeprefix("$"))
    except ValueError:
        amount = -1.0
    if not 0.0 < amount < math.inf:
        raise argparse.ArgumentTypeError(f"expected an amount of US dollars, got {text!r}")
    return amount


def parse_ray(text: str) -> str:
    """Reads where a Ray cluster is: `HOST:PORT`, `auto` or `local`.

    Raises:
        argparse.ArgumentTypeError: It is none of them.
    """
    host, colon, port = text.rpartition(":")
    if text in {"auto", "local"} or (colon and host and "/" not in text and port.isdecimal()):
        return text
    raise argparse.ArgumentTypeError(
        f"expected HOST:PORT of a Ray cluster to which this machine belongs, auto or local, got "
        f"{text!r}"
    )


def temperature(text: str) -> float:
    """Reads a sampling temperature between 0 and 2.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= 2.0:
        raise argparse.ArgumentTypeError(f"expected a temperature from 0 to 2, got {text!r}")
    return number
