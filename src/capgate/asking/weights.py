"""Finds out which weights a target's stored answers are from, and whether the same answer now.

A running server names its model and not its weights. So each observation of a server is compared
with the stored ones, and answers of other weights are not used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from capgate.asking.ages import minute
from capgate.asking.fingerprint import Fingerprint
from capgate.serving.endpoint import Endpoint
from capgate.serving.signature import Observation
from capgate.store.answer_store import Store
from capgate.store.kept import Seen

SEEN: Final = "seen"
"""The key of an identity that names the observed weights."""


def with_weights(
    plain: Fingerprint,
    endpoint: Endpoint,
    store: Store,
    *,
    prompt: str,
    run: str,
    adopt: Callable[[str], bool],
    say: Callable[[str], None],
) -> Fingerprint:
    """The fingerprint of a target's answers, with the weights that its server has.

    Args:
        plain: The fingerprint by what the server says of itself.
        endpoint: Where the target answers.
        store: Where earlier observations are kept.
        prompt: Hash of the prompt's form.
        run: This run.
        adopt: Returns whether the server still gives the answers that are stored under a
            fingerprint. Earlier versions stored them without an observation, so it is called only
            if the store has no observation of the server.
        say: Shows a line.
    """
    now = endpoint.observation
    if endpoint.known or now is None:
        return plain
    facts = {
        "model": endpoint.model,
        "identity": dict(endpoint.identity),
        "extra_body": plain.facts["extra_body"],
    }
    if endpoint.prompt_format != "chat":
        # The same weights answer otherwise to a text without a chat template.
        facts["prompt_format"] = endpoint.prompt_format
    server = _hash(facts)
    with store.claim(f"seen-{server}"):
        earlier = store.sightings(server)
        same = [seen for seen in earlier if _is_same(now, seen, run)]
        if same:
            # Machines that wrote stores apart have each seen the same weights by themselves.
            first = _named(plain, same[-1])
            for seen in same[:-1]:
                store.take_over(_named(plain, seen).hash, first.hash, first.facts)
            return first
        seen = Seen(_hash([server, run, now.at])[:10], run, now.at, now.to_dict())
        found = _named(plain, seen)
        before = "" if earlier else store.kept_under(plain.hash, prompt, plain.facts).fingerprint
        if before and store.some_answers_under(before):
            if adopt(before):
                store.take_over(before, found.hash, found.facts)
            else:
                say("it does not answer as its stored answers do, so they are not used")
        store.keep_sighting(server, seen)
    if earlier:
        say(f"{_why(now, earlier[0])}, so its stored answers are not used")
    return found


def other_weights(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two identities are of one server, with different weights."""
    plain = [{k: v for k, v in it.items() if k not in {SEEN, "weights"}} for it in (one, other)]
    return plain[0] == plain[1] and SEEN in one and SEEN in other and one[SEEN] != other[SEEN]


def _is_same(now: Observation, seen: Seen, run: str) -> bool:
    if seen.run == run and seen.at == now.at:
        return True  # another process of this run has stored this observation
    return not now.change_since(seen.facts)


def _why(now: Observation, seen: Seen) -> str:
    if now.signature is None:
        return f"its weights can't be looked at ({now.fault or 'it gave no answer'})"
    return f"other weights answer than on {minute(seen.at)} ({now.change_since(seen.facts)})"


def _named(plain: Fingerprint, seen: Seen) -> Fingerprint:
    identity = {**plain.facts["identity"], SEEN: seen.weights}
    if seen.facts["weights"]:
        identity["weights"] = seen.facts["weights"]
    return Fingerprint.of({**plain.facts, "identity": identity})


def _hash(value: Any) -> str:  # noqa: ANN401 (any plain value)
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:24]
