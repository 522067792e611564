"""Tunnels and proxies: what starts each, at the gateway and at a host.

A tunnel of layer 3 gives the host an interface, through which it then reaches the servers (`Host.enters_by`). A proxy
gives it the port of a local SOCKS server (`Host.proxy`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .world import RUN, SERVERS, Host, World, private, wait


@dataclass(frozen=True)
class Tunnel:
    """``protocol``: the label of its flows on the wire, seen from outside; ``product``: whose they are. ``udp``:
    whether UDP passes. ``gateway`` starts its server, ``host`` connects one host and returns when it is usable."""

    protocol: str
    product: str
    programs: tuple[str, ...]
    gateway: Callable[[World], None]
    host: Callable[[Host], None]
    udp: bool = True


def _nothing(_: object) -> None:
    pass


# --- OpenVPN -------------------------------------------------------------------------------------------------------


def _fingerprint(world: World, name: str) -> str:
    text = world.server.run("openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", world.keys / f"{name}.pem")
    return text.strip().partition("=")[2]


def _openvpn(world: World, own: str, other: str, transport: str, extra: list[str]) -> list[str]:
    return [
        *("openvpn", "--dev", "tun0", "--proto", transport, "--port", "1194", "--dh", "none"),
        *("--cert", f"{world.keys}/{own}.pem", "--key", f"{world.keys}/{own}.key"),
        *("--peer-fingerprint", _fingerprint(world, other), "--keepalive", "10", "60", "--tun-mtu", str(world.mtu)),
        *(word.replace("KEYS", str(world.keys)) for word in extra),
    ]


def _openvpn_gateway(world: World, transport: str, extra: list[str]) -> None:
    private(RUN / "openvpn")
    command = _openvpn(world, "server", "client", f"{transport}-server" if transport == "tcp" else transport, extra)
    server = ("--mode", "server", "--tls-server", "--topology", "subnet", "--ifconfig", "10.50.0.1", "255.255.0.0")
    pool = ("--ifconfig-pool", "10.50.0.10", "10.50.0.250", "255.255.0.0", "--push", "topology subnet")
    world.gateway.start(*command, *server, *pool, "--duplicate-cn", "--tmp-dir", RUN)
    world.gateway.has("tun0")


def _openvpn_host(host: Host, transport: str, extra: list[str]) -> None:
    command = _openvpn(
        host.world, "client", "server", f"{transport}-client" if transport == "tcp" else transport, extra
    )
    host.start(*command, "--tls-client", "--pull", "--nobind", "--remote", host.gateway)
    host.has("tun0")
    host.enters_by("tun0", _address(host, "tun0"))


def _address(host: Host, interface: str) -> str:
    return host.run("ip", "-4", "-o", "address", "show", interface).split(" inet ")[1].split("/")[0].split()[0]


def _openvpn_tunnel(transport: str, *extra: str) -> Tunnel:
    settings = {"transport": transport, "extra": [*extra]}
    gateway, host = partial(_openvpn_gateway, **settings), partial(_openvpn_host, **settings)  # type: ignore[arg-type]
    return Tunnel("VPN", "OpenVPN", ("openvpn", "openssl"), gateway, host)


# --- WireGuard -----------------------------------------------------------------------------------------------------


def _wireguard_keys(name: str, world: World) -> str:
    """Makes a key; returns the public one."""
    folder = private(RUN / "wireguard")
    key = folder / name
    if not key.exists():
        key.write_text(world.server.run("wg", "genkey"))
        (folder / f"{name}.pub").write_text(world.server.run("sh", "-c", f"wg pubkey < {key}"))
    return (folder / f"{name}.pub").read_text().strip()


def _wireguard(host: Host, address: str) -> str:
    """Starts one end; returns its interface. Its name is unique, since it names the control socket, which is a file."""
    interface = f"wg{host.number}"
    _wireguard_keys(host.name, host.world)
    host.start("wireguard-go", "--foreground", interface)
    host.until("wg", "set", interface, "private-key", RUN / "wireguard" / host.name)
    host.run("ip", "address", "add", f"{address}/16", "dev", interface)
    host.run("ip", "link", "set", interface, "mtu", str(host.world.mtu - 80), "up")
    return interface


def _wireguard_gateway(world: World) -> None:
    interface = _wireguard(world.gateway, "10.50.0.1")
    world.gateway.run("wg", "set", interface, "listen-port", "51820")


def _wireguard_host(host: Host) -> None:
    address = f"10.50.0.{10 + host.number}"
    interface = _wireguard(host, address)
    own, server = (_wireguard_keys(name, host.world) for name in (host.name, "gateway"))
    host.world.gateway.run("wg", "set", "wg0", "peer", own, "allowed-ips", f"{address}/32")
    host.run(
        *("wg", "set", interface, "peer", server, "allowed-ips", "0.0.0.0/0", "persistent-keepalive", "25"),
        *("endpoint", f"{host.gateway}:51820"),
    )
    host.enters_by(interface, address)


# --- SSH -----------------------------------------------------------------------------------------------------------


def _sshd(world: World) -> None:
    private(RUN.parent / "sshd")
    (RUN / "gateway_sshd_config").write_text(
        f"Port 22\nHostKey {world.keys}/host\nAuthorizedKeysFile {world.keys}/ssh.pub\nPermitRootLogin yes\n"
        "StrictModes no\nUsePAM no\nPermitTunnel yes\nMaxStartups 100\nPidFile none\nListenAddress 0.0.0.0\n"
    )
    world.gateway.start("/usr/sbin/sshd", "-D", "-e", "-f", RUN / "gateway_sshd_config")
    world.gateway.listens(22)


def _ssh(host: Host, *options: str) -> None:
    settings = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ExitOnForwardFailure=yes")
    words = [word for setting in settings for word in ("-o", setting)]
    host.start("ssh", "-N", *words, "-i", host.world.keys / "ssh", *options, f"root@{host.gateway}")


def _ssh_socks(host: Host) -> None:
    _ssh(host, "-D", "127.0.0.1:1080")
    host.listens(1080)
    host.proxy = 1080


def _ssh_tun(host: Host) -> None:
    _ssh(host, "-w", f"0:{host.number}")
    near, far = f"10.51.{host.number}.2", f"10.51.{host.number}.1"
    host.until("ip", "link", "show", "tun0")
    gateway = host.world.gateway
    gateway.until("ip", "link", "show", f"tun{host.number}")
    host.run("ip", "address", "add", near, "peer", far, "dev", "tun0")
    host.run("ip", "link", "set", "tun0", "up")
    gateway.run("ip", "address", "add", far, "peer", near, "dev", f"tun{host.number}")
    gateway.run("ip", "link", "set", f"tun{host.number}", "up")
    host.enters_by("tun0", near)


# --- tinc ----------------------------------------------------------------------------------------------------------


def _tinc(host: Host, address: str, *lines: str) -> None:
    """One end: its configuration, its keys, and the file that describes it to the others."""
    folder = private(RUN / "tinc" / host.name)
    private(folder / "hosts")
    (folder / "tinc.conf").write_text("\n".join([f"Name = {host.name}", "Interface = tinc0", *lines, ""]))
    subnet = SERVERS if host is host.world.gateway else f"{address}/32"
    (folder / "hosts" / host.name).write_text(f"Subnet = {subnet}\n" + "".join(f"{line}\n" for line in lines[2:]))
    host.run("tincd", "-c", folder, "-K", "2048")
    up = folder / "tinc-up"
    up.write_text(f"#!/bin/sh\nip link set $INTERFACE up\nip address add {address}/16 dev $INTERFACE\n")
    up.chmod(0o755)


def _tinc_gateway(world: World) -> None:
    _tinc(world.gateway, "10.50.0.1")
    for host in world.hosts:
        _tinc(host, f"10.50.0.{10 + host.number}", "ConnectTo = gateway")
        own, other = RUN / "tinc" / host.name / "hosts", RUN / "tinc" / "gateway" / "hosts"
        (other / host.name).write_text((own / host.name).read_text())
        (own / "gateway").write_text(f"Address = {host.gateway}\n" + (other / "gateway").read_text())
    world.gateway.start("tincd", "-D", "-d1", "-c", RUN / "tinc" / "gateway", f"--pidfile={RUN}/tinc-gateway.pid")
    world.gateway.listens(655)


def _tinc_host(host: Host) -> None:
    host.start("tincd", "-D", "-d1", "-c", RUN / "tinc" / host.name, f"--pidfile={RUN}/tinc-{host.name}.pid")
    host.has("tinc0")
    host.enters_by("tinc0", f"10.50.0.{10 + host.number}")


# --- proxies -------------------------------------------------------------------------------------------------------


def _shadowsocks_gateway(world: World, method: str) -> None:
    world.gateway.start("ss-server", "-s", "0.0.0.0", "-p", "8388", "-k", "laboratory", "-m", method)
    world.gateway.listens(8388)


def _shadowsocks_host(host: Host, method: str) -> None:
    host.start(*("ss-local", "-s", host.gateway, "-p", "8388", "-l", "1080", "-k", "laboratory", "-m", method))
    host.listens(1080)
    host.proxy = 1080


def _shadowsocks(method: str) -> Tunnel:
    gateway, host = partial(_shadowsocks_gateway, method=method), partial(_shadowsocks_host, method=method)
    return Tunnel("Proxy", "Shadowsocks", ("ss-server", "ss-local", "proxychains4"), gateway, host, udp=False)


def _stunnel(host: Host, name: str, *lines: str) -> None:
    configuration = RUN / f"stunnel-{name}.conf"
    configuration.write_text("\n".join(["foreground = yes", "syslog = no", "pid =", "[socks]", *lines, ""]))
    host.start("stunnel4", configuration)


def _stunnel_gateway(world: World) -> None:
    own = (f"cert = {world.keys}/server.pem", f"key = {world.keys}/server.key")
    _stunnel(world.gateway, "gateway", "accept = 0.0.0.0:443", "protocol = socks", *own)
    world.gateway.listens(443)


def _stunnel_host(host: Host) -> None:
    _stunnel(host, host.name, "client = yes", "accept = 127.0.0.1:1080", f"connect = {host.gateway}:443")
    host.listens(1080)
    host.proxy = 1080


# --- IPsec ---------------------------------------------------------------------------------------------------------


def _charon(host: Host, connection: str) -> None:
    """strongSwan with IPsec in user space: ESP in UDP, since the kernel has none. Each daemon has a /run of its own,
    where its process number and socket are."""
    own = private(RUN / f"ipsec-{host.name}")
    (own / "swanctl").mkdir()
    (own / "strongswan.conf").write_text(
        "charon {\n load = aes sha1 sha2 gcm hmac kdf random nonce openssl pem pkcs1 x509 pubkey kernel-libipsec "
        "kernel-netlink socket-default vici updown\n"
        " start-scripts {\n load = swanctl --load-all\n }\n filelog {\n stderr {\n default = 1\n }\n }\n}\n"
        "swanctl {\n load = random openssl pem pkcs1 x509 aes sha2\n}\n"
    )
    (own / "swanctl" / "swanctl.conf").write_text(connection)
    host.start(
        *("unshare", "--mount", "sh", "-c"),
        f"mount --bind {own} /run && STRONGSWAN_CONF=/run/strongswan.conf SWANCTL_DIR=/run/swanctl"
        " exec /usr/lib/ipsec/charon",
    )


_SECRET = 'secrets {\n ike-lab {\n secret = "laboratory"\n }\n}\n'


def _ipsec_gateway(world: World) -> None:
    _charon(
        world.gateway,
        "connections {\n lab {\n pools = lab\n version = 2\n encap = yes\n local {\n auth = psk\n id = gateway\n }\n"
        " remote {\n auth = psk\n }\n children {\n lab {\n local_ts = 198.18.0.0/16\n }\n }\n }\n}\n"
        "pools {\n lab {\n addrs = 10.50.0.0/24\n }\n}\n" + _SECRET,
    )
    world.gateway.listens(4500, udp=True)


def _ipsec_host(host: Host) -> None:
    _charon(
        host,
        f"connections {{\n lab {{\n version = 2\n encap = yes\n vips = 0.0.0.0\n remote_addrs = {host.gateway}\n"
        f" local {{\n auth = psk\n id = {host.name}\n }}\n remote {{\n auth = psk\n id = gateway\n }}\n"
        " children {\n lab {\n remote_ts = 198.18.0.0/16\n start_action = start\n }\n }\n }\n}\n" + _SECRET,
    )
    host.has("ipsec0")
    host.enters_by("ipsec0", _address(host, "ipsec0"))


# --- Tor -----------------------------------------------------------------------------------------------------------

_AUTHORITIES, _RELAYS = 3, 7  # relays in all, the authorities among them; the last two are exits
_TOR = (
    *("TestingTorNetwork 1", "AssumeReachable 1", "ContactInfo none@lab", "ServerDNSDetectHijacking 0"),
    *("ServerDNSTestAddresses", "ServerDNSAllowBrokenConfig 1", "AvoidDiskWrites 1", "Log notice stderr"),
)
_VOTES = (
    *("AuthoritativeDirectory 1", "V3AuthoritativeDirectory 1", "TestingMinExitFlagThreshold 0"),
    *("TestingDirAuthVoteExit *", "TestingDirAuthVoteGuard *", "V3AuthNIntervalsValid 2"),
    *("TestingV3AuthInitialVotingInterval 20", "TestingV3AuthInitialVoteDelay 4", "TestingV3AuthInitialDistDelay 4"),
    *("V3AuthVotingInterval 20", "V3AuthVoteDelay 4", "V3AuthDistDelay 4"),
)


def _tor(host: Host, name: str, *lines: str) -> None:
    configuration = RUN / "tor" / f"{name}.conf"
    authorities = (RUN / "tor" / "authorities").read_text().splitlines()
    data = f"DataDirectory {private(RUN / 'tor' / name)}"
    configuration.write_text("\n".join([*_TOR, *authorities, data, *lines, ""]))
    host.start("tor", "-f", configuration, "--defaults-torrc", RUN / "tor" / "none")


def _tor_network(world: World, bridge: bool) -> None:
    """A network of its own: authorities, which are relays too, relays and exits, at 10.41.0.x behind the gateway; and
    an obfs4 bridge."""
    folder = private(RUN / "tor")
    (folder / "none").touch()
    world.gateway.run("ip", "link", "add", "relays", "type", "bridge")
    world.gateway.run("ip", "link", "set", "relays", "up")
    names = [f"relay{number}" for number in range(_RELAYS)] + ["bridge"] * bridge
    addresses = {name: f"10.41.0.{number + 1}" for number, name in enumerate(names)}
    authorities = []
    for address in addresses.values():
        world.gateway.run("ip", "address", "add", f"{address}/32", "dev", "relays")
    for name in names[:_AUTHORITIES]:
        keys = private(private(folder / name) / "keys")
        command = (
            f"echo laboratory | tor-gencert --create-identity-key --passphrase-fd 0 -m 12 -a {addresses[name]}:7000"
        )
        world.gateway.run("sh", "-c", f"cd {keys} && {command}")
        line = next(line for line in (keys / "authority_certificate").read_text().splitlines() if "fingerprint" in line)
        print_own = world.gateway.run(
            *("tor", "--list-fingerprint", "--quiet", "-f", folder / "none", "--defaults-torrc", folder / "none"),
            *("--DataDirectory", folder / name, "--Nickname", name, "--ORPort", "5000"),
            *("--DirAuthority", f"x 127.0.0.1:1 {'F' * 40}"),
        )
        fingerprint = print_own.strip().partition(" ")[2].replace(" ", "")
        authorities.append(
            f"DirAuthority {name} orport=5000 no-v2 v3ident={line.split()[1]} {addresses[name]}:7000 {fingerprint}"
        )
    (folder / "authorities").write_text("\n".join(authorities))
    for number, name in enumerate(names):
        address = addresses[name]
        own = [f"Nickname {name}", f"Address {address}", "SocksPort 0", f"ORPort {address}:5000"]
        if number < _AUTHORITIES:
            own += [*_VOTES, f"DirPort {address}:7000"]
        exit_relay = name in names[_RELAYS - 2 : _RELAYS]
        own += ["ExitRelay 1", "ExitPolicy accept *:*"] if exit_relay else ["ExitPolicy reject *:*"]
        if name == "bridge":
            own += ["BridgeRelay 1", "PublishServerDescriptor 0", "ExtORPort auto"]
            own += [
                "ServerTransportPlugin obfs4 exec /usr/bin/obfs4proxy",
                f"ServerTransportListenAddr obfs4 {address}:443",
            ]
        _tor(world.gateway, name, *own)


def _tor_host(host: Host, bridge: bool) -> None:
    own = ["SocksPort 127.0.0.1:1080", "ClientOnly 1"]
    if bridge:
        state = RUN / "tor" / "bridge"
        line = state / "pt_state" / "obfs4_bridgeline.txt"
        wait(lambda: line.exists() and (state / "fingerprint").exists(), 30, "the bridge did not start")
        certificate = line.read_text().split("cert=")[1].split()[0]
        fingerprint = (state / "fingerprint").read_text().split()[1]
        mode = host.number % 3  # obfs4's three ways with lengths and times
        own += ["UseBridges 1", "ClientTransportPlugin obfs4 exec /usr/bin/obfs4proxy"]
        own += [f"Bridge obfs4 10.41.0.{_RELAYS + 1}:443 {fingerprint} cert={certificate} iat-mode={mode}"]
    _tor(host, host.name, *own)
    log = host.world.logs / f"{host.name}-tor.log"
    wait(lambda: "Bootstrapped 100%" in log.read_text(), 240, f"{host.name}: Tor did not connect")
    host.proxy = 1080


def _tor_tunnel(bridge: bool) -> Tunnel:
    programs = ("tor", "tor-gencert", "proxychains4", *(["obfs4proxy"] if bridge else []))
    product = "Tor with obfs4" if bridge else "Tor"
    gateway, host = partial(_tor_network, bridge=bridge), partial(_tor_host, bridge=bridge)
    return Tunnel("Tor", product, programs, gateway, host, udp=False)


# --- SoftEther -----------------------------------------------------------------------------------------------------


def _softether(host: Host, kind: str, commands: str) -> None:
    """A daemon with state of its own, and what it is told to do once it listens."""
    places = ("/run/softether", "/var/lib/softether", "/var/log/softether")
    own = " && ".join(f"mkdir -p {place} && mount -t tmpfs tmpfs {place}" for place in places)
    program = f"/usr/libexec/softether/vpn{kind}/vpn{kind}"
    host.start("unshare", "--mount", "sh", "-c", f"{own} && exec {program} execsvc")
    host.listens(443 if kind == "server" else 9931)
    script = RUN / f"softether-{host.name}"
    script.write_text(commands)
    host.until("vpncmd", "localhost", f"/{kind.upper()}", f"/IN:{script}")


def _softether_gateway(world: World) -> None:
    _softether(
        world.gateway,
        "server",
        "HubCreate lab /PASSWORD:lab\nHub lab\nUserCreate u /GROUP:none /REALNAME:none /NOTE:none\n"
        "UserPasswordSet u /PASSWORD:lab\nSecureNatEnable\n",
    )


def _softether_host(host: Host) -> None:
    _softether(
        host,
        "client",
        f"NicCreate lab\nAccountCreate lab /SERVER:{host.gateway}:443 /HUB:lab /USERNAME:u /NICNAME:lab\n"
        "AccountPasswordSet lab /PASSWORD:lab /TYPE:standard\nAccountConnect lab\n",
    )
    address = f"192.168.30.{10 + host.number}"
    host.run("ip", "address", "add", f"{address}/24", "dev", "vpn_lab")
    host.run("ip", "link", "set", "vpn_lab", "up")
    host.until("ping", "-c", "1", "-W", "2", _NAT, seconds=40)
    host.enters_by("vpn_lab", address, _NAT)


_NAT = "192.168.30.1"  # SoftEther's own router, which translates addresses: servers cannot call back


TUNNELS = {
    "none": Tunnel("Non-VPN", "none", (), _nothing, _nothing),
    "openvpn-udp": _openvpn_tunnel("udp"),
    "openvpn-udp-chacha": _openvpn_tunnel(
        "udp", "--data-ciphers", "CHACHA20-POLY1305", "--fragment", "1300", "--mssfix"
    ),
    "openvpn-tcp": _openvpn_tunnel("tcp"),
    "openvpn-tls-crypt": _openvpn_tunnel("udp", "--tls-crypt", "KEYS/tls-crypt.key", "--data-ciphers", "AES-128-GCM"),
    "wireguard": Tunnel("VPN", "WireGuard", ("wireguard-go", "wg"), _wireguard_gateway, _wireguard_host),
    "ssh-tun": Tunnel("VPN", "SSH", ("ssh", "sshd"), _sshd, _ssh_tun),
    "ssh-socks": Tunnel("Proxy", "SSH", ("ssh", "sshd", "proxychains4"), _sshd, _ssh_socks, udp=False),
    "tinc": Tunnel("VPN", "tinc", ("tincd",), _tinc_gateway, _tinc_host),
    "ipsec": Tunnel("VPN", "IPsec", ("swanctl",), _ipsec_gateway, _ipsec_host),
    "shadowsocks-aes": _shadowsocks("aes-256-gcm"),
    "shadowsocks-chacha": _shadowsocks("chacha20-ietf-poly1305"),
    "stunnel": Tunnel("Proxy", "stunnel", ("stunnel4", "proxychains4"), _stunnel_gateway, _stunnel_host, udp=False),
    "tor": _tor_tunnel(bridge=False),
    "tor-obfs4": _tor_tunnel(bridge=True),
    "softether": Tunnel("VPN", "SoftEther", ("vpncmd", "ping"), _softether_gateway, _softether_host, udp=False),
}
