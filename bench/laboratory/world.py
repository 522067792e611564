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

    def ip(self, lines: str) -> None:
        """Commands of `ip` within the host, one a line. Raises LaboratoryError for one that fails."""
        _ip(lines, self.name)

    def start(self, *command: str | Path, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Starts a program, its output in the log named after it; it ends with the scenario."""
        words = [str(word) for word in command]
        log = self.world.logs / f"{self.name}-{Path(words[0]).name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(self.enter(words), stdin=stdin, stdout=out, stderr=out)
        self.world.processes.append(process)
        return process

    def run(self, *command: str | Path, seconds: float = 60, check: bool = True) -> str:
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

    def enters_by(self, interface: str, address: str, router: str = "") -> None:
        """The tunnel is up: what goes to the servers goes through this interface, and its router, from now on."""
        self.tunnel, self.inner = interface, address
        via = ("via", router) if router else ()
        self.run("ip", "route", "replace", SERVERS, *via, "dev", interface, "src", address)

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
        time.sleep(0.3)


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
        for number in range(1, hosts + 1):
            self.hosts.append(Host(f"host{number}", f"10.40.{number}.2", self, number, gateway=f"10.40.{number}.1"))
        _ip(
            "".join(f"netns add {host.name}\n" for host in (self.server, self.gateway, *self.hosts))
            + "link set lo up\n"
        )
        self._cable(self.gateway, "out", self.server, "eth0")
        self.gateway.ip(
            f"link set lo up\naddress add {_OUT}/24 dev out\nlink set out up\nroute add {SERVERS} via {_SERVER}\n"
        )
        self.server.ip(
            f"link set lo up\naddress add {_SERVER}/24 dev eth0\nlink set eth0 up\nroute add default via {_OUT}\n"
        )
        self.gateway.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        for host in self.hosts:
            near, far = f"in{host.number}", f"mtu {self.mtu} up"
            self._cable(host, "eth0", None, f"h{host.number}")
            self._cable(self.gateway, near, None, f"g{host.number}")
            host.ip(
                f"link set lo up\naddress add {host.address}/24 dev eth0\nlink set eth0 {far}\n"
                f"route add default via {host.gateway}\n"
            )
            self.gateway.ip(f"address add {host.gateway}/24 dev {near}\nlink set {near} {far}\n")

    def _cable(self, left: Host, left_name: str, right: Host | None, right_name: str) -> None:
        """Joins two interfaces; the right one stays in the link's own namespace where no host is given."""
        _ip("link add left type veth peer name right\n")
        for end in ("left", "right"):
            link.switch_offloads_off(end)
        _ip(f"link set left netns {left.name} name {left_name}\n")
        if right:
            _ip(f"link set right netns {right.name} name {right_name}\n")
        else:
            _ip(f"link set right name {right_name}\nlink set {right_name} mtu {self.mtu} up\n")

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
            router = f"198.18.{net}.254"
            _ip(f"netns add {host.name}\n")
            self._cable(self.gateway, host.name, host, "eth0")
            self.gateway.ip(f"address add {router}/24 dev {host.name}\nlink set {host.name} up\n")
            host.ip(f"address add {host.address}/24 dev eth0\nlink set eth0 up\nroute add default via {router}\n")
        return host

    def serve_at(self, net: int) -> None:
        """Gives the servers the address of one application, on an interface of its own, if they lack it."""
        interface = f"app{net}"
        if f"{interface}:" not in self.server.run("ip", "-o", "link"):
            address = f"198.18.{net}.1/32"
            self.server.ip(
                f"link add {interface} type bridge\naddress add {address} dev {interface}\nlink set {interface} up\n"
            )


def _ip(lines: str, namespace: str = "") -> None:
    """Commands of `ip`, one a line, in a namespace or in the link's own."""
    _do("ip", *(["-n", namespace] if namespace else []), "-batch", "-", text=lines)


def _do(*command: str, text: str = "") -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LaboratoryError(f"{' '.join(command)}: {done.stderr.strip()}")


def private(path: Path) -> Path:
    """The folder, made for its owner alone, as keys want it."""
    path.mkdir(parents=True, exist_ok=True)
    os.chmod(path, 0o700)
    return path
