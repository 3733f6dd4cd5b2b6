"""Paths of running sessions: relayed where nothing else can be, better when it can, never lost."""

import os

import pytest

from tests.support.internet import Internet

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]


def test_two_homes_with_varying_ports_compute_through_the_relay_and_say_why(
    internet: Internet,
) -> None:
    parties = internet.parties("office0", "office1")
    commands = internet.run(internet.rounds(3), *zip(parties, (1, 2), strict=True))
    for command in commands:
        assert command.wait() == 0, command.told()
        (path,) = command.all("path")
        assert path["kind"] == "relay"
        assert path["endpoint"].startswith("198.51.100.")
        assert path["why"].count("address-and-port-dependent mapping") == 2
        assert command.the("result")["output"] == "sum=3\n"
