"""What came of two parties' session, by their own events, and whether it is what had to come."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lab.crew import Member
from lab.places import PLACES, WORST_FIRST


@dataclass(frozen=True)
class Pair:
    """What came of two parties; times in ms from the first offer.

    `ms_to_relay` is when both heard each other through WireGuard, if that was by a relay at first;
    `ms_to_direct` is when the last of both had a direct path, from its opening where that was late.
    `lost_packets` are those of a steady
    100 a second each way while the program ran, `counted_upgrade` says whether the path became
    direct meanwhile. `reason` are the agents' own words where a session failed.
    """

    a: str
    b: str
    connected: bool
    path: str | None  # "direct", "relay", "degraded" (over a stream), as it was at last
    as_expected: bool
    expected: str  # the same words; direct wherever a path without a relay can exist
    ms_to_relay: float | None = None
    ms_to_direct: float | None = None
    lost_packets: int | None = None
    sent_packets: int | None = None
    counted_upgrade: bool = False
    endpoints: tuple[str, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class Cell:
    """A pair to come: two members, and which path RFC 4787 lets them have."""

    a: str
    b: str
    members: tuple[Member, Member]
    expected: str


def judge(
    cell: Cell,
    told: Sequence[Sequence[Mapping[str, Any]]],
    words: Sequence[str],
    opened_at: float | None = None,
) -> Pair:
    paths = [[event for event in said if event.get("event") == "path"] for said in told]
    meshes = [event for said in told for event in said if event.get("event") == "mesh"]
    counted = _counted([event for said in told for event in said if event.get("event") == "result"])
    connected = all(paths) and len(meshes) == len(told)
    at_last = {said[-1]["kind"] for said in paths} if connected else set()
    path = next((kind for kind in WORST_FIRST if kind in at_last), None)
    done = connected and counted is not None
    pair = Pair(
        a=cell.a,
        b=cell.b,
        connected=connected,
        path=path,
        as_expected=path == cell.expected and done,
        expected=cell.expected,
        endpoints=tuple(said[-1]["endpoint"] for said in paths if said),
        reason=None if done else _reason(told, words),
    )
    return _timed(pair, paths, meshes, counted, opened_at) if connected else pair


def _timed(
    pair: Pair,
    paths: Sequence[Sequence[Mapping[str, Any]]],
    meshes: Sequence[Mapping[str, Any]],
    counted: Mapping[str, float] | None,
    opened_at: float | None,
) -> Pair:
    began = min(mesh["t"] - mesh["seconds"] for mesh in meshes)
    usable = max(mesh["t"] for mesh in meshes)
    direct = None
    if pair.path == "direct":
        firsts = [next(e["t"] for e in said if e["kind"] == "direct") for said in paths]
        direct = max(*firsts, usable)
    relayed = {said[0]["kind"] for said in paths} != {"direct"}
    found = replace(
        pair,
        ms_to_relay=_ms(usable - began) if relayed else None,
        ms_to_direct=None if direct is None else _ms(direct - max(began, opened_at or began)),
    )
    if counted is None:
        return found
    return replace(
        found,
        lost_packets=int(counted["lost"]),
        sent_packets=int(counted["sent"]),
        counted_upgrade=direct is not None and counted["from"] < direct < counted["to"],
    )


def _ms(seconds: float) -> float:
    return round(max(0.0, seconds) * 1000, 1)


def _counted(results: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """What the program at both parties has printed, if they agree."""
    outputs = {result.get("output") for result in results}
    if len(results) != 2 or len(outputs) != 1:
        return None
    words = [word.split("=") for word in str(outputs.pop()).split()]
    if [word[0] for word in words] != ["lost", "sent", "from", "to"]:
        return None
    return {name: float(value) for name, value in words}


def _reason(told: Sequence[Sequence[Mapping[str, Any]]], words: Sequence[str]) -> str:
    """The most telling words of two agents that failed."""
    events = [event for said in told for event in said]
    for name in ("no-path", "error"):
        for event in events:
            if name in (event.get("name"), event.get("event")):
                return str(event.get("text"))
    return words[-1] if words else json.dumps(events[-1]) if events else "they said nothing"


def describe(pair: Pair) -> str:
    """One line about a pair for a person."""
    times = (("relay", pair.ms_to_relay), ("direct", pair.ms_to_direct))
    how = ", ".join(f"{kind} in {ms:.0f} ms" for kind, ms in times if ms is not None) or "no path"
    lost = f", {pair.lost_packets} of {pair.sent_packets} lost" if pair.lost_packets else ""
    verdict = "" if pair.as_expected else f"   NOT EXPECTED: {pair.expected}; {pair.reason or ''}"
    who = pair.a if pair.a == pair.b and pair.a not in PLACES else f"{pair.a} - {pair.b}"
    return f"{who:<44} {how}{lost}{verdict}"
