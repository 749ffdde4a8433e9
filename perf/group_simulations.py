"""Simulated whole-benchmark runs of MMLU, its subjects and domains judged with the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from gate_simulations import (
    MMLU_SIZES,
    POLICY,
    Counts,
    Rate,
    mcnemar,
    pooled_fails,
    unparsed_fails,
)

from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, DOMAINS, SUBJECTS
from capgate.gate import Budget

Flags = npt.NDArray[np.bool_]

BUNDLED_SIZES = (4,) * len(SUBJECTS)
"""Questions of the sample that capgate ships."""

BUDGETS = {"before": Budget.whole(POLICY), "now": Budget.whole(POLICY, domains=True)}
"""Without and with domains; the subjects' share of the one is both groups' share of the other."""


class Draws(NamedTuple):
    """Losses and gains of many runs.

    Attributes:
        lost: By subject, shape `(runs, 57)`.
        gained: The same.
        lost_of: By domain, shape `(runs, 4)`.
        gained_of: The same.
    """

    lost: Counts
    gained: Counts
    lost_of: Counts
    gained_of: Counts


def draw(
    sizes: tuple[int, ...],
    discordance: float,
    *,
    runs: int,
    seed: int,
    domain: str = "",
    drop: float = 0.0,
) -> Draws:
    """Draws answers to a whole benchmark many times.

    Args:
        sizes: Questions of each subject, in alphabetical order.
        discordance: Share of questions where the two sides differ; a larger drop raises it.
        runs: How many times.
        seed: Of the draws.
        domain: The one that lost capability; none where it is `""`.
        drop: How much it lost.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for subject, size in zip(SUBJECTS, sizes, strict=True):
        mine = drop if DOMAIN_OF[subject] == domain else 0.0
        differ = max(discordance, mine)
        chances = [(differ + mine) / 2, (differ - mine) / 2, 1 - differ]
        drawn.append(rng.multinomial(size, chances, size=runs))
    lost, gained, _ = np.moveaxis(np.stack(drawn, axis=1), 2, 0)
    of = np.array([[DOMAIN_OF[s] == name for name in DOMAINS] for s in SUBJECTS], dtype=np.int64)
    return Draws(lost, gained, lost @ of, gained @ of)


def subjects_lost(draws: Draws, budget: Budget) -> Flags:
    """Returns which subjects are rejected at their own share, shape `(runs, 57)`."""
    return mcnemar(draws.lost, draws.gained) <= budget.per_subject(len(SUBJECTS))


def domains_lost(draws: Draws, budget: Budget) -> Flags:
    """Returns which domains are rejected at their own share, shape `(runs, 4)`."""
    if not budget.domains:
        return np.zeros(draws.lost_of.shape, dtype=np.bool_)
    return mcnemar(draws.lost_of, draws.gained_of) <= budget.per_domain(len(DOMAINS))


def suite_false_alarms(discordance: float, *, runs: int, seed: int) -> tuple[Rate, ...]:
    """Returns how often an unchanged model fails the whole suite, and by which of its tests.

    57 subjects of MMLU's real sizes and four domains, the shares of `Budget.whole`. One answer in
    a hundred is unparsed on each side by turns.

    Returns:
        Of the suite, its pooled test, its subjects, its domains, and both of the last together.
    """
    budget, n = BUDGETS["now"], sum(MMLU_SIZES)
    draws = draw(MMLU_SIZES, discordance, runs=runs, seed=seed)
    # Holm rejects something exactly where a p-value is at most its own share.
    subject = subjects_lost(draws, budget).any(axis=1)
    domain = domains_lost(draws, budget).any(axis=1)
    pooled = pooled_fails(draws.lost.sum(axis=1), draws.gained.sum(axis=1), n, budget.pooled)
    turns = np.random.default_rng(seed + 1).multinomial(n, [0.01, 0.01, 0.98], size=runs)
    unread = unparsed_fails(turns[:, 0], turns[:, 1], n, budget.unparsed)
    what = f"suite, discordance {discordance:g}"
    return tuple(
        Rate(f"{what}{part}", float(failed.mean()), limit, runs)
        for part, failed, limit in (
            ("", subject | domain | pooled | unread, budget.total),
            (", pooled", pooled, budget.pooled),
            (", subjects", subject, budget.subjects),
            (", domains", domain, budget.domains),
            (", groups", subject | domain, budget.groups),
        )
    )


@dataclass(frozen=True)
class Sight:
    """How often a loss in one domain alone is seen.

    Attributes:
        n: Questions of the benchmark.
        domain: The one that lost.
        discordance: Share of questions where the two sides differ.
        drop: What the domain lost.
        fails: Share of the runs that fail, `before` domains were judged and `now`.
        subject: Share of the runs in which a subject of the domain is named, likewise.
        named: Share of the runs in which the domain is named.
    """

    n: int
    domain: str
    discordance: float
    drop: float
    fails: dict[str, float]
    subject: dict[str, float]
    named: float


def sight_of(
    sizes: tuple[int, ...], domain: str, discordance: float, drop: float, *, runs: int, seed: int
) -> Sight:
    """Returns how often a loss in one domain alone is seen, before and now."""
    draws = draw(sizes, discordance, runs=runs, seed=seed, domain=domain, drop=drop)
    lost, gained, n = draws.lost.sum(axis=1), draws.gained.sum(axis=1), sum(sizes)
    mine = np.array([DOMAIN_OF[subject] == domain for subject in SUBJECTS])
    fails, subject = {}, {}
    for when, budget in BUDGETS.items():
        subjects, domains = subjects_lost(draws, budget), domains_lost(draws, budget)
        pooled = pooled_fails(lost, gained, n, budget.pooled)
        fails[when] = float((subjects.any(axis=1) | domains.any(axis=1) | pooled).mean())
        subject[when] = float(subjects[:, mine].any(axis=1).mean())
    named = float(domains_lost(draws, BUDGETS["now"])[:, list(DOMAINS).index(domain)].mean())
    return Sight(n, domain, discordance, drop, fails, subject, named)
