"""A DID is bound for good to an account that proves to control it: by envelope or by signature."""

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest

from identity.did_peer import create_2, didcomm_service
from identity.keys import Curve, PrivateKey
from mediator.app import Mediator
from messaging.binding import FORMAT, TYP, attached, sign_binding
from messaging.jws import sign_compact
from messaging.message import Attachment, Message
from messaging.protocols import coordinate_mediation as mediation
from messaging.protocols.report_problem import ProblemReport
from messaging.rotation import sign_prior
from tests.support.mediator_client import Party


@pytest.fixture
def other(mediator: Mediator) -> "Other":
    return make(mediator)


async def test_a_signed_proof_takes_a_did_from_whoever_squats_on_it(
    alice: Party, bob: Party, other: "Other"
) -> None:
    assert await bob.bind(other.did) == "success"
    await bob.forward(other.did, {"n": 1})
    assert await alice.bind(other.did) == "client_error"
    assert await bind(alice, other, other.proof(alice)) == "success"
    assert other.did not in await bob.bound()
    assert [a.json["n"] for a in await alice.fetch()] == [1]


async def test_what_was_proven_nobody_takes_without_proof(
    alice: Party, bob: Party, other: "Other"
) -> None:
    assert await bind(alice, other, other.proof(alice)) == "success"
    assert await bob.bind(other.did) == "client_error"
    assert await bind(alice, other, other.proof(alice)) == "no_change"


async def test_its_owner_moves_it_with_a_newer_proof_and_nobody_takes_it_back_with_an_older(
    alice: Party, bob: Party, other: "Other"
) -> None:
    began = now()
    first = other.proof(alice, issued=began - 60)
    assert await bind(alice, other, first) == "success"
    assert await bind(bob, other, other.proof(bob, issued=began)) == "success"
    assert await refused(alice, other, first)
    assert await refused(alice, other, other.proof(alice, issued=began))
    assert other.did in await bob.bound()


async def test_both_versions_take_it(alice: Party, other: "Other") -> None:
    message = Message(
        "https://didcomm.org/coordinate-mediation/2.0/keylist-update",
        {"updates": [{"recipient_did": other.did, "action": "add"}]},
        attachments=(attached(other.proof(alice)),),
    )
    answer = await alice.ask(message)
    assert answer.body["updated"][0]["result"] == "success"


async def test_it_counts_only_for_the_did_that_it_names(
    alice: Party, bob: Party, mediator: Mediator, other: "Other"
) -> None:
    victim = make(mediator)
    assert await bob.bind(victim.did) == "success"
    update = mediation.RecipientUpdate((mediation.Update(victim.did, mediation.Action.ADD),))
    message = replace(update.to_message(), attachments=(attached(other.proof(alice)),))
    answer = await alice.ask(message)
    [updated] = mediation.RecipientUpdateResponse.from_message(answer).updated
    assert updated.result.value == "client_error"


BAD: dict[str, Callable[["Other", Party, Party], str]] = {
    "for another account": lambda other, alice, bob: other.proof(bob),
    "for another mediator": lambda other, alice, bob: other.proof(alice, mediator=bob.did),
    "too old": lambda other, alice, bob: other.proof(alice, issued=now() - 700),
    "from the future": lambda other, alice, bob: other.proof(alice, issued=now() + 300),
    "signed by another's key": lambda other, alice, bob: sign_binding(
        other.kid,
        bob.secrets[f"{bob.did}#key-2"],
        account=alice.did,
        mediator=alice.mediator,
        issued_at=now(),
    ),
    "signed in another's name": lambda other, alice, bob: other.claims(
        alice, {"iss": other.did}, f"{bob.did}#key-2", bob.secrets[f"{bob.did}#key-2"]
    ),
    "signed by a key for encryption": lambda other, alice, bob: other.claims(
        alice, {}, f"{other.did}#key-1", other.key
    ),
    "signed by a key for assertions": lambda other, alice, bob: other.claims(
        alice, {}, f"{other.did}#key-3", other.key
    ),
    "a rotation": lambda other, alice, bob: sign_prior(other.kid, other.key, alice.did, now()),
    "of another kind": lambda other, alice, bob: other.claims(alice, {}, typ="JWT"),
    "of no kind": lambda other, alice, bob: other.claims(alice, {}, typ=None),
    "without a time": lambda other, alice, bob: other.claims(alice, {"iat": None}),
    "with a time in words": lambda other, alice, bob: other.claims(alice, {"iat": "now"}),
    "without an account": lambda other, alice, bob: other.claims(alice, {"sub": None}),
    "no signature": lambda other, alice, bob: other.proof(alice).rpartition(".")[0] + ".",
    "no token": lambda other, alice, bob: "nonsense",
    "not text": lambda other, alice, bob: "\u00e4.\u00f6.\u00fc",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_anything_else_proves_nothing(
    alice: Party, bob: Party, other: "Other", bad: Callable[["Other", Party, Party], str]
) -> None:
    assert await bob.bind(other.did) == "success"
    assert await refused(alice, other, bad(other, alice, bob))
    assert other.did in await bob.bound()


@dataclass
class Other:
    """A DID that sends nothing itself."""

    did: str
    key: PrivateKey
    mediator: str

    @property
    def kid(self) -> str:
        return f"{self.did}#key-2"

    def proof(
        self, account: Party, *, mediator: str | None = None, issued: int | None = None
    ) -> str:
        return sign_binding(
            self.kid,
            self.key,
            account=account.did,
            mediator=mediator or self.mediator,
            issued_at=now() if issued is None else issued,
        )

    def claims(
        self,
        account: Party,
        changed: dict[str, Any],
        kid: str | None = None,
        key: PrivateKey | None = None,
        typ: str | None = TYP,
    ) -> str:
        claims = {"iss": self.did, "sub": account.did, "aud": self.mediator, "iat": now()}
        return sign_compact(
            orjson.dumps({**claims, **changed}), key or self.key, kid or self.kid, typ=typ
        )


def make(mediator: Mediator) -> Other:
    encryption, signing = PrivateKey.generate(Curve.X25519), PrivateKey.generate(Curve.ED25519)
    services = [didcomm_service(mediator.identity.did)]
    did = create_2([encryption.public], [signing.public], services)
    asserting = f".A{signing.public.to_multikey()}.S"  # `#key-3`: not for authentication
    return Other(did.replace(".S", asserting, 1), signing, mediator.identity.did)


async def bind(party: Party, other: Other, proof: str) -> str:
    answer = await party.ask(_update(other, proof))
    [updated] = mediation.RecipientUpdateResponse.from_message(answer).updated
    return updated.result.value


async def refused(party: Party, other: Other, proof: str) -> bool:
    answer = await party.ask(_update(other, proof))
    return answer.type == ProblemReport.TYPE and answer.body["code"] == "e.p.trust.binding-proof"


def _update(other: Other, proof: str) -> Message:
    update = mediation.RecipientUpdate((mediation.Update(other.did, mediation.Action.ADD),))
    encoded = base64.b64encode(proof.encode()).decode()
    attachment = Attachment(format=FORMAT, base64=encoded)
    return replace(update.to_message(), attachments=(attachment,))


def now() -> int:
    """When it is asked, not when the tests were collected: proofs are believed for minutes."""
    return int(time.time())
