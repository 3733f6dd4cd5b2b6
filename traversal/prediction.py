"""Port prediction: where a NAT with a varying mapping, but regular ports, will show us next.

A STUN server's two addresses or ports see such a NAT's mappings one after the other. If they lie a
few equal steps apart, the next destinations (the other party's addresses) will be shown the ports
that follow. We offer those as candidates: the other party's checks to them open its own NAT for the
ports that ours will really come from. Against a NAT with random ports this guesses nothing.
Source: the behaviour is RFC 4787, section 4.2 ("port assignment"); others guess here too (RFC 5128,
section 3.5).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from traversal.candidate import PREDICTED, Address, Candidate, Kind, candidate

ENOUGH = 3  # ports seen, at least: two have a difference, but no regularity
WIDEST_STEP = 16  # a wider one is not told from chance
MOST_MISSED = 4  # ports that others behind the NAT may have got between two of ours
MAX_PREDICTED = 8
FIRST_PORT = 1024


def predict(seen: Sequence[Address], *, limit: int = MAX_PREDICTED) -> tuple[Address, ...]:
    """The addresses we will be seen at next, the likeliest first; none if nothing is regular.

    `seen` is what STUN showed of one port of ours, by fresh destinations in the order asked; an
    address that repeats shows a mapping that does not vary, and there is nothing to predict.
    """
    ports = [address.port for address in seen]
    if len(ports) < ENOUGH or len({address.host for address in seen}) != 1:
        return ()
    if len(set(ports)) < len(ports):
        return ()
    step = step_of(ports)
    if step is None:
        return ()
    following = (ports[-1] + step * i for i in range(1, limit + 1))
    return tuple(Address(seen[0].host, _wrapped(port)) for port in following)


def step_of(ports: Sequence[int]) -> int | None:
    """What lies between one mapping and the next, negative if ports fall; None if irregular."""
    steps = [_distance(a, b) for a, b in itertools.pairwise(ports)]
    if len({step > 0 for step in steps}) != 1:
        return None
    step = math.gcd(*steps)
    if step > WIDEST_STEP or max(map(abs, steps)) > step * MOST_MISSED:
        return None
    return step if steps[0] > 0 else -step


def predicted_candidates(
    seen: Sequence[Address], related: Address | None = None
) -> tuple[Candidate, ...]:
    """To offer beside what was seen, below it in priority."""
    made = (candidate(Kind.SERVER_REFLEXIVE, address, related) for address in predict(seen))
    return tuple(
        Candidate(c.kind, c.address, c.priority - 256 * (i + 1), f"{PREDICTED}-{i + 1}", c.related)
        for i, c in enumerate(made)
    )


def _distance(first: int, second: int) -> int:
    """The short way round, since ports start again behind the highest."""
    size = 65536 - FIRST_PORT
    return (second - first + size // 2) % size - size // 2


def _wrapped(port: int) -> int:
    return FIRST_PORT + (port - FIRST_PORT) % (65536 - FIRST_PORT)
