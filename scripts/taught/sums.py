"""Sums in words with four choices each: a team's own file of questions, for the demo.

    .venv/bin/python scripts/taught/sums.py OUT.jsonl

One line for each question: `question`, `choices`, `answer` (the right choice's letter) and `group`
(`addition`, `subtraction` or `multiplication`). The same sums each time.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Mapping
from operator import add, mul, sub
from pathlib import Path
from typing import Any, Final

NAME: Final = "arithmetic"
"""The benchmark's name, and its file's."""

NAMES: Final = ("Ada", "Bruno", "Chen", "Divya", "Emeka", "Fatima", "Goran", "Hana", "Ivan", "Joy")

# Each is in one sum of each group. A model as small as the demo's tells questions by such words.
THINGS: Final = (
    *("apples", "books", "coins", "stamps", "shells", "pencils", "marbles", "roses", "candles"),
    *("buttons", "feathers", "lemons", "plates", "tickets", "bricks", "ribbons", "carrots"),
    *("spoons", "posters", "kites", "bottles", "nails", "pebbles", "masks", "lamps", "ropes"),
    *("cards", "eggs", "hats", "keys", "magnets", "onions", "pearls", "rings", "scarves"),
    *("toys", "vases", "walnuts", "bells", "dolls", "flags", "gloves", "herbs", "jars"),
    *("melons", "needles", "olives", "pumpkins", "quilts", "rugs", "seeds", "tiles", "umbrellas"),
    *("violins", "wheels", "yams", "zippers", "anchors", "baskets", "cups"),
)

_FORMS: Final[Mapping[str, tuple[str, Any]]] = {
    "addition": ("{name} has {a} {things} and finds {b} more. How many {things} now?", add),
    "subtraction": ("{name} has {a} {things} and gives {b} away. How many {things} remain?", sub),
    "multiplication": ("{name} fills {a} boxes with {b} {things} each. How many {things}?", mul),
}
_OFF_BY: Final = (-10, -2, -1, 1, 2, 10)
"""How far a wrong choice is from the right one."""


def sums(*, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yields the questions, group by group: one for each thing in each group.

    Args:
        seed: Of the numbers and of the order of the choices.
    """
    chance = random.Random(seed)
    for group, (form, value) in _FORMS.items():
        for things in THINGS:
            name = chance.choice(NAMES)
            a, b = chance.randint(50, 99), chance.randint(11, 49)
            right = value(a, b)
            choices = [right, *(right + off for off in chance.sample(_OFF_BY, 3))]
            chance.shuffle(choices)
            yield {
                "question": form.format(name=name, things=things, a=a, b=b),
                "choices": [str(choice) for choice in choices],
                "answer": "ABCD"[choices.index(right)],
                "group": group,
            }


def write(file: Path) -> None:
    """Writes the questions to `file`."""
    text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in sums())
    file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    write(parser.parse_args().out)
