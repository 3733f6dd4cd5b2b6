"""What parties say while they agree and compute; see `targets` for what a target is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace

Target = Callable[[bytes], None]


def session() -> Target:
    """What an insider may say to the other parties, in any order: `rank type body` a line."""
    from agent.session.descriptor import KeyAgreement
    from agent.session.events import Described, State
    from agent.session.machine import EARLY, SessionMachine
    from agent.session.transcript import NotATranscript, check
    from messaging.errors import MessagingError
    from messaging.message import Message
    from messaging.protocols.session import PROTOCOL, Say, from_message
    from tests.support.sessions import NOW as START
    from tests.support.sessions import draft_of, make_parties, offer_for, start
    from traversal.candidate import BadCandidate, RemoteSide

    parties = make_parties(3)
    documents = {party.did: party.document for party in parties}
    # A proposal with an ML-KEM key is half of what an input may have.
    draft = replace(draft_of(parties), key_agreement=KeyAgreement.CLASSICAL)

    def say(machine: SessionMachine, sender: str, line: bytes, now: float) -> None:
        kind, _, text = line.partition(b" ")
        # A seed names the parties that are drawn anew in every process.
        for rank, party in enumerate(parties):
            text = text.replace(b"{%d}" % rank, party.did.encode())
        if machine.descriptor is not None:
            text = text.replace(b"{S}", machine.descriptor.id.encode())
        try:
            body = json.loads(text)
            said = from_message(Message(f"{PROTOCOL}/{kind.decode(errors='replace')}", body))
        except (MessagingError, ValueError, RecursionError):
            return
        if said is None:
            return
        machine.handle_message(sender, said, now)
        if isinstance(said, Say):
            machine.handle_pulse(sender, said.statement, now)
        try:
            RemoteSide.from_json(body.get("side"))
        except BadCandidate:
            return

    def feed(data: bytes) -> None:
        machine = start(parties[0], parties, draft)
        now = START
        for line in data.splitlines()[:20]:
            say(machine, parties[1 + len(line) % 2].did, line, now)
            now += 1.0
            machine.handle_timer(now)
            machine.messages_to_send()
            while (event := machine.next_event()) is not None:
                if isinstance(event, Described):
                    session = event.descriptor.id
                    machine.offers_made({p.did: offer_for(session) for p in parties[1:]}, now)
        assert machine.state in (*EARLY, State.ENDED), "it went on without signatures"
        try:
            check(json.loads(data), documents)
        except (NotATranscript, ValueError, RecursionError):
            return

    return feed


def lobby() -> Target:
    """What a guest may say to a host, a host to a guest, and anybody at a door: `to type body`."""
    from agent.claims.evidence import Evidence
    from agent.errors import AgentError
    from agent.lobby.code import Caller, Doorkeeper, WrongCode
    from agent.lobby.events import (
        Admitted,
        GuestState,
        HostState,
        Knocked,
        Presented,
        Settling,
        Wanted,
    )
    from agent.lobby.guest import LobbyGuest
    from agent.lobby.host import MAX_GUESTS, Host
    from agent.lobby.link import LobbyLink, parse_link
    from agent.lobby.seats import Terms
    from messaging.errors import MessagingError
    from messaging.message import Attachment, Message
    from messaging.protocols import lobby as wire
    from tests.support import openid
    from tests.support.lobbies import ARCHIVE, PROGRAM, draft_for
    from tests.support.sessions import NOW, make_parties

    parties = make_parties(3)
    me, other = parties[:2]
    documents = {party.did: party.document for party in parties}
    expires = int(NOW) + 3600
    terms = Terms("L" * 22, "T" * 22, "", PROGRAM, 3, 2, ("party",) * 3, expires)
    link = LobbyLink(terms.lobby, me.did, "", expires, terms.token)
    # Nobody has signed for anybody here, or logged in.
    at_login = wire.LoginRequired(openid.ISSUER, openid.CLIENT)
    strict = replace(terms, requires=(wire.VouchRequired((parties[2].did,)), at_login))
    evidence = Evidence(documents, openid.KEYS)
    code = "lemon-river-stone"

    def new_host(terms: Terms = terms) -> Host:
        return Host(
            terms,
            me=me.did,
            name="",
            nonce="H" * 43,
            speaker=me.speaker,
            draft_for=draft_for,
            pieces=wire.pieces_of(ARCHIVE),
        )

    def new_guest() -> LobbyGuest:
        return LobbyGuest(
            link,
            me=other.did,
            name="",
            role="",
            nonce="G" * 43,
            created=1,
            speaker=other.speaker,
            now=NOW,
        )

    def read(kind: bytes, text: bytes) -> wire.LobbyMessage | None:
        for rank, party in enumerate(parties):
            text = text.replace(b"{%d}" % rank, party.did.encode())
        try:
            body = json.loads(text)
            data = body.pop("data", None)
            attached = (Attachment(id="piece", base64=data),) if type(data) is str else ()
            type_ = f"{wire.PROTOCOL}/{kind.decode(errors='replace')}"
            return wire.from_message(Message(type_, body, attachments=attached))
        except (MessagingError, AttributeError, ValueError, RecursionError):
            return None

    def oblige(machine: Host | LobbyGuest, now: float) -> None:
        """An owner that agrees to everything, and a machine that is kept and read again."""
        while (event := machine.next_event()) is not None:
            match event, machine:
                case Settling(), _:
                    machine.know(documents, now)
                    machine.confirm(now)
                case Presented(did), Host():
                    machine.examine(did, evidence, now)
                case Wanted(), LobbyGuest():
                    machine.present((wire.VouchClaim("a.b.c"),), now)
                case Admitted(), LobbyGuest():
                    machine.fetch(now)
                    machine.approve(draft_for, now)
                case Knocked(did), Host():
                    try:
                        machine.admit(did, now)
                    except ValueError:
                        continue
        machine.messages_to_send()
        machine.handle_timer(now)

    def feed(data: bytes) -> None:
        host, guard, guest = new_host(), new_host(strict), new_guest()
        keeper, caller = Doorkeeper(code, me.did, "link"), Caller(code, other.did)
        now = NOW
        for line in data.splitlines()[:30]:
            to, _, rest = line.partition(b" ")
            kind, _, text = rest.partition(b" ")
            said = read(kind, text)
            now += len(line) % 40
            if isinstance(said, wire.CodeMessage):
                keeper.handle_message(other.did, said)
                try:
                    caller.handle_message(me.did, said)
                except WrongCode:
                    continue
            elif isinstance(said, wire.FromHost):
                guest.handle_message(me.did, said, now)
                oblige(guest, now)
            elif isinstance(said, wire.FromGuest):
                for machine in (host, guard):
                    machine.handle_message(parties[1 + (to == b"cy")].did, said, now)
                    oblige(machine, now)
        assert guest.state is not GuestState.BEGUN, "it began without the host's signature"
        assert host.state is not HostState.BEGUN, "it began without its guests' signatures"
        assert caller.link is None, "it took a link from who does not know the code"
        assert len(host.guests) <= MAX_GUESTS
        assert not guard.guests, "it heard who proved nothing"
        new_host().restore(json.loads(json.dumps(host.to_json())), now)
        new_guest().restore(json.loads(json.dumps(guest.to_json())), now)
        try:
            parse_link(data.decode(errors="replace"), NOW)
        except AgentError:
            return

    return feed


def claims() -> Target:
    """What somebody shows for who they are, and what an issuer says of itself."""
    from agent.claims.evidence import Evidence, Moment, Unproven
    from agent.claims.login import read_keys
    from agent.claims.provider import BadProvider, Provider
    from agent.claims.proving import prove
    from messaging.protocols.lobby import LoginClaim, VouchClaim, VouchRequired
    from tests.support import openid
    from tests.support.sessions import NOW, make_parties

    voucher, party = make_parties(2)
    evidence = Evidence({voucher.did: voucher.document}, openid.KEYS)
    vouched, moment = VouchRequired((voucher.did,)), Moment(openid.LOBBY, NOW)

    def feed(data: bytes) -> None:
        text = data.decode(errors="replace")
        for required, claim in (
            (vouched, VouchClaim(text)),
            (openid.REQUIRED, LoginClaim(openid.ISSUER, openid.SALT, text)),
        ):
            with contextlib.suppress(Unproven):
                prove(party.did, (claim,), (required,), evidence, moment)
                raise AssertionError("it proves something")
        with contextlib.suppress(ValueError):
            read_keys(data)
        with contextlib.suppress(BadProvider):
            Provider.parse(data, openid.ISSUER)

    return feed


def pulse() -> Target:
    from agent.session.pulse import PulseKeeper
    from agent.session.statements import FalseStatement, verify
    from agent.wireguard.config import LEAST_MTU, MOST_MTU
    from tests.support.sessions import make_parties
    from traversal.candidate import Address

    parties = make_parties(2)
    documents = {rank: party.document for rank, party in enumerate(parties)}
    address = Address("10.0.0.2", 7777)

    def feed(data: bytes) -> None:
        keeper = PulseKeeper({parties[1].did: address}, 0.0)
        keeper.reach(parties[1].did)
        keeper.search_mtu(parties[1].did, 0.5)
        keeper.datagrams_to_send(0.5, None, finished=False)
        carried = keeper.handle_datagram(data, address, 1.0)
        keeper.datagrams_to_send(2.0, None, finished=False)
        rtt = keeper.rtt(parties[1].did)
        assert rtt is None or rtt >= 0
        assert keeper.mtu(parties[1].did) in {LEAST_MTU, MOST_MTU}
        if carried is not None:
            try:
                verify(carried[1], documents)
            except FalseStatement:
                return

    return feed


TARGETS = (session, lobby, claims, pulse)
