"""The process that joins a Ray cluster for a run and places the servers of its targets there.

Run as `python -m capgate.serving.cluster.driver`. It is apart from pytest's process: Ray takes over
a process's signals and output, and the user's own tests may use Ray, too. It reads lines of JSON
from standard input and writes what happens to standard output. When its input ends, so do its
servers.

| it reads | |
|---|---|
| `{"address": …}` | first: the cluster's address, or `local` |
| `{"place": {"id", "target", "replicas", "share"}}` | servers are wanted |
| `{"stop": ID}` | those are not needed any more |

| it writes | |
|---|---|
| `joined`, or `refused` or `missing` with Ray's words | the cluster's answer |
| `asked`, for an id | how many servers it tries to place |
| `placed`, `up`, `down`, `given_up`, `failed`, `no_room` | of one server (`id`, `number`) |
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any, Final, TextIO

from capgate.common.text import one_line
from capgate.config.targets import Target
from capgate.serving.cluster.demand import amounts_in_words, demand_of, room_for
from capgate.serving.cluster.placement import Order, Placement, Tell

LOCAL: Final = "local"
_OBJECT_STORE: Final = 80 << 20
"""Bytes of a local cluster's object store. Nothing but addresses goes through it."""


def main(orders: TextIO, said: TextIO) -> None:
    """Joins the cluster, and places servers until there are no more orders."""
    writing = threading.Lock()

    def tell(**line: object) -> None:
        with writing:
            said.write(json.dumps(line) + "\n")
            said.flush()

    first = orders.readline()
    if not first:
        return
    address = json.loads(first)["address"]
    try:
        import ray
    except ImportError as error:
        tell(missing=one_line(str(error), limit=600))
        return
    options: dict[str, Any] = (
        {"include_dashboard": False, "object_store_memory": _OBJECT_STORE}
        if address == LOCAL
        else {}
    )
    try:
        ray.init(
            address,
            namespace="capgate",
            log_to_driver=False,
            logging_level="warning",
            **options,
        )
    except Exception as error:  # Ray has no common base for what it raises here
        tell(refused=one_line(str(error) or repr(error), limit=600))
        return
    tell(joined=amounts_in_words(_shown(ray.cluster_resources(), ())))
    placements: dict[int, list[Placement]] = {}
    try:
        for line in orders:
            order = json.loads(line)
            if "place" in order:
                placements[order["place"]["id"]] = _place(order["place"], tell)
            else:
                _end(placements.pop(order["stop"], []))
    finally:
        _end([one for placed in placements.values() for one in placed])
        ray.shutdown()


def _place(order: dict[str, Any], tell: Tell) -> list[Placement]:
    """Begins to place the servers of one target."""
    import ray

    target = Target.model_validate(order["target"])
    has = ray.cluster_resources()
    demand = demand_of(target, gpus=has.get("GPU", 0) > 0)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fixed: int | None = order["replicas"]
    room = room_for(demand, nodes, ray.available_resources())
    # Targets that come later find room, too.
    count = fixed if fixed is not None else max(1, room // order["share"])
    tell(
        id=order["id"], asked=count, fixed=fixed is not None, each=amounts_in_words(demand.amounts)
    )

    def cluster() -> str:
        names = tuple(demand.amounts)
        free = _shown(ray.available_resources(), names)
        alive = sum(1 for node in ray.nodes() if node["Alive"])
        return (
            f"{amounts_in_words(_shown(ray.cluster_resources(), names))} on {alive} "
            f"node{'s' if alive > 1 else ''}, of which {amounts_in_words(free)} "
            f"{'is' if sum(free.values()) <= 1 else 'are'} free"
        )

    placements = [
        Placement(
            Order(
                id=order["id"],
                number=number,
                target=order["target"],
                options=demand.options,
                each=amounts_in_words(demand.amounts),
                patience=target.serve.placement_timeout if target.serve else 0.0,
                optional=fixed is None and number > 1,
            ),
            tell,
            cluster,
        )
        for number in range(1, count + 1)
    ]
    for placement in placements:
        placement.start()
    return placements


def _shown(has: dict[str, float], names: tuple[str, ...]) -> dict[str, float]:
    return {name: has.get(name, 0.0) for name in dict.fromkeys(("CPU", "GPU", *names))}


def _end(placements: list[Placement]) -> None:
    """Ends servers, all at the same time, and waits for their ends."""
    for placement in placements:
        placement.end()
    for placement in placements:
        placement.join()


if __name__ == "__main__":
    # What Ray or another library prints must not stand among the lines.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    main(sys.stdin, lines)
