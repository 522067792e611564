"""The namespaces of one scenario and the programs in them: hosts, each on a link of its own, a gateway, and servers.

    host i ── link i ── gateway ── servers
    10.40.i.2          10.40.i.1   198.18.0.0/16

Runs inside namespaces of network, mounts and processes that `confined` made: with them all of it ends, whatever
happens.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etcc_edge.errors import EtccError

from . import link

RUN = Path("/run/laboratory")  # a file system in memory, of the scenario alone
SERVERS = "198.18.0.0/16"
_SERVER, _OUT = "198.18.0.2", "198.18.0.1"


class LaboratoryError(EtccError):
    """A scenario could not run."""


def why_not() -> str:
    """Why namespaces cannot be made here; empty where they can."""
    if missing := [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]:
        return f"needs {', '.join(missing)} (Debian: util-linux, iproute2)"
    probe = subprocess.run(confined(["true"]), capture_output=True, text=True, check=False)
    if probe.returncode:
        reason = (probe.stderr.strip().splitlines() or ["unshare failed"])[-1]
        return f"cannot make network namespaces ({reason}); it needs CAP_SYS_ADMIN and CAP_NET_ADMIN, as root has"
    return ""


def confined(command: Sequence[str]) -> list[str]:
    """The command in new namespaces of network, mounts and processes. Whatever it starts ends with it."""
    return ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *command]


@dataclass
class Host:
    """A network namespace. ``proxy``: the local port of the SOCKS server that its programs must use, if any.
    ``tunnel``: the interface of its tunnel, if any; ``inner``: its address as servers see it."""

    name: str
    address: str
    world: World
    number: int = 0
    gateway: str = ""
    proxy: int = 0
    tunnel: str = ""
    inner: str = ""

    def __post_init__(self) -> None:
        self.inner = self.address

    def enter(self, command: Sequence[str]) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.name}", *command]

    def start(self, *command: str | Path, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Starts a program, its output in the log named after it; it ends with the scenario."""
        words = [str(word) for word in command]
        log = self.world.logs / f"{self.name}-{Path(words[0]).name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(self.enter(words), stdin=stdin, stdout=out, stderr=out)
        self.world.processes.append(process)
        return process

    def run(self, *command: str | Path, seconds: float = 30, check: bool = True) -> str:
        """Runs a program to its end, and returns what it printed. Raises LaboratoryError where it fails or takes
        longer than ``seconds``; without ``check`` that is no error."""
        words = [str(word) for word in command]
        try:
            done = subprocess.run(
                self.enter(words),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
            problem = done.stderr.strip()[-300:] if done.returncode else ""
            status, output = done.returncode, done.stdout
        except subprocess.TimeoutExpired:
            status, problem, output = 124, f"took longer than {seconds:.0f} s", ""
        if status and check:
            raise LaboratoryError(f"{self.name}: {' '.join(words)[:200]}: {problem or status}")
        return output

    def proxied(self, *command: str | Path) -> list[str]:
        """The command, through the host's SOCKS server if it has one."""
        words = [str(word) for word in command]
        if not self.proxy:
            return words
        configuration = RUN / f"proxychains-{self.name}.conf"
        if not configuration.exists():
            configuration.write_text(
                "strict_chain\nquiet_mode\nproxy_dns\ntcp_read_time_out 30000\ntcp_connect_time_out 15000\n"
                f"localnet 127.0.0.0/255.0.0.0\n[ProxyList]\nsocks5 127.0.0.1 {self.proxy}\n"
            )
        return ["proxychains4", "-q", "-f", str(configuration), *words]

    def enters_by(self, interface: str, address: str) -> None:
        """The tunnel is up: what goes to the servers goes through this interface from now on."""
        self.tunnel, self.inner = interface, address
        self.run("ip", "route", "replace", SERVERS, "dev", interface, "src", address)

    def has(self, interface: str, seconds: float = 40) -> None:
        """Waits until an interface has an address. Raises LaboratoryError where it has none in time."""
        command = ("ip", "-4", "-o", "address", "show", interface)
        wait(lambda: "inet" in self.run(*command, check=False), seconds, f"{self.name}: {interface} got no address")

    def until(self, *command: str | Path, seconds: float = 20) -> None:
        """Repeats a command until it works. Raises LaboratoryError where it does not in time."""
        words = self.enter([str(word) for word in command])
        wait(
            lambda: not subprocess.run(words, capture_output=True, check=False).returncode,
            seconds,
            f"{self.name}: {' '.join(words[2:])} did not work within {seconds:.0f} s",
        )

    def listens(self, port: int, seconds: float = 20, udp: bool = False) -> None:
        """Waits until a program listens. Raises LaboratoryError where none does in time."""
        kind = "-lnu" if udp else "-lnt"
        wait(lambda: f":{port} " in self.run("ss", "-H", kind), seconds, f"{self.name}: nothing listens on port {port}")


def wait(ready: Callable[[], bool], seconds: float, problem: str) -> None:
    """Raises LaboratoryError with ``problem`` where ``ready`` is not true in time."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise LaboratoryError(problem)
        time.sleep(0.1)


@dataclass
class World:
    """The hosts of one scenario. ``logs``: where programs' output goes; ``content``: what servers serve."""

    logs: Path
    content: Path
    conditions: link.Conditions
    mtu: int
    seed: int
    hosts: list[Host] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def build(self, hosts: int) -> None:
        """Makes the namespaces, joins them and starts the links."""
        for place in ("/run", "/var/spool"):  # where programs keep what must not outlive the scenario
            _do("mount", "-t", "tmpfs", "tmpfs", place)
        RUN.mkdir()
        Path("/var/spool/smtpd").mkdir(mode=0o711)
        os.environ["HOME"] = str(RUN)  # programs keep their state there
        (RUN / "resolv.conf").write_text(f"nameserver {_SERVER}\noptions timeout:3\n")
        _do("mount", "--bind", str(RUN / "resolv.conf"), "/etc/resolv.conf")
        self.server, self.gateway = Host("server", _SERVER, self), Host("gateway", _OUT, self)
        _do("ip", "link", "set", "lo", "up")
        for host in (self.server, self.gateway):
            self._namespace(host)
        self._cable(self.gateway, "out", self.server, "eth0")
        self._up(self.gateway, "out", f"{_OUT}/24")
        self._up(self.server, "eth0", f"{_SERVER}/24")
        self.server.run("ip", "route", "add", "default", "via", _OUT)
        self.gateway.run("ip", "route", "replace", SERVERS, "via", _SERVER)
        self.gateway.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        for number in range(1, hosts + 1):
            host = Host(f"host{number}", f"10.40.{number}.2", self, number, gateway=f"10.40.{number}.1")
            self._namespace(host)
            self._cable(host, "eth0", None, f"h{number}")
            self._cable(self.gateway, f"in{number}", None, f"g{number}")
            self._up(host, "eth0", f"{host.address}/24")
            self._up(self.gateway, f"in{number}", f"{host.gateway}/24")
            host.run("ip", "route", "add", "default", "via", host.gateway)
            self.hosts.append(host)

    def _namespace(self, host: Host) -> None:
        _do("ip", "netns", "add", host.name)
        host.run("ip", "link", "set", "lo", "up")
        host.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", check=False)

    def _cable(self, left: Host, left_name: str, right: Host | None, right_name: str) -> None:
        """Joins two interfaces; the right one stays in the link's own namespace where no host is given."""
        _do("ip", "link", "add", "left", "type", "veth", "peer", "name", "right")
        for end, host, name in (("left", left, left_name), ("right", right, right_name)):
            link.switch_offloads_off(end)
            _do("ip", "link", "set", end, *(["netns", host.name] if host else []), "name", name)
            if not host:
                _do("ip", "link", "set", name, "mtu", str(self.mtu), "up")

    def _up(self, host: Host, interface: str, address: str) -> None:
        host.run("ip", "address", "add", address, "dev", interface)
        host.run("ip", "link", "set", interface, "mtu", str(self.mtu), "up")

    def pairs(self) -> list[tuple[str, str, link.Conditions]]:
        """What the link joins."""
        return [(f"h{host.number}", f"g{host.number}", self.conditions) for host in self.hosts]

    @property
    def keys(self) -> Path:
        return self.content / "keys"

    def apart(self, net: int) -> Host:
        """A server in a namespace of its own, for a program that does not choose the address it sends from."""
        host = Host(f"app{net}", f"198.18.{net}.1", self)
        if not Path(f"/run/netns/{host.name}").exists():
            self._namespace(host)
            self._cable(self.gateway, host.name, host, "eth0")
            self._up(self.gateway, host.name, f"198.18.{net}.254/24")
            self._up(host, "eth0", f"{host.address}/24")
            host.run("ip", "route", "add", "default", "via", f"198.18.{net}.254")
        return host

    def serve_at(self, net: int) -> None:
        """Gives the servers the address of one application, on an interface of its own, if they lack it."""
        interface = f"app{net}"
        if f"{interface}:" not in self.server.run("ip", "-o", "link"):
            self.server.run("ip", "link", "add", interface, "type", "bridge")
            self.server.run("ip", "address", "add", f"198.18.{net}.1/32", "dev", interface)
            self.server.run("ip", "link", "set", interface, "up")


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LaboratoryError(f"{' '.join(command)}: {done.stderr.strip()}")


def private(path: Path) -> Path:
    """The folder, made for its owner alone, as keys want it."""
    path.mkdir(parents=True, exist_ok=True)
    os.chmod(path, 0o700)
    return path
