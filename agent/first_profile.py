"""Making a profile: keys, the DID of them, and its account at a mediator."""

from __future__ import annotations

from agent.errors import ProfileMissing, UsageMistake
from agent.mail.account import Account
from agent.mail.invitation import Invited, find_mediator
from agent.mail.transport import Transport
from agent.profile import Card, Choice
from agent.report import Report
from identity import did_peer
from identity.keys import Curve, PrivateKey
from identity.keystore import Profile
from resolvers.local import LocalResolver


async def own_profile(choice: Choice, mediator: str | None, report: Report) -> Profile:
    """Our profile; where there is none yet a new one, whose mail `mediator` (URL or DID) keeps.

    Raises: ProfileMissing, without a profile and a mediator; and as `create_profile`.
    """
    if choice.exists():
        return choice.load()
    if mediator is None:
        raise ProfileMissing(choice.name)
    made = await create_profile(choice, None, choice.passphrase_for_new(), mediator)
    report.event("step", name="did", text=f"made your DID; its mail is kept at {mediator}")
    return made


async def create_profile(
    choice: Choice, profile: Profile | None, passphrase: str | None, mediator: str | None
) -> Profile:
    """A new profile, or `profile` once more where its registration was interrupted.

    Raises: UsageMistake, NoInvitation, EndpointUnreachable, KeystoreError.
    """
    async with Transport() as transport:
        invited = (
            await find_mediator(mediator, transport) if mediator is not None else Invited(None)
        )
        if profile is None:
            profile = make_profile(invited.mediator)
            # Saved before anybody hears of it: what is interrupted from here on can be finished.
            choice.create(profile, passphrase)
        elif invited.mediator not in (None, profile.mediator):
            raise UsageMistake(
                f"profile {choice.name!r} has its mail at another mediator",
                "--profile NAME makes another DID for that one",
            )
        if profile.mediator is not None:
            await Account(profile, LocalResolver(), transport).register(invited.by)
    choice.write_card(Card(profile.did, profile.mediator, registered=profile.mediator is not None))
    return profile


def make_profile(mediator: str | None) -> Profile:
    """Fresh keys and the did:peer:2 of them, whose mail goes to `mediator`."""
    agreement, authentication = (
        PrivateKey.generate(Curve.X25519),
        PrivateKey.generate(Curve.ED25519),
    )
    services = [] if mediator is None else [did_peer.didcomm_service(mediator)]
    did = did_peer.create_2([agreement.public], [authentication.public], services)
    return Profile(did, {f"{did}#key-1": agreement, f"{did}#key-2": authentication}, mediator)
