"""Where a TURN server and its password come from: a file or the environment, never arguments."""

from pathlib import Path

import pytest

from agent.connection.turn import PASSWORD, USER, TurnServer, parse_url
from agent.errors import UsageMistake

THREE_LINES = "turn:turn.example:5000\nalice\ns3cret\n"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (USER, PASSWORD):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("turn:turn.example", ("turn.example", 3478)),
        ("turn:turn.example:5000?transport=udp", ("turn.example", 5000)),
        ("turn:192.0.2.1:3478", ("192.0.2.1", 3478)),
        ("turn:[2001:db8::1]:3478", ("2001:db8::1", 3478)),
    ],
)
def test_a_url_is_read_as_rfc_7065_says(url: str, place: tuple[str, int]) -> None:
    assert parse_url(url) == place


@pytest.mark.parametrize(
    "url",
    [
        "turns:turn.example",
        "turn:turn.example?transport=tcp",
        "turn:alice:s3cret@turn.example",
        "turn://turn.example",
        "turn:turn.example:0",
        "turn:turn.example:65536",
        "turn:",
        "stun:turn.example",
    ],
)
def test_anything_else_is_a_mistake_with_a_hint(url: str) -> None:
    with pytest.raises(UsageMistake) as caught:
        parse_url(url)
    assert caught.value.hint


def test_the_profiles_file_has_all_three(tmp_path: Path) -> None:
    file = tmp_path / "default.turn"
    assert TurnServer.from_settings(None, file) is None
    file.write_text(THREE_LINES)
    server = TurnServer.from_settings(None, file)
    assert server is not None
    assert (server.host, server.port) == ("turn.example", 5000)
    assert (server.credentials.user, server.credentials.password) == ("alice", "s3cret")
    assert "s3cret" not in repr(server)


def test_a_url_and_the_environment_come_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "default.turn"
    file.write_text(THREE_LINES)
    monkeypatch.setenv(USER, "bob")
    monkeypatch.setenv(PASSWORD, "other")
    server = TurnServer.from_settings("turn:192.0.2.1", file)
    assert server is not None
    assert (server.host, server.credentials.user) == ("192.0.2.1", "bob")


def test_without_a_password_it_is_said_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(UsageMistake, match="password") as caught:
        TurnServer.from_settings("turn:192.0.2.1", tmp_path / "default.turn")
    assert USER in str(caught.value.hint)
