"""Programs of a person: kept by hash, never run unless that hash was allowed."""

import json
import stat
from pathlib import Path

import pytest

from agent.errors import AgentError
from agent.launch.consents import Consents
from agent.launch.program import Program, ProgramError, UnknownProgram, load_folder
from agent.launch.store import ProgramStore
from tests.support.launched import AUCTION, write_program

NOW = 1_900_000_000.0
ALICE, BOB, CAROL = "did:peer:2.alice", "did:peer:2.bob", "did:peer:2.carol"


@pytest.fixture
def store(tmp_path: Path) -> ProgramStore:
    return ProgramStore(tmp_path / "home")


def versions(folder: Path, count: int = 2) -> list[Program]:
    return [write_program(folder / f"v{number}", f"print({number})") for number in range(count)]


def test_what_comes_along_is_had_and_approved(store: ProgramStore) -> None:
    assert store.find("auction") == AUCTION == store.get(AUCTION.sha256)
    assert store.has(AUCTION.sha256)
    assert store.is_approved(AUCTION.sha256)


def test_what_is_added_is_had_but_not_approved(store: ProgramStore, tmp_path: Path) -> None:
    [new] = versions(tmp_path, 1)
    assert not store.has(new.sha256)
    assert store.add(new)
    assert not store.add(new)
    assert store.get(new.sha256) == new
    assert not store.is_approved(new.sha256)


def test_an_approval_is_for_one_hash_and_remembered(store: ProgramStore, tmp_path: Path) -> None:
    first, second = versions(tmp_path)
    store.approve(first)
    again = ProgramStore(tmp_path / "home")
    assert again.is_approved(first.sha256)
    assert again.has(first.sha256)
    assert not again.is_approved(second.sha256)


def test_what_is_kept_is_read_only_and_checked_when_read(
    store: ProgramStore, tmp_path: Path
) -> None:
    first, second = versions(tmp_path)
    store.approve(first)
    [path] = (tmp_path / "home" / "programs").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    path.unlink()
    path.write_bytes(second.archive())
    with pytest.raises(ProgramError, match="another hash than its name"):
        store.get(first.sha256)


def test_a_sent_archive_must_be_the_program_it_is_sent_as(
    store: ProgramStore, tmp_path: Path
) -> None:
    first, second = versions(tmp_path)
    assert store.add_archive(first.archive(), first.sha256) == first
    with pytest.raises(ProgramError, match=f"not {second.sha256[:16]}"):
        store.add_archive(first.archive(), second.sha256)
    assert not store.has(second.sha256)


@pytest.mark.parametrize("word", ["../../etc", "A" * 64, "0" * 63, ""])
def test_no_hash_leads_to_another_file(store: ProgramStore, word: str) -> None:
    with pytest.raises(ProgramError):
        store.get(word)


def test_programs_are_found_by_path_name_and_hash(store: ProgramStore, tmp_path: Path) -> None:
    first, second = versions(tmp_path)
    assert store.find(str(tmp_path / "v0")) == first
    with pytest.raises(UnknownProgram, match="auction"):
        store.find("probe")
    store.add(first)
    assert store.find("probe") == store.find(first.sha256[:8]) == first
    store.add(second)
    assert store.find(second.sha256) == second
    with pytest.raises(ProgramError, match="several") as several:
        store.find("probe")
    assert first.sha256[:16] in str(several.value)
    with pytest.raises(UnknownProgram):
        store.find(first.sha256[:7])


def test_nobody_takes_the_name_of_a_program_that_comes_along(
    store: ProgramStore, tmp_path: Path
) -> None:
    write_program(tmp_path / "p", "steal()")
    manifest = tmp_path / "p" / "manifest.toml"
    manifest.write_text(manifest.read_text().replace('"probe"', '"second_price_auction"'))
    store.approve(load_folder(tmp_path / "p"))
    assert store.find("auction") == store.find("second_price_auction") == AUCTION


def test_a_removed_program_is_gone_with_its_consents(store: ProgramStore, tmp_path: Path) -> None:
    [new] = versions(tmp_path, 1)
    store.approve(new)
    store.consents.allow(new.sha256, [ALICE, BOB], NOW + 60, NOW)
    store.remove(new.sha256)
    assert not store.has(new.sha256)
    assert not store.is_approved(new.sha256)
    assert not store.consents.allows(new.sha256, [ALICE, BOB], NOW)
    with pytest.raises(ProgramError, match="cannot be removed"):
        store.remove(AUCTION.sha256)


def test_the_version_approved_last_is_what_a_new_one_is_compared_with(
    store: ProgramStore, tmp_path: Path
) -> None:
    first, second, third = versions(tmp_path, 3)
    assert store.last_approved("probe", but=third.sha256) is None
    store.consents.approve(second.sha256, "probe", NOW + 1)
    store.add(second)
    store.consents.approve(first.sha256, "probe", NOW)
    store.add(first)
    store.add(third)
    assert store.last_approved("probe", but=third.sha256) == second
    assert store.last_approved("probe", but=second.sha256) == first


def test_a_standing_consent_is_for_one_program_one_group_and_a_time(tmp_path: Path) -> None:
    consents = Consents(tmp_path)
    consents.allow("ab" * 32, [ALICE, BOB, CAROL], NOW + 60, NOW)
    assert consents.allows("ab" * 32, [CAROL, ALICE, BOB], NOW)
    assert not consents.allows("ab" * 32, [ALICE, BOB], NOW)
    assert not consents.allows("ab" * 32, [ALICE, BOB, CAROL, "did:peer:2.mallory"], NOW)
    assert not consents.allows("cd" * 32, [ALICE, BOB, CAROL], NOW)
    assert not consents.allows("ab" * 32, [ALICE, BOB, CAROL], NOW + 60)
    consents.allow("ab" * 32, [ALICE, BOB, CAROL], NOW + 10, NOW)
    assert not consents.allows("ab" * 32, [ALICE, BOB, CAROL], NOW + 10)
    assert len(consents.standing(NOW)) == 1


def test_a_standing_consent_is_taken_back_for_one_group_or_for_all(tmp_path: Path) -> None:
    consents = Consents(tmp_path)
    for sha256, group in (("ab", [ALICE, BOB]), ("ab", [ALICE, CAROL]), ("cd", [ALICE, BOB])):
        consents.allow(sha256 * 32, group, NOW + 60, NOW)
    assert not consents.revoke("ab" * 32, [ALICE, BOB, CAROL], NOW)
    assert consents.revoke("ab" * 32, [BOB, ALICE], NOW)
    assert not consents.allows("ab" * 32, [ALICE, BOB], NOW)
    assert consents.allows("ab" * 32, [ALICE, CAROL], NOW)
    consents.allow("ab" * 32, [ALICE, BOB], NOW + 60, NOW)
    assert consents.revoke("ab" * 32, (), NOW)
    assert [one.sha256 for one in consents.standing(NOW)] == ["cd" * 32]
    assert not consents.revoke("cd" * 32, (), NOW + 60), "it is over by itself"


def test_a_damaged_file_of_consents_allows_nothing(tmp_path: Path) -> None:
    for content in ("", "[]", '{"programs": {"x": 1}, "standing": []}', json.dumps({})):
        (tmp_path / "consents.json").write_text(content)
        with pytest.raises(AgentError, match="damaged"):
            Consents(tmp_path).is_approved("ab" * 32)


def test_consents_are_for_their_owner_to_see(tmp_path: Path) -> None:
    Consents(tmp_path).approve("ab" * 32, "sum", NOW)
    assert stat.S_IMODE((tmp_path / "consents.json").stat().st_mode) == 0o600
