"""Where a mediator listens."""

import socket
from pathlib import Path

import aiohttp
import pytest

from mediator.app import running
from mediator.entrance.listening import listen
from mediator.settings.config import Config

pytestmark = pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_the_ipv6_wildcard_is_every_address_of_both_families(
    tmp_path: Path, address: str
) -> None:
    config = Config(
        tmp_path / "m.db", "::", 0, public_url="http://mediator.example", stun_ports=(0,)
    )
    async with running(config) as mediator, aiohttp.ClientSession() as http:
        host = f"[{address}]" if ":" in address else address
        async with http.get(f"http://{host}:{mediator.listens[1]}/livez") as answer:
            assert answer.status == 200


def test_an_ipv6_address_is_itself_alone() -> None:
    with listen("::1", 0) as listener, pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=1)
