"""A lobby's link: what its host made, whole, in time; or one clear sentence."""

import re
from urllib.parse import urlsplit

import pytest

from agent.errors import UsageMistake
from agent.lobby.link import LinkExpired, LinkSwapped, LobbyLink, mediator_of, parse_link
from identity.codec import b64url_encode
from messaging.protocols.out_of_band import Invitation
from tests.support.sessions import make_parties

HOST, MALLORY = (party.did for party in make_parties(2))
EXPIRES = 2_000_000_000
LINK = LobbyLink.new(HOST, "an auction for three", EXPIRES)
URL = LINK.to_url("https://mediator.example/")


def test_a_link_says_all_that_a_guest_needs() -> None:
    assert parse_link(URL, EXPIRES - 1) == LINK
    assert parse_link(f"  {URL}\n", EXPIRES - 1) == LINK
    assert URL.startswith("https://mediator.example/i/?_oob=")


def test_a_link_leads_to_the_mediator_of_its_host() -> None:
    assert mediator_of(URL) == "https://mediator.example"
    assert mediator_of(f" {LINK.to_url('http://[::1]:8080/below')}") == "http://[::1]:8080/below"


def test_what_other_agents_read_in_it_is_an_out_of_band_invitation() -> None:
    invitation = Invitation.from_url(URL)
    assert (invitation.frm, invitation.id) == (HOST, LINK.lobby)
    assert invitation.goal == "an auction for three"


def test_the_token_is_behind_the_hash_sign_and_in_no_repr() -> None:
    parts = urlsplit(URL)
    assert LINK.token in parts.fragment
    assert LINK.token not in parts.path + parts.query
    assert LINK.token not in repr(LINK)


def test_an_invitation_that_a_server_swapped_is_found_out() -> None:
    swapped = LobbyLink(LINK.lobby, MALLORY, LINK.goal, EXPIRES, "x").to_url("https://m.example")
    forged = swapped.partition("#")[0] + "#" + URL.partition("#")[2]
    with pytest.raises(LinkSwapped):
        parse_link(forged, EXPIRES - 1)


def test_every_letter_of_the_query_counts() -> None:
    for place in range(URL.index("=") + 1, URL.index("#"), 7):
        letter = "A" if URL[place] != "A" else "B"
        with pytest.raises((LinkSwapped, UsageMistake)):
            parse_link(URL[:place] + letter + URL[place + 1 :], EXPIRES - 1)


def test_a_link_expires() -> None:
    with pytest.raises(LinkExpired):
        parse_link(URL, EXPIRES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lemon-river-stone",
        "https://mediator.example/i/",
        URL.partition("#")[0],
        URL[:-1],
        URL + "AAAA",
        URL.replace("https", "file"),
        URL.replace("_oob=", "oob="),
        URL.replace("?", "?_oob=AAAA&"),
        "https://[mediator.example/i/?_oob=AAAA#a.b",
        f"https://m.example/i/?_oob={'A' * 20_000}#a.b",
        "https://m.example/i/?_oob=%C3%A9#%C3%A9.é",
    ],
    ids=[
        *("empty", "a code", "no query", "no fragment", "short token", "long token", "a file"),
        *("another query", "two invitations", "no URL", "endless", "not ASCII"),
    ],
)
def test_what_is_no_link_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises((UsageMistake, LinkSwapped)) as refused:
        parse_link(text, EXPIRES - 1)
    assert "\n" not in str(refused.value)


def test_an_invitation_to_a_mediator_is_no_lobby() -> None:
    data = Invitation(HOST, "request-mediate").to_message(expires_time=EXPIRES).serialize()
    fragment = re.sub(r".*#", "", LobbyLink.new(HOST, "", EXPIRES).to_url("https://m.example"))
    from agent.lobby.link import _hash

    url = f"https://m.example/i/?_oob={b64url_encode(data)}#{_hash(data)}.{fragment[-22:]}"
    with pytest.raises(UsageMistake):
        parse_link(url, EXPIRES - 1)
