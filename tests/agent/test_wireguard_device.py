"""What an interface is told, as far as it needs no privileges."""

import pytest

from agent.wireguard.device import most_packets


@pytest.mark.parametrize(("mtu", "most"), [(576, 64), (1280, 49), (1420, 45), (9000, 7)])
def test_as_many_packets_are_read_at_once_as_go_in_one_call(mtu: int, most: int) -> None:
    assert most_packets(mtu) == most
