"""Values of a sample's metadata as JSON, and back without a difference.

JSON knows neither an enum's members nor keys that are numbers, which some tasks' solvers and
scorers look for. Beside the plain value a file names what it was; see `Kinds`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum
from importlib import import_module
from typing import Any, Final

from capgate.benchmarks.row_files import is_encodable
from capgate.common.errors import DatasetError

Kinds = dict[str, str]
"""Place of a value, as a JSON pointer, to what it was: `numbered` for an object whose keys are
whole numbers, `tuple`, or an enum's `module:name`."""

_NUMBERED: Final = "numbered"
_TUPLE: Final = "tuple"


def to_plain(value: object, kinds: Kinds, *, package: str, place: str = "") -> Any:  # noqa: ANN401
    """Makes a value plain.

    Args:
        value: The value.
        kinds: Gets what JSON would lose.
        package: The package of the task; only its enums can be written.
        place: Where the value stands.

    Raises:
        DatasetError: The value has no plain form.
    """
    if isinstance(value, Enum):
        kind = type(value)
        if kind.__module__.partition(".")[0] != package:
            raise _no_form(place, kind.__name__)
        kinds[place] = f"{kind.__module__}:{kind.__qualname__}"
        return value.name
    if isinstance(value, str) and not is_encodable(value):
        raise _no_form(place, "half a character (a lone surrogate)")
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, (list, tuple)):
        if isinstance(value, tuple):
            kinds[place] = _TUPLE
        return [
            to_plain(one, kinds, package=package, place=_below(place, at))
            for at, one in enumerate(value)
        ]
    if isinstance(value, Mapping):
        if any(not isinstance(key, str) for key in value):
            if not all(type(key) is int for key in value):
                raise _no_form(place, type(value).__name__)
            kinds[place] = _NUMBERED
        return {
            str(key): to_plain(one, kinds, package=package, place=_below(place, key))
            for key, one in value.items()
        }
    raise _no_form(place, type(value).__name__)


def from_plain(value: Any, kinds: Kinds, *, package: str, place: str = "") -> Any:  # noqa: ANN401
    """Makes of a plain value what it was.

    Args:
        value: The plain value.
        kinds: What JSON has lost.
        package: The package of the task; nothing is imported from others.
        place: Where the value stands.

    Raises:
        DatasetError: A kind is unknown, or of another package.
    """
    kind = kinds.get(place, "")
    if isinstance(value, list):
        made = [
            from_plain(one, kinds, package=package, place=_below(place, at))
            for at, one in enumerate(value)
        ]
        return tuple(made) if kind == _TUPLE else made
    if isinstance(value, dict):
        key_of: Callable[[str], object] = int if kind == _NUMBERED else str
        try:
            return {
                key_of(key): from_plain(one, kinds, package=package, place=_below(place, key))
                for key, one in value.items()
            }
        except ValueError:
            raise _unknown(place, kind) from None
    return _member(value, kind, package, place) if kind else value


def _member(value: object, kind: str, package: str, place: str) -> Enum:
    module, _, name = kind.partition(":")
    if not package or module.partition(".")[0] != package:
        raise _unknown(place, kind)
    try:
        enum = getattr(import_module(module), name)
        if not (isinstance(enum, type) and issubclass(enum, Enum)):
            raise _unknown(place, kind)
        return enum[str(value)]
    except (ImportError, AttributeError, KeyError):
        raise _unknown(place, kind) from None


def _below(place: str, key: object) -> str:
    # As in a JSON pointer: a key may be empty, or hold the sign that joins keys.
    return f"{place}/{str(key).replace('~', '~0').replace('/', '~1')}"


def _no_form(place: str, what: str) -> DatasetError:
    return DatasetError(
        f"metadata{place.replace('/', '.', 1)} is {what}, which no file of JSON can hold"
    )


def _unknown(place: str, kind: str) -> DatasetError:
    return DatasetError(f"metadata{place.replace('/', '.', 1)} is of the unknown kind {kind!r}")
