"""Our keys at work: what goes to parties is sealed, what comes from them is opened."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from agent.mail.delivery import CannotWrite
from identity.keys import PrivateKey
from messaging.errors import MessagingError
from messaging.message import Message
from messaging.packing import Opened, Outgoing, pack, route, unpack
from resolvers.resolver import ResolutionError, Resolver


class Sealing:
    """As one DID; what is opened may be for other DIDs of ours as well."""

    def __init__(
        self,
        did: str,
        secrets: Mapping[str, PrivateKey],
        resolver: Resolver,
        clock: Callable[[], float],
    ) -> None:
        self._did = did
        self._secrets = dict(secrets)
        self._resolver = resolver
        self._clock = clock

    def add(self, keys: Mapping[str, PrivateKey]) -> None:
        """Keys of one more DID, for opening."""
        self._secrets.update(keys)

    async def ways(self, message: Message, to: str, expires: int | None) -> list[Outgoing]:
        """The sealed message, and where it can be brought. Raises: CannotWrite."""
        now = int(self._clock())
        message = dataclasses.replace(
            message, frm=self._did, to=(to,), created_time=now, expires_time=expires
        )
        try:
            envelope = await pack(
                message, to=to, sender=self._did, secrets=self._secrets, resolver=self._resolver
            )
            return await route(envelope, to=to, resolver=self._resolver, expires_time=expires)
        except (MessagingError, ResolutionError) as error:
            raise CannotWrite(to, error) from error

    async def open(self, envelope: bytes, senders: Resolver) -> Opened:
        """`senders` looks up whom it is from. Raises: MessagingError."""
        now = int(self._clock())
        return await unpack(envelope, secrets=self._secrets, resolver=senders, now=now)
