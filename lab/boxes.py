"""What runs on a home's router beside its NAT: a port mapping daemon, or an HTTP proxy.

The daemon is Debian's miniupnpd with its nftables backend: UPnP-IGD, NAT-PMP and PCP. Only its
program is used, with a configuration and tables of the router's own; no service is installed.
"""

import shutil
import subprocess
import sys
import time
from ipaddress import IPv4Network
from pathlib import Path

from lab.commands import LabError, in_namespace
from lab.host import Host
from lab.machine import environment
from lab.nat import LAN, WAN

PROXY_PORT = 3128
SECONDS_TO_START = 10.0

# Base chains of its own: a router's rules accept whatever is translated towards the inside.
TABLE = """table inet miniupnpd {
  chain prerouting {
    type nat hook prerouting priority dstnat - 5; policy accept;
    jump prerouting_miniupnpd
  }
  chain postrouting {
    type nat hook postrouting priority srcnat - 5; policy accept;
    jump postrouting_miniupnpd
  }
  chain forward {
    type filter hook forward priority filter - 5; policy accept;
    jump miniupnpd
  }
  chain prerouting_miniupnpd {
  }
  chain postrouting_miniupnpd {
  }
  chain miniupnpd {
  }
}
"""
CONFIGURATION = """ext_ifname={wan}
listening_ip={lan}
http_port=5000
ipv6_disable=yes
enable_natpmp=yes
enable_upnp=yes
secure_mode=yes
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
uuid=00000000-0000-4000-8000-000000000000
allow 1024-65535 {network} 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


def port_mapping_daemon() -> str | None:
    """Where miniupnpd is, as hosts of a lab would find it; None if it is not installed."""
    return shutil.which("miniupnpd", path=environment("")["PATH"])


def map_ports(router: Host, inside: IPv4Network, folder: Path) -> subprocess.Popen[bytes]:
    """The process of the daemon on a router whose WAN and LAN are there, once it listens.

    Raises: LabError, if it is not installed or does not start.
    """
    program = port_mapping_daemon()
    if program is None:
        raise LabError(
            "homes with port mapping need miniupnpd (for nftables)", hint="scripts/setup dev"
        )
    in_namespace(router.namespace, ["nft", "-f", "-"], stdin=TABLE)
    configuration, log = folder / f"{router.name}.conf", folder / f"{router.name}.log"
    configuration.write_text(CONFIGURATION.format(wan=WAN, lan=LAN, network=inside))
    pid_file = folder / f"{router.name}.pid"
    with log.open("wb") as words:
        daemon = router.popen(
            [program, "-d", "-f", configuration, "-P", pid_file], stdout=words, stderr=words
        )
    deadline = time.monotonic() + SECONDS_TO_START
    while "Listening for NAT-PMP/PCP" not in (said := log.read_text(errors="replace")):
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"miniupnpd does not start: {said.strip().splitlines()[-1:]}")
        time.sleep(0.02)
    return daemon


def serve_proxy(
    router: Host, inside: IPv4Network
) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """The process of the proxy, and the environment of those who must use it."""
    process = router.popen(
        [sys.executable, "-m", "lab.proxy", str(PROXY_PORT)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    if not process.stdout.readline():
        raise LabError("the HTTP proxy does not start")
    url = f"http://{inside[1]}:{PROXY_PORT}"
    return process, {"http_proxy": url, "https_proxy": url}
