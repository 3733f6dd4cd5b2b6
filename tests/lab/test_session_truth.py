"""What a running session says of its paths to those who ask beside it: ping, wait, status."""

import json
import os

import pytest

from agent.errors import Exit
from tests.support.internet import Internet
from tests.support.json_shapes import MESH_PING, check_shape

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: needs root"),
]


def test_two_that_can_only_be_relayed_are_told_so_with_reason_and_exit_code(
    internet: Internet,
) -> None:
    parties = internet.parties("office0", "office1")
    commands = internet.run(internet.rounds(150), *zip(parties, (1, 2), strict=True))
    commands[0].until("the program has started")
    one, two = parties
    assert one.agent("wait").wait() == 0
    relayed = one.agent("ping", two.did, "--count", "2", "--json")
    assert relayed.wait() == Exit.RELAYED, relayed.told()
    told = json.loads(relayed.output)
    check_shape(told, MESH_PING)
    assert {reply["kind"] for reply in told["replies"]} == {"relay"}
    assert told["why"].count("address-and-port-dependent mapping") == 2
    assert one.agent("wait", "--direct", "--timeout", "1").wait() == Exit.RELAYED
    for command in commands:
        command.kill()


def test_two_homes_ping_each_other_directly_and_the_age_of_the_path_grows(
    internet: Internet,
) -> None:
    parties = internet.parties("home0", "home1")
    commands = internet.run(internet.rounds(150), *zip(parties, (1, 2), strict=True))
    commands[0].until("the program has started")
    one, two = parties
    assert one.agent("wait", "--direct", "--timeout", "30").wait() == 0
    direct = one.agent("ping", two.did)
    assert direct.wait() == 0, direct.told()
    assert " by direct " in direct.output.splitlines()[-1]
    [session] = json.loads(one.agent("status", "--json").output)["sessions"]
    path = session["paths"][two.did]
    assert path["kind"] == "direct"
    assert path["since"] <= path["answered"]
    assert path["mesh_rtt_ms"] > 0
    assert path["rx_bytes"] > 0
    for command in commands:
        command.kill()
