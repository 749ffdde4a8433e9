"""Secrets and home folders, cut out of everything that a run shows or leaves behind.

Two nets. What is known to be secret (keys in use, alert URLs, the values of environment
variables whose names say so) is cut out wherever it stands. What only looks like a secret
(an `Authorization` header, a URL's password or token, a token of a well-known form) is cut
out by its form, since a server or a model may repeat a secret that capgate does not know.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from capgate.common.redacted_forms import FORMS, HOMES, MARK, NEEDLES
from capgate.common.secret_forms import is_secret_variable

_SMALLEST: Final = 4
"""Characters of the shortest secret that is looked for."""

_SHORTEST: Final = 8
"""Characters under which an environment variable's value, or a URL's part, is too common to be
cut out."""

_CUT: Final = "…"
"""What stands where a text was shortened (`capgate.common.text`)."""

_OWN_KEY: Final = re.compile(r"[a-z][a-z0-9_]*")
"""A mapping's key that is a field's name, and never a secret."""

_WORD: Final = re.compile(r"[A-Za-z_]{1,24}")
"""A value that may be a word of ours, such as a state or the kind of a verdict."""

_SAID: Final = frozenset(
    {
        *("text", "content", "completion", "reasoning", "input", "message", "explanation"),
        *("reason", "said", "error", "what", "finding", "remedy", "description"),
        *("name", "root", "adapter_of", "model", "host"),
    }
)
"""Fields that hold what a model or server wrote, and no word of ours."""


class Redactor:
    """Cuts secrets and home folders out of text.

    Args:
        secrets: Values that must never be shown.
        home: The user's folder, shown as `~`; the process's own where None.
    """

    def __init__(self, secrets: Iterable[str] = (), *, home: Path | None = None) -> None:
        self._secrets = frozenset(secret for secret in secrets if len(secret) >= _SMALLEST)
        self._home = str(home if home is not None else Path.home()).rstrip("/\\")

    @classmethod
    def of_environment(
        cls, environment: Mapping[str, str] | None = None, further: Iterable[str] = ()
    ) -> Redactor:
        """A redactor that knows the secrets of an environment.

        Args:
            environment: By default, the process's.
            further: More values, such as keys of variables with an innocent name.
        """
        found = os.environ if environment is None else environment
        values = {
            value.strip()
            for name, value in found.items()
            if is_secret_variable(name) and len(value.strip()) >= _SHORTEST
        }
        values |= {text.strip() for text in further if text}
        return cls({*values, *(part for value in values for part in _url_parts(value))})

    def and_also(self, secrets: Iterable[str]) -> Redactor:
        """A redactor that knows further secrets."""
        return Redactor({*self._secrets, *secrets}, home=Path(self._home))

    @cached_property
    def _forms(self) -> tuple[str, ...]:
        """The secrets as they may be written, the longest first: one may be another's beginning."""
        forms = {form for secret in self._secrets for form in _forms(secret)}
        return tuple(sorted(forms, key=lambda form: (-len(form), form)))

    @cached_property
    def _cuttable(self) -> tuple[str, ...]:
        # A URL's beginning is no secret; its other parts are secrets of their own.
        return tuple(form for s in self._secrets if "://" not in s for form in _forms(s))

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        return re.compile("|".join(map(re.escape, self._forms))) if self._forms else None

    def known(self, text: str) -> str:
        """Returns `text` without the secrets that are known, all else untouched."""
        if self._pattern is None:
            return text
        if any(form in text for form in self._forms):
            text = self._pattern.sub(MARK, text)
        if _CUT not in text:
            return text
        first, *rest = text.split(_CUT)
        parts = [first, *(self._without_ending(part) for part in rest)]
        return _CUT.join([*(self._without_beginning(part) for part in parts[:-1]), parts[-1]])

    def _without_beginning(self, text: str) -> str:
        """`text`, which was cut at its end, without the part of a secret that was left there."""
        tail = text[-len(self._forms[0]) :]
        for at in range(len(tail) - _SHORTEST + 1):
            if any(form.startswith(tail[at:]) for form in self._cuttable):
                return text[: len(text) - len(tail) + at] + MARK
        return text

    def _without_ending(self, text: str) -> str:
        """`text`, which was cut at its beginning, without the part of a secret left there."""
        head = text[: len(self._forms[0])]
        for length in range(len(head), _SHORTEST - 1, -1):
            if any(form.endswith(head[:length]) for form in self._cuttable):
                return MARK + text[length:]
        return text

    def text(self, text: str) -> str:
        """Returns `text` without secrets, and with home folders as `~`."""
        return self.looks(self.known(text))

    def looks(self, text: str) -> str:
        """Returns `text` without what only looks like a secret, and with home folders as `~`."""
        if len(text) < _SMALLEST:
            return text
        lower = text.lower()
        for needle in NEEDLES:
            if needle in lower:
                break
        else:
            return self._homeless(text)
        for form in FORMS:
            without = form.sub(text, lower)
            if without is not text:
                text, lower = without, without.lower()
        without = self._homeless(text)
        return HOMES.sub(without, lower if without is text else without.lower())

    def _homeless(self, text: str) -> str:
        if len(self._home) > 1 and self._home in text:
            return re.sub(re.escape(self._home) + r"(?![\w-])", "~", text)
        return text

    def may_change(self, data: bytes) -> bool:
        """Whether redaction might change a text, which its bytes tell many times faster.

        Args:
            data: A text in UTF-8 or Latin-1.

        Returns:
            False where `text` and `json` leave it as it is; True where they have to look.
        """
        if any(known in data for known in self._known_bytes) or self._may_be_cut(data):
            return True
        lower = data.lower()
        return any(
            re.search(hint, lower if form.any_case else data)
            for form in (*FORMS, HOMES)
            for hint in form.hints
        )

    @cached_property
    def _known_bytes(self) -> tuple[bytes, ...]:
        """The home folder and the secrets as they stand in a file."""
        found: set[bytes] = set()
        for known in (*self._forms, *([self._home] if len(self._home) > 1 else [])):
            for encoding in ("utf-8", "latin-1"):
                # What an encoding can't write does not stand in a file of that encoding.
                with suppress(UnicodeEncodeError):
                    found.add(known.encode(encoding, "surrogateescape"))
        return tuple(found)

    def _may_be_cut(self, data: bytes) -> bool:
        """Whether a part of a secret might stand where a text was shortened."""
        if not self._cuttable:
            return False
        cut, reach = _CUT.encode(), 4 * len(self._forms[0])
        at = data.find(cut)
        while at >= 0:
            near = data[max(at - reach, 0) : at + len(cut) + reach].decode("utf-8", "ignore")
            if self.known(near) != near:
                return True
            at = data.find(cut, at + 1)
        return False

    def data(self, value: Any) -> Any:  # noqa: ANN401 (any plain JSON value)
        """Returns a plain value with every text in it redacted, keys included.

        A secret can be an ordinary word. So that programs can still read the value, the names of
        fields stay, and so does a single word that is all of a value, unless its field holds what
        a model or server wrote.
        """
        return self._plain(value, self.text, "text")

    def known_in(self, value: Any) -> Any:  # noqa: ANN401 (any plain JSON value)
        """As `data`, but cuts out only the secrets that are known."""
        return self._plain(value, self.known, "text")

    def json(self, raw: bytes) -> bytes:
        """Returns JSON without the secrets that are known, of the same form; broken JSON as text.

        Most texts hold none; those cost one search.
        """
        text = raw.decode("utf-8", "surrogateescape")
        without = self.known(text)
        if without == text:
            return raw
        # Not above: `capgate doctor` runs, and says so, where packages are missing.
        from pydantic_core import from_json, to_json

        try:
            return to_json(self.known_in(from_json(raw)))
        except ValueError:
            return without.encode("utf-8", "surrogateescape")

    def _plain(self, value: Any, cut: Callable[[str], str], field: str) -> Any:  # noqa: ANN401
        if isinstance(value, str):
            return value if field not in _SAID and _WORD.fullmatch(value) else cut(value)
        if isinstance(value, Mapping):
            return {
                key
                if isinstance(key, str) and _OWN_KEY.fullmatch(key)
                else self._plain(key, cut, "text"): self._plain(one, cut, str(key))
                for key, one in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._plain(one, cut, field) for one in value]
        return value

    @classmethod
    def together(cls, redactors: Iterable[Redactor]) -> Redactor:
        """One that knows what any of them knows."""
        found = list(redactors)
        secrets = {secret for one in found for secret in one._secrets}
        return cls(secrets, home=Path(found[0]._home) if found else None)


def _forms(secret: str) -> tuple[str, ...]:
    """A secret as it may be written."""
    return secret, quote(secret), quote(secret, safe=""), unquote(secret), _escaped(secret)


def _escaped(text: str) -> str:
    """`text` as it stands inside a JSON string."""
    return json.dumps(text)[1:-1]


def _url_parts(value: str) -> Iterator[str]:
    """What of a URL is secret by itself: the user and what follows the host, whole and in parts.

    A server names the path that it does not know, without the host; where it is alone is no
    secret.
    """
    _, is_url, after = value.partition("://")
    if not is_url:
        return
    host, *rest = re.split(r"[/?#]", after, maxsplit=1)
    path, *query = re.split(r"[?#]", "".join(rest), maxsplit=1)
    path = path.strip("/")
    parts = ["".join(rest).strip("/"), path, *query]
    parts += host.rpartition("@")[0].split(":")
    # Names of a path's steps, such as `webhooks`, are common words; a token has figures.
    parts += [step for step in path.split("/") if re.search(r"\d", step)]
    parts += [one.partition("=")[2] for one in re.split("[&#]", "".join(query))]
    yield from (part for part in parts if len(part) >= _SHORTEST)
