"""The process on a node that starts one server of a target and ends it.

Run as `python -m capgate.serving.cluster.replica`. Its owner writes the order as a line of JSON,
and holds its standard input open as long as the server is needed. It answers in lines of JSON: `up`
or `failed`, and in the end `ended` with the last part of the server's log. So no key stands in a
command line or in a log.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, Final, TextIO

from pydantic import ValidationError

from capgate.common.errors import CapgateError, ServerError
from capgate.common.scratch import Scratch
from capgate.config.targets import Target
from capgate.serving.engines.managed import ManagedServer, start

_LOG_BYTES: Final = 256 << 10


def main(orders: TextIO, said: TextIO) -> None:
    """Carries one order out, and returns when the server has ended."""

    def tell(**line: object) -> None:
        said.write(json.dumps(line) + "\n")
        said.flush()

    line = orders.readline()
    if not line:
        return
    order = json.loads(line)
    server: list[ManagedServer] = []
    with Scratch() as scratch:
        # An owner may end while the server is being started.
        threading.Thread(
            target=_end_with_owner, args=(orders.fileno(), server, scratch), daemon=True
        ).start()
        try:
            target = _target(order["target"])
            server.append(
                start(target, scratch.path, number=order["number"], host=order["address"])
            )
        except CapgateError as fault:
            tell(failed={"what": fault.what, "said": fault.said, "remedy": fault.remedy})
            return
        (one,) = server
        tell(up={"base_url": one.base_url, "key": one.key, "identity": dict(one.identity)})
        one.wait()
        tell(ended={"words": one.last_words(), "log": _end_of(one.log).replace(one.key, "***")})


def _end_with_owner(orders: int, server: list[ManagedServer], scratch: Scratch) -> None:
    # Not through the file object, whose lock this thread would hold when the process ends.
    while os.read(orders, 1):
        pass
    if server:
        server[0].stop()
    else:
        # The server that is being started ends with this process.
        scratch.close()
        os._exit(0)


def _target(fields: dict[str, Any]) -> Target:
    """The target of an order.

    Raises:
        ServerError: This node's capgate does not know what the order says.
    """
    try:
        return Target.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise ServerError(
            "the node's capgate can't read the target's entry",
            said=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            remedy="install the same version of capgate on all nodes",
        ) from None


def _end_of(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_BYTES))
            return file.read(_LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
