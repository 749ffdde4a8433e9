"""Endpoints that were out of reach and are proven again before they are asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from capgate.common.errors import CapgateError
from capgate.serving.endpoint import Endpoint
from capgate.serving.replicas import Opened


@dataclass
class _Proof:
    """A proof of one server.

    Attributes:
        began: When it began, Unix seconds.
        found: What it found; None while it goes on.
    """

    began: float
    found: Opened | None = None


class Returning:
    """Proves servers again, each in a thread of its own, so that nobody waits meanwhile.

    Args:
        prove: Opens one server of a base with its adapters: takes the base's id and the server's
            URL.
    """

    def __init__(self, prove: Callable[[str, str], Opened]) -> None:
        self._prove = prove
        self._proofs: dict[tuple[str, str], _Proof] = {}
        self._lock = threading.Lock()

    def endpoint(self, base: str, target: str, url: str, since: float) -> Endpoint | None:
        """The endpoint of a target on one server, if the server was proven since a time.

        The first call begins a proof, and so does the one after a call that told of a fault.

        Args:
            base: Id of the base.
            target: Id of the base or of one of its adapters.
            url: The server's URL.
            since: Unix seconds; earlier proofs do not count.

        Returns:
            None while the proof goes on.

        Raises:
            CapgateError: The server is not there, or does not serve what it served.
        """
        key = (base, url)
        with self._lock:
            proof = self._proofs.get(key)
            known = proof is not None and (proof.found is None or proof.began >= since)
            if proof is None or not known:
                proof = self._proofs[key] = _Proof(time.time())
                threading.Thread(target=self._run, args=(key, proof), daemon=True).start()
            if proof.found is None:
                return None
            found = proof.found.get(target)
            if isinstance(found, Endpoint):
                return found
            del self._proofs[key]
        if found is None:
            return None
        raise found

    def _run(self, key: tuple[str, str], proof: _Proof) -> None:
        try:
            proof.found = self._prove(*key)
        except CapgateError as fault:
            proof.found = {key[0]: fault}
        except BaseException:
            with self._lock:
                self._proofs.pop(key, None)
            raise
