"""A host of a lab: a network namespace in which commands run."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, TypeAlias

from lab.commands import LabError, log
from lab.commands import run as run_command
from lab.machine import CHECKOUT, Machine, as_user
from lab.nat import Nat
from lab.runs import NETNS

Stream: TypeAlias = int | IO[bytes] | None


@dataclass(frozen=True)
class Host:
    """`addresses` are IPv4's, `addresses6` IPv6's; `interfaces` are those the lab made.

    `settings` are environment variables of every command here, such as the proxy of the place.
    """

    name: str
    namespace: str
    addresses: tuple[str, ...]
    interfaces: tuple[str, ...]
    machine: Machine = field(repr=False)
    addresses6: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """IPv4 where there is both."""
        return self.all_addresses[0]

    @property
    def all_addresses(self) -> tuple[str, ...]:
        return (*self.addresses, *self.addresses6)

    def popen(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        user: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] = CHECKOUT,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command on this host, as root or as the ordinary user `user`.

        The process is the command itself (every wrapper execs the next), so its
        pid can be killed and its exit code is the command's. `env` is added to a
        plain environment; nothing is inherited from the caller's.
        """
        words = [os.fspath(word) for word in argv]
        log.debug("%s (%s): %s", self.name, "root" if user is None else f"uid {user}", words)
        process = subprocess.Popen(
            [
                "nsenter",
                f"--mount={self.machine.mount_namespace}",
                f"--net={NETNS / self.namespace}",
                "--",
                *as_user(user),
                "env",
                f"--chdir={os.fspath(cwd)}",
                "--",
                *words,
            ],
            env={**self.machine.environment, **self.settings, **(env or {})},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        self.machine.started.append(process)
        return process

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        user: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] = CHECKOUT,
        timeout: float = 30,
    ) -> str:
        """Run a command to its end and give back what it printed.

        Raises: LabError, with the command's own words, if it fails or takes too long.
        """
        process = self.popen(
            argv, user=user, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with process:
            try:
                output, errors = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise LabError(f"{self.name}: {argv[0]} took over {timeout} s") from error
        if process.returncode != 0:
            words = errors.decode(errors="replace").strip() or f"exit code {process.returncode}"
            raise LabError(f"{self.name}: {argv[0]} failed: {words}")
        return output.decode(errors="replace")

    def foreign_interfaces(self) -> list[str]:
        """Interfaces on this host that the lab did not make."""
        lines = run_command(["ip", "-n", self.namespace, "-o", "link"]).splitlines()
        names = [line.split(": ")[1].partition("@")[0] for line in lines]
        return sorted(set(names) - {"lo", *self.interfaces})


@dataclass(frozen=True)
class Home:
    """A router with a NAT and the hosts of its LAN; `address` is its own outside."""

    name: str
    nat: Nat | None
    router: Host
    hosts: tuple[Host, ...]
    carrier: "Home | None" = None

    @property
    def address(self) -> str:
        return self.router.address

    @property
    def host(self) -> Host:
        return self.hosts[0]
