"""Programs whose parties differ, and the same computation under two frameworks."""

from pathlib import Path

import pytest

from agent.errors import UsageMistake
from agent.launch.inputs import InputError, parse_inputs
from agent.launch.program import Program, load_shipped
from agent.launch.seating import assign
from agent.session.descriptor import alike
from tests.support import launched
from tests.support.launched import AUCTION
from tests.support.peers import process


def shipped(name: str) -> Program:
    found = load_shipped(name)
    assert found is not None
    return found


MATCH = shipped("private_match")


@pytest.mark.parametrize(
    ("votes", "told"),
    [((1, 1), "match\n"), ((1, 0), "no match\n"), ((0, 1), "no match\n"), ((0, 0), "no match\n")],
)
async def test_voters_learn_whether_they_match_and_the_helper_nothing(
    tmp_path: Path, votes: tuple[int, int], told: str
) -> None:
    inputs = [{"vote": votes[0]}, {"vote": votes[1]}, {}]
    ended = await launched.run(MATCH, inputs, tmp_path)
    assert [one.code for one in ended] == [0, 0, 0], ended
    assert [one.stdout for one in ended] == [told, told, "done (no output)\n"]


async def test_the_helper_may_sit_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def turned(*words: object) -> launched.Seats:
        seats = usual(*words)  # type: ignore[arg-type]
        return launched.Seats(
            seats.rank, seats.addresses, seats.ports, 1, ("helper", "voter", "voter")
        )

    usual = launched.seats
    monkeypatch.setattr(launched, "seats", turned)
    ended = await launched.run(MATCH, [{}, {"vote": 1}, {"vote": 1}], tmp_path)
    assert [one.stdout for one in ended] == ["done (no output)\n", "match\n", "match\n"]


async def test_sum_and_maximum_of_three_numbers(tmp_path: Path) -> None:
    inputs = [{"number": number} for number in (7, 107, 207)]
    ended = await launched.run(shipped("sum_max"), inputs, tmp_path)
    assert [one.stdout for one in ended] == ["sum=321 max=207\n"] * 3


@pytest.mark.interop
async def test_the_same_under_cicada(tmp_path: Path) -> None:
    if reason := process.missing("cicada"):
        pytest.skip(reason)
    inputs = [{"number": number} for number in (7, 107, 207)]
    python = str(process.CICADA)
    ended = await launched.run(shipped("sum_max_cicada"), inputs, tmp_path, python=python)
    assert [one.stdout for one in ended] == ["sum=321 max=207\n"] * 3


def test_a_helper_gives_no_input_and_a_voter_must() -> None:
    assert parse_inputs(MATCH.manifest, [], "helper") == {}
    assert parse_inputs(MATCH.manifest, ["vote=1"], "voter") == {"vote": 1}
    with pytest.raises(InputError, match='"vote" is not an input of a helper of private_match'):
        parse_inputs(MATCH.manifest, ["vote=1"], "helper")
    with pytest.raises(InputError, match='input "vote" is missing'):
        parse_inputs(MATCH.manifest, [], "voter")


@pytest.mark.parametrize(
    ("wishes", "roles"),
    [
        ({"a": "helper", "b": None, "c": None}, ["helper", "voter", "voter"]),
        ({"a": "voter", "b": None, "c": "helper"}, ["voter", "voter", "helper"]),
        ({"a": None, "b": "voter", "c": "voter"}, ["helper", "voter", "voter"]),
    ],
)
def test_what_was_said_leaves_one_way_to_sit(
    wishes: dict[str, str | None], roles: list[str]
) -> None:
    assert list(assign(MATCH.manifest, wishes).values()) == roles


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"a": "voter", "b": None, "c": None}, "private_match has several roles"),
        ({"a": "voter", "b": "voter", "c": "voter"}, "no seat for another voter"),
        ({"a": "judge", "b": None, "c": None}, '"judge" is not a role of private_match'),
    ],
)
def test_roles_that_do_not_fit_are_told(wishes: dict[str, str | None], words: str) -> None:
    with pytest.raises(UsageMistake, match=words):
        assign(MATCH.manifest, wishes)


def test_where_all_are_alike_there_is_no_role_to_take() -> None:
    with pytest.raises(UsageMistake, match="all parties are alike"):
        assign(AUCTION.manifest, {"a": "bidder", "b": None, "c": None})


def test_results_are_compared_among_those_who_learn_the_same() -> None:
    outputs = {"price": "all", "winner": "buyer, seller", "note": "judge"}
    roles = ("seller", "buyer", "judge", "party", "buyer", "party")
    assert alike(roles, outputs) == ((0, 1, 4), (2,), (3, 5))
    assert alike(("party",) * 3, {"price": "all"}) == ((0, 1, 2),)
