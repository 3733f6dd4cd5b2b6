"""The commands that carry a network namespace's packets over an ordinary user's sockets; pure.

Both keep one outside port for one inside port towards everybody, so that checks and WireGuard find
the paths they would find without them. Neither opens a port that nothing inside has used, nor leads
to what listens on this machine alone: where a WireGuard sends is said by strangers.
"""

from dataclasses import dataclass
from typing import Final, Literal

Name = Literal["pasta", "slirp4netns"]
PREFERRED: Final[tuple[Name, ...]] = ("pasta", "slirp4netns")  # pasta keeps port numbers and IPv6
PACKAGES: Final = {"pasta": "passt", "slirp4netns": "slirp4netns"}
PASTA_RESOLVER: Final = "169.254.53.53"  # of our choice; pasta answers there
SLIRP_RESOLVER: Final = "10.0.2.3"  # slirp4netns' own


@dataclass(frozen=True)
class WayOut:
    name: Name
    command: str  # its path

    @property
    def resolver(self) -> str:
        """Where names are looked up inside, if the machine's own resolver is on its loopback."""
        return PASTA_RESOLVER if self.name == "pasta" else SLIRP_RESOLVER

    @property
    def goes_to_background(self) -> bool:
        """How it says that it is ready: by that, or else by a byte to `ready`."""
        return self.name == "pasta"

    def argv(self, namespace: str, ready: int) -> list[str]:
        """To be started as root of a user namespace, in the network namespace that has the way."""
        if self.name == "pasta":
            closed = [word for kind in ("-t", "-u", "-T", "-U") for word in (kind, "none")]
            words = ["--config-net", "--no-map-gw", "--dns-forward", self.resolver, *closed]
            return [self.command, "--quiet", *words, "--netns-only", "--netns", namespace]
        words = ["--configure", "--mtu=65520", "--disable-host-loopback", f"--ready-fd={ready}"]
        words = [self.command, *words, "--netns-type=path", namespace, "tap0"]
        return ["unshare", "--mount", "--", *words]  # it goes on reading the machine's resolv.conf


def only_loopback(resolv_conf: str) -> bool:
    """Whether every name server of this text is on the machine's own loopback."""
    lines = [line.split() for line in resolv_conf.splitlines()]
    servers = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
    return all(server.startswith("127.") or server == "::1" for server in servers)
