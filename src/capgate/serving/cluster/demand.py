"""What a server asks of a Ray cluster, and how many of them a cluster has room for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from capgate.common.text import one_line
from capgate.config.targets import Target, VllmServe
from capgate.serving.engines.start_replicas import gpus_each

MOST = 64
"""Servers of one target that a run places at most where the entry names no number."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one server asks for.

    Attributes:
        cpus: CPUs.
        gpus: GPUs.
        resources: Further resources, by their names in the cluster.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """The demand as an actor's options."""
        further = {name: amount for name, amount in self.resources.items() if amount}
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "resources": further}

    @property
    def amounts(self) -> dict[str, float]:
        """The demand by the cluster's names; what is not asked for is left out."""
        asked = {"CPU": self.cpus, "GPU": self.gpus, **self.resources}
        return {name: amount for name, amount in asked.items() if amount}


def demand_of(target: Target, *, gpus: bool) -> Demand:
    """What each server of a target asks for.

    Args:
        target: A target with a `serve` block.
        gpus: Whether the cluster has GPUs. Then vLLM takes as many as its flags say.
    """
    spec = target.serve
    assert spec is not None
    if spec.num_gpus is not None:
        number = spec.num_gpus
    else:
        number = float(gpus_each(spec.args)) if gpus and isinstance(spec, VllmServe) else 0.0
    return Demand(spec.num_cpus, number, spec.resources)


def room_for(
    demand: Demand, nodes: Sequence[Mapping[str, float]], free: Mapping[str, float]
) -> int:
    """How many servers a cluster has room for at the moment; at most `MOST`.

    Args:
        demand: What each asks for.
        nodes: What each node has in all. A server must fit onto one.
        free: What the whole cluster has free.
    """
    each = sum(_times(demand, node) for node in nodes)
    return min(each, _times(demand, free), MOST)


def _times(demand: Demand, has: Mapping[str, float]) -> int:
    return min(
        (math.floor(has.get(name, 0.0) / amount) for name, amount in demand.amounts.items()),
        default=MOST,
    )


def amounts_in_words(amounts: Mapping[str, float]) -> str:
    """Amounts of resources for people, such as `2 CPUs and 1 GPU`."""
    parts = [_amount(name, amount) for name, amount in amounts.items()]
    return (
        " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts) or "nothing"
    )


def _amount(name: str, amount: float) -> str:
    number = f"{amount:g}" if amount else "no"
    many = "s" if amount > 1 and name in {"CPU", "GPU"} else ""
    return f"{number} {one_line(name, limit=60)}{many}"
