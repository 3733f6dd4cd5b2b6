"""How a link comes by mail: a contact calls, or a spoken code fetches it."""

from __future__ import annotations

import asyncio
import contextlib
import time

from agent.contacts import Contacts
from agent.errors import AgentError, Exit, TookTooLong
from agent.lobby.code import Caller, WrongCode, door_of
from agent.lobby.link import LobbyLink, parse_link
from agent.mail.letters import Received
from agent.mail.mailbox import Mailbox
from messaging.errors import MalformedMessage
from messaging.protocols.lobby import (
    Answer,
    Call,
    CodeMessage,
    GiveLink,
    LobbyMessage,
    from_message,
    to_message,
)

CODE_SECONDS = 30.0  # until a host that is there has answered


class CodeRefused(AgentError):
    exit_code = Exit.IDENTITY

    def __init__(self) -> None:
        super().__init__(
            "the code is not the host's: mistyped, used up, or somebody stands in between",
            "do not try the same code again; ask the host for the link or for a new code",
        )


async def next_call(mailbox: Mailbox, contacts: Contacts) -> LobbyLink:
    """The lobby that somebody calls us to who is a contact or has computed with us.

    Calls of anybody else are thrown away.
    """
    async with contextlib.aclosing(mailbox.received()) as letters:
        async for received in letters:
            content = _content(received)
            if not isinstance(content, Call):
                received.leave()
                continue
            await received.acknowledge()
            sender = received.opened.sender or ""
            if not contacts.knows(sender):
                continue
            try:
                link = parse_link(content.link, time.time())
            except AgentError:
                continue
            if link.host == sender:
                return link
    raise RuntimeError("a mailbox never stops receiving")


async def link_for(code: str, mailbox: Mailbox, mediator: str) -> LobbyLink:
    """The link of the host whose code this is; `mediator` is the DID of the host's mediator.

    Raises: CodeRefused, TookTooLong, MailboxError.
    """
    caller = Caller(code, mailbox.did)
    try:
        async with asyncio.timeout(CODE_SECONDS):
            await _send(mailbox, door_of(code, mediator).did, caller.begin())
            async with contextlib.aclosing(mailbox.received()) as letters:
                async for received in letters:
                    content, sender = _content(received), received.opened.sender
                    if sender is None or not isinstance(content, Answer | GiveLink):
                        received.leave()
                        continue
                    await received.acknowledge()
                    for did, answer in caller.handle_message(sender, content):
                        await _send(mailbox, did, answer)
                    if caller.link is not None:
                        break
    except WrongCode as error:
        raise CodeRefused from error
    except TimeoutError:
        if caller.host is not None:  # it had our proof, and said nothing: it is not what it has
            raise CodeRefused from None
        raise TookTooLong(
            f"nobody answered to this code within {CODE_SECONDS:g} s",
            "is it spelled right, is --mediator the host's, and is the host there?",
        ) from None
    link = parse_link(caller.link or "", time.time())
    if link.host != caller.host:
        raise CodeRefused
    return link


async def _send(mailbox: Mailbox, did: str, content: CodeMessage) -> None:
    expires = int(time.time() + CODE_SECONDS)
    await mailbox.send(to_message(content, frm=mailbox.did, to=did, expires_time=expires), did)


def _content(received: Received) -> LobbyMessage | None:
    try:
        return from_message(received.opened.message)
    except MalformedMessage:
        return None
