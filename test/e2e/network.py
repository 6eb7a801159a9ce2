"""Network namespaces: each daemon on a host of its own, with a cable that can be cut or made slow. Needs root."""
import os
import socket
import subprocess
import unittest


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def possible() -> bool:
    """Whether this machine lets us make namespaces, cables and a switch."""
    probe = f"bt{os.getpid() % 100000}x"
    try:
        ip("netns", "add", probe)
        try:
            ip("link", "add", probe, "type", "bridge")
            ip("link", "del", probe)
        finally:
            ip("netns", "del", probe)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def ipv6() -> bool:
    """Whether this machine has IPv6 at all: its loopback can be bound to."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


class Host:
    """One namespace, reached at `address`."""

    def __init__(self, switch: "Switch", number: int):
        self.name, self.cable, self._far = f"{switch.name}n{number}", f"{switch.name}c{number}", f"{switch.name}f{number}"
        self.address = f"{switch.subnet}.{number}"
        # Two; to the next host's first one the kernel goes from the second one, which is in the same subnet.
        self.addresses6 = [f"{switch.subnet6}:{subnet}::{number}" for subnet in ("ab" if number % 2 else "ba")]
        self.command = ["ip", "netns", "exec", self.name]
        ip("netns", "add", self.name)
        ip("link", "add", self.cable, "type", "veth", "peer", "name", self._far)
        ip("link", "set", self._far, "netns", self.name)
        ip("link", "set", self.cable, "master", switch.name, "up")
        for command in (["addr", "add", f"{self.address}/24", "dev", self._far], ["link", "set", self._far, "up"], ["link", "set", "lo", "up"]):
            ip("-n", self.name, *command)
        if ipv6():
            for address in reversed(self.addresses6):  # the kernel lists the latest first
                ip("-n", self.name, "addr", "add", f"{address}/64", "dev", self._far, "nodad")

    def cut(self) -> None:
        """Nothing goes in or out, and nobody is told."""
        ip("link", "set", self.cable, "nomaster")

    def mend(self, switch: "Switch") -> None:
        ip("link", "set", self.cable, "master", switch.name)

    def slow(self, rate: str) -> None:
        """What it sends and what it receives goes at most at this rate ("2mbit"), in long queues."""
        shape = ["root", "tbf", "rate", rate, "burst", "16k", "latency", "500ms"]
        subprocess.run([*self.command, "tc", "qdisc", "replace", "dev", self._far, *shape], check=True, capture_output=True)
        subprocess.run(["tc", "qdisc", "replace", "dev", self.cable, *shape], check=True, capture_output=True)

    def close(self) -> None:
        ip("link", "del", self.cable)  # first: the kernel would take it away with the namespace, but later
        ip("netns", "del", self.name)


class Switch:
    """A bridge that this process, too, is connected to."""

    def __init__(self):
        number = os.getpid() % 250
        self.name, self.subnet = f"bt{os.getpid() % 100000}", f"10.203.{number}"
        self.subnet6 = f"fd00:ba70:{number:x}"
        self.hosts = []
        # An address of its own: it would take that of a cable, and another one when that is cut, and nobody would find it.
        ip("link", "add", self.name, "address", "02:ba:70:00:00:01", "type", "bridge")
        ip("addr", "add", f"{self.subnet}.254/24", "dev", self.name)
        ip("link", "set", self.name, "up")

    def host(self) -> Host:
        self.hosts.append(Host(self, len(self.hosts) + 1))
        return self.hosts[-1]

    def close(self) -> None:
        for host in self.hosts:
            host.close()
        ip("link", "del", self.name)


needs_namespaces = unittest.skipUnless(possible(), "network namespaces need root and the kernel's veth and bridge")
needs_ipv6 = unittest.skipUnless(ipv6(), "this machine has no IPv6 loopback")
