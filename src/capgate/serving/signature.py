"""A server's answers to fixed prompts, by which capgate recognises its weights.

A running server names its model and not its weights. Other weights under the same name give
other log-probabilities for the same prompts. So capgate stores these beside the answers and
compares them before it uses the answers again. Tokens and texts are stored as hashes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from capgate.client.replies import TokenLogprobs

PROMPTS: Final = (
    "Name three things that float on water.",
    "Which of these numbers is even? A) 3 B) 5 C) 8 D) 9",
    "Explain in one sentence why the sky is blue.",
    "Write the next line: roses are red,",
)
"""What every server is asked."""

FURTHER: Final = (
    "Which gas do plants take in? A) oxygen B) carbon dioxide C) helium D) neon",
    "A contract that a child signs is usually: A) voidable B) criminal C) a deed D) a treaty",
    "Who wrote down the dialogues of Socrates? A) Homer B) Virgil C) Plato D) Ovid",
    "When prices rise, the quantity demanded usually: A) falls B) rises C) doubles D) ends",
    "Which empire built the Colosseum? A) Ottoman B) Roman C) Mongol D) Persian",
    "Which organ pumps blood? A) liver B) lung C) kidney D) heart",
    "Keeping a promise only for its good results is: A) utilitarian B) dutiful C) stoic D) vain",
    "What is the derivative of x squared? A) x B) 2x C) 2 D) x cubed",
)
"""Further prompts for a server that gives no log-probabilities: texts show less."""

TOKENS: Final = 8
LONG: Final = 64
"""Maximum tokens of an answer when the server returns no log-probabilities."""

MARGIN: Final = 1e-4
"""Largest difference in nats that counts as rounding, even if repeated answers are identical."""

TIMES_NOISE: Final = 4.0

_KNOWN_AGAIN: Final = 0.005
"""Mean difference in nats up to which two signatures are of the same weights, even if the server
repeats itself exactly. A step of bfloat16 in a logit of 16 to 32 is 0.125: one number in 25."""

_UNMOVED: Final = 0.05
"""The same in the middle of a run, when the server has more requests at a time than at its start.
To mistake rounding for other weights would cost a verdict then, and not only some questions."""

_NEVER_MORE: Final = 0.3
"""Mean difference in nats that is never noise, even if a server repeats itself badly."""

_TEXTS_UNMOVED: Final = 0.25
TEXTS_NOISE: Final = 0.5
"""Share of changed texts among a server's own repeats above which texts prove nothing."""

_TOP: Final = 5

By = Literal["log-probabilities", "texts"]


