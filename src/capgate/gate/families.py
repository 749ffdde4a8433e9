"""Holm's procedure over families of tests: a family's share stays in it until all are rejected.

Sources: Holm, Scandinavian Journal of Statistics 6 (1979) 65–70, with weights; Bretz, Maurer,
Brannath and Posch, Statistics in Medicine 28 (2009) 586–604, for shares that are passed on along
a graph; Goeman and Solari, Annals of Statistics 38 (2010) 3782–3810, for the proof: the levels of
what is not rejected only grow, and those of the true hypotheses never sum to more than the whole.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def holm_by_family(
    p_values: Sequence[float], shares: Sequence[float], families: Sequence[Hashable]
) -> tuple[float, ...]:
    """Returns adjusted p-values in the order given.

    A hypothesis is rejected at the sum of all shares exactly where its adjusted value is at most
    that sum; the chance of any false rejection is then at most it, also where the tests depend on
    each other. What is rejected passes its share on to the others of its family, and a family
    that is rejected whole to the other families, in proportion to their shares. So each one is
    rejected that its own share rejects, and each one that Holm's procedure over its family alone,
    at the family's share, rejects.

    Args:
        p_values: One of each hypothesis, in [0, 1].
        shares: Of each hypothesis, positive.
        families: Which family each is of.

    Raises:
        ValueError: If a value is out of its range, or they are not as many.
    """
    if not len(p_values) == len(shares) == len(families):
        raise ValueError("each p-value needs a share and a family")
    if not all(0.0 <= p <= 1.0 for p in p_values):
        raise ValueError("a p-value lies between 0 and 1")
    if not all(share > 0.0 for share in shares):
        raise ValueError("each p-value needs a positive share")
    whole = sum(shares)
    of_family: dict[Hashable, float] = {}
    left: dict[Hashable, list[int]] = {}
    for index, (share, family) in enumerate(zip(shares, families, strict=True)):
        of_family[family] = of_family.get(family, 0.0) + share
        left.setdefault(family, []).append(index)
    adjusted, highest = [1.0] * len(p_values), 0.0
    while left:
        remaining = sum(of_family[family] for family in left)
        best: tuple[float, Hashable, int] | None = None
        for family, members in left.items():
            still = sum(shares[index] for index in members)
            for index in members:
                # The part of the whole at which this one is tested now.
                part = of_family[family] / remaining * shares[index] / still
                if best is None or p_values[index] / part < best[0]:
                    best = p_values[index] / part, family, index
        assert best is not None
        needed, family, index = best
        highest = max(highest, min(1.0, needed))
        adjusted[index] = highest
        left[family].remove(index)
        if not left[family]:
            del left[family]
    return _rounded_to(tuple(adjusted), p_values, shares, whole)


def _rounded_to(
    adjusted: tuple[float, ...],
    p_values: Sequence[float],
    shares: Sequence[float],
    whole: float,
) -> tuple[float, ...]:
    """Returns adjusted values in which no rounding undoes a rejection at a test's own share."""
    return tuple(
        min(one, whole) if p <= share else one
        for one, p, share in zip(adjusted, p_values, shares, strict=True)
    )