@dataclass(frozen=True, slots=True)
class PromptAnswer:
    """An answer to a prompt: hashes of its text and tokens, and the tokens' log-probabilities."""

    text: str
    logprobs: tuple[TokenLogprobs, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether it has neither a text nor log-probabilities."""
        return self.text == _EMPTY and not self.logprobs


@dataclass(frozen=True, slots=True)
class Signature:
    """A server's answers to the prompts.

    Attributes:
        by: What can be compared: `texts` if the server gives no log-probabilities.
        answers: To each prompt.
        noise: How far the server's own repeats differ: the largest difference in nats, or the share
            of changed texts.
        mean_noise: The same as a mean.
        further: Members of each request besides those that `fields` adds.
        temperature: The sampling temperature: 0, unless the server refuses that.
    """

    by: By
    answers: tuple[PromptAnswer, ...]
    noise: float
    mean_noise: float
    further: Mapping[str, Any] = field(default_factory=dict)
    temperature: float = 0.0

    @property
    def empty(self) -> bool:
        """Whether all answers are empty."""
        return all(one.empty for one in self.answers)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompts that were asked."""
        return PROMPTS if self.by == "log-probabilities" else PROMPTS + FURTHER

    @property
    def fields(self) -> dict[str, Any]:
        """The members of the requests, besides model and prompt."""
        return {**self.further, **_fields(self.by), "temperature": self.temperature}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the store."""
        return {
            "by": self.by,
            "prompts": text_hash("\0".join(self.prompts)),
            "noise": self.noise,
            "mean_noise": self.mean_noise,
            "answers": [
                [one.text, [[p.token, p.logprob, [list(t) for t in p.top]] for p in one.logprobs]]
                for one in self.answers
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Signature | None:
        """Reads what `to_dict` wrote; None if it is of other prompts.

        Raises:
            KeyError: Something is missing.
            TypeError: Something has another form.
            ValueError: The same.
        """
        answers = tuple(
            PromptAnswer(
                text,
                tuple(
                    TokenLogprobs(t, float(p), tuple((a, float(b)) for a, b in top))
                    for t, p, top in places
                ),
            )
            for text, places in data["answers"]
        )
        found = cls(data["by"], answers, float(data["noise"]), float(data["mean_noise"]))
        return found if data["prompts"] == text_hash("\0".join(found.prompts)) else None


def difference(now: Signature, then: Signature, *, lenient: bool = False) -> str:
    """How two signatures differ by more than the server's noise; `""` if they do not.

    Args:
        now: The later one.
        then: The earlier one.
        lenient: Whether the server may have had more requests at a time for the later one.
    """
    if now.empty or then.empty:
        return "its answers to the proof's prompts are empty, which shows nothing"
    if now.by != then.by:
        return f"it gave {then.by} then and gives {now.by} now"
    noise = max(now.mean_noise, then.mean_noise)
    apart = mean_distance(now.answers, then.answers, now.by)
    if now.by == "texts":
        most = max(noise, _TEXTS_UNMOVED) if lenient else noise
        if apart <= most and noise <= TEXTS_NOISE:
            return ""
        return (
            f"{apart:.0%} of its answers to the proof's prompts are others "
            f"({noise:.0%} when it is asked twice)"
        )
    floor = _UNMOVED if lenient else _KNOWN_AGAIN
    if apart <= min(max(floor, TIMES_NOISE * noise), _NEVER_MORE):
        return ""
    return (
        f"its log-probabilities for the proof's prompts differ by {apart:.2g} on average (by "
        f"{noise:.2g} when it is asked twice)"
    )


def distance(one: Sequence[PromptAnswer], other: Sequence[PromptAnswer], by: By) -> float:
    """How far answers differ: the largest difference in nats, or the share of changed texts."""
    pairs = list(zip(one, other, strict=True))
    if by == "texts":
        # Two empty texts prove no agreement.
        told = [(left, right) for left, right in pairs if not (left.empty and right.empty)]
        return sum(left.text != right.text for left, right in told) / max(len(told), 1)
    return max(_nats(left.logprobs, right.logprobs) for left, right in pairs)


def mean_distance(one: Sequence[PromptAnswer], other: Sequence[PromptAnswer], by: By) -> float:
    """The mean difference over all places that can be compared, in nats; texts as `distance`."""
    if by == "texts":
        return distance(one, other, by)
    found = [
        gap
        for left, right in zip(one, other, strict=True)
        for gap in _gaps(left.logprobs, right.logprobs)
    ]
    return sum(found) / len(found) if found else math.inf


def _nats(one: Sequence[TokenLogprobs], other: Sequence[TokenLogprobs]) -> float:
    return max(_gaps(one, other), default=math.inf)


def _gaps(one: Sequence[TokenLogprobs], other: Sequence[TokenLogprobs]) -> list[float]:
    """Differences of log-probabilities at the same places, up to the first different token.

    Places that have no token in common differ by infinity.
    """
    found: list[float] = []
    for a, b in zip(one, other, strict=False):
        odds = dict(b.top)
        shared = [abs(p - odds[token]) for token, p in a.top if token in odds]
        if a.token == b.token:
            shared.append(abs(a.logprob - b.logprob))
        found += shared or [math.inf]
        if a.token != b.token:
            break
    return found


def _fields(by: By) -> dict[str, Any]:
    if by == "texts":
        return {"max_tokens": LONG}
    return {"max_tokens": TOKENS, "logprobs": True, "top_logprobs": _TOP}


def text_hash(text: str) -> str:
    """Hash of a text or token: 12 hex digits."""
    data = text.encode("utf-8", "backslashreplace")
    return hashlib.blake2b(data, digest_size=6).hexdigest()


_EMPTY: Final = text_hash("")


@dataclass(frozen=True, slots=True)
class Observation:
    """What a run found out about a server's weights when it first reached the server.

    Attributes:
        at: When, Unix seconds.
        signature: Its answers to the prompts; None if it did not answer them.
        started: When its process started, Unix seconds; None if it does not say.
        weights: Hash of the folder that it serves; `""` unless this machine can read the folder
            and no file in it is younger than the process.
        fault: Why there is no signature.
    """

    at: float
    signature: Signature | None = None
    started: float | None = None
    weights: str = ""
    fault: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the store."""
        return {
            "signature": None if self.signature is None else self.signature.to_dict(),
            "started": self.started,
            "weights": self.weights,
        }

    def change_since(self, then: Mapping[str, Any]) -> str:
        """What shows that other weights answer now, as a clause; `""` if the same ones do.

        Args:
            then: An earlier observation, as `to_dict` gives it.
        """
        try:
            earlier = then["signature"] and Signature.from_dict(then["signature"])
            weights, started = str(then["weights"]), then["started"]
        except (KeyError, TypeError, ValueError):
            earlier = None
            weights, started = "", None
        if self.signature is None or earlier is None:
            return "there is nothing to compare its answers to the proof's prompts with"
        if self.weights and weights and self.weights != weights:
            return "the files of its weights are others"
        clause = difference(self.signature, earlier)
        if clause and started and self.started and self.started != started:
            clause += "; it was started anew meanwhile"
        return clause


def observation_of(kept: Mapping[str, Any], at: float) -> Observation:
    """An observation that the store has; without what is missing or damaged in it.

    Args:
        kept: As `Observation.to_dict` gave it.
        at: When it was made, Unix seconds.
    """
    try:
        signature = kept["signature"] and Signature.from_dict(kept["signature"])
        return Observation(at, signature, kept["started"], str(kept["weights"]))
    except (KeyError, TypeError, ValueError):
        return Observation(at)
