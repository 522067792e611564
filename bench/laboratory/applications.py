"""What people do: servers, and clients used with pauses drawn from stated distributions.

Every application has servers at addresses of its own, 198.18.<net>.x: the address says which application a flow is of.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from .content import AUDIO, FILES, FILMS, MAILS, SITES
from .world import RUN, Host, World, private

_CURL = ("curl", "--silent", "--insecure", "--output", "/dev/null", "--connect-timeout", "15")
_SSH = "-oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null -oLogLevel=ERROR"


class Session:
    """One host at one application: its random numbers and how long it goes on."""

    def __init__(self, host: Host, random: Random, seconds: float) -> None:
        self.host, self.world, self.random = host, host.world, random
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def pause(self, median: float, spread: float = 0.9) -> None:
        """Waits a log-normal time of this median in seconds and spread of its logarithm, or to the end."""
        time.sleep(min(self.left, median * self.random.lognormvariate(0, spread)))

    def use(self, *command: str | Path) -> None:
        """Runs a client, through the proxy if there is one, no longer than the session. What fails on a bad link fails
        for people too."""
        if self.left > 0.2:
            self.host.run(*self.host.proxied(*command), seconds=self.left, check=False)


@dataclass(frozen=True)
class Application:
    """``label``: in the project's spelling. ``net``: the third byte of its servers' addresses. ``udp``: whether it
    needs UDP, which SOCKS proxies do not carry here. ``serve`` starts servers; ``use`` acts until its time is over."""

    label: str
    net: int
    programs: tuple[str, ...]
    serve: Callable[[World], None]
    use: Callable[[Session], None]
    udp: bool = False


# --- the web -------------------------------------------------------------------------------------------------------


def _caddy(world: World) -> None:
    """One server of HTTPS for every application that uses it: HTTP/1.1, 2 and 3."""
    if (RUN / "Caddyfile").exists():
        return
    for net in (1, 4, 6, 7):
        world.serve_at(net)
    sites = "\n".join(
        f"https://{name}.lab {{\n bind 198.18.{net}.1\n tls {world.keys}/server.pem {world.keys}/server.key\n"
        f" root * {world.content / folder}\n file_server browse\n}}"
        for name, net, folder in [
            *((f"site{n}", 1, f"sites/site{n}") for n in range(SITES)),
            ("files", 4, "files"),
            ("video", 6, "video"),
            ("audio", 7, "audio"),
        ]
    )
    (RUN / "Caddyfile").write_text(
        f"{{\n admin off\n auto_https off\n storage file_system {RUN}/caddy\n"
        f" servers {{\n protocols h1 h2 h3\n }}\n}}\n{sites}\n"
    )
    world.server.start("caddy", "run", "--config", RUN / "Caddyfile", "--adapter", "caddyfile")
    world.server.listens(443)


def _browse(version: str) -> Callable[[Session], None]:
    """Pages with their objects, six at a time as browsers do; a page is read for a median of 3 s."""

    def use(session: Session) -> None:
        while session.left:
            site, page = session.random.randrange(SITES), session.random.randrange(12)
            base = f"https://site{site}.lab"
            shown = (session.world.content / "sites" / f"site{site}" / f"{page}.txt").read_text().split()
            session.use(*_CURL, version, f"{base}/{page}.html")
            objects = itertools.chain.from_iterable(("-o", "/dev/null", f"{base}/{n}.jpg") for n in shown)
            session.use(*_CURL[:3], version, "--parallel", "--parallel-max", "6", *objects)
            session.pause(3)

    return use


def _surf(session: Session) -> None:
    """The same pages in a browser, which goes from one to the next by itself; with HTTP/3 where UDP passes."""
    host = session.host
    sites = ",".join(f"site{number}.lab:443" for number in range(SITES))
    public = session.world.content / "keys" / "server.pin"
    ways = [f"--proxy-server=socks5://127.0.0.1:{host.proxy}"] if host.proxy else [f"--origin-to-force-quic-on={sites}"]
    host.run(
        *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"),
        *("--disable-background-networking", "--disable-component-update", "--disk-cache-size=1", "--mute-audio"),
        *(f"--user-data-dir={RUN}/chromium-{host.name}", f"--ignore-certificate-errors-spki-list={public.read_text()}"),
        *ways,
        f"https://site{session.random.randrange(SITES)}.lab/{session.random.randrange(12)}.html#go",
        seconds=session.left,
        check=False,
    )


# --- chat ----------------------------------------------------------------------------------------------------------


def _ircd(world: World) -> None:
    world.serve_at(2)
    (RUN / "ngircd.conf").write_text(
        "[Global]\nName = irc.lab\nInfo = laboratory\nListen = 198.18.2.1\nPorts = 6667\nServerUID = irc\n"
        "ServerGID = irc\n[Limits]\nMaxConnectionsIP = 0\n[Options]\nIdent = no\nPAM = no\nDNS = no\n"
    )
    world.server.start("ngircd", "-n", "-f", RUN / "ngircd.conf")
    world.server.listens(6667)


def _chat(session: Session) -> None:
    """Two people in a channel, lines of a median of 35 letters, pauses of a median of 4 s."""
    number = session.host.number
    command = ("sic", "-h", "198.18.2.1", "-n")
    near = session.host.start(*session.host.proxied(*command, f"near{number}"), stdin=subprocess.PIPE)
    far = session.world.server.start(*command, f"far{number}", stdin=subprocess.PIPE)
    session.pause(1, 0.3)
    for speaker in (near, far):
        _type(speaker, f":j #room{number}\n")
    while session.left:
        session.pause(4)
        length = min(400, int(session.random.lognormvariate(3.5, 0.8)) + 1)
        _type(session.random.choice([near, far]), session.random.randbytes(length).hex()[:length] + "\n")
    for speaker in (near, far):
        speaker.kill()


def _type(speaker: subprocess.Popen[bytes], line: str) -> None:
    if speaker.stdin:
        with contextlib.suppress(OSError):  # the connection broke, as it may on a bad link
            speaker.stdin.write(line.encode())
            speaker.stdin.flush()


# --- mail ----------------------------------------------------------------------------------------------------------


def _mail_servers(world: World) -> None:
    world.serve_at(3)
    box = private(RUN / "mail")
    for number in range(MAILS):
        for part in ("cur", "new", "tmp"):
            private(box / "Maildir" / part)
        (box / "Maildir" / "cur" / f"{number}.lab:2,S").symlink_to(world.content / "mail" / f"{number}.eml")
    world.server.run("chown", "-R", "mail:mail", box)
    (RUN / "dovecot.conf").write_text(
        f"base_dir = {RUN}/dovecot\nlog_path = /dev/stderr\nprotocols = imap\nlisten = 198.18.3.1\nssl = required\n"
        f"ssl_cert = <{world.keys}/server.pem\nssl_key = <{world.keys}/server.key\n"
        f"mail_location = maildir:{box}/Maildir\nfirst_valid_uid = 0\n"
        "passdb {\n driver = static\n args = nopassword=y\n}\n"
        "userdb {\n driver = static\n args = uid=mail gid=mail home=" + str(box) + "\n}\n"
        "service imap-login {\n inet_listener imap {\n port = 0\n }\n}\n"
    )
    world.server.start("dovecot", "-F", "-c", RUN / "dovecot.conf")
    (RUN / "smtpd.conf").write_text(
        'table all { "@" = nobody }\nlisten on 127.0.0.1 port 25\n'
        'action "keep" mda "cat > /dev/null" virtual <all>\n'
        'match from any for any action "keep"\n'
    )
    world.server.start("smtpd", "-d", "-f", RUN / "smtpd.conf")
    (RUN / "stunnel-mail.conf").write_text(  # OpenSMTPD 6.8 cannot serve TLS over OpenSSL 3
        f"foreground = yes\nsyslog = no\npid =\ncert = {world.keys}/server.pem\nkey = {world.keys}/server.key\n"
        "[smtps]\naccept = 198.18.3.1:465\nconnect = 127.0.0.1:25\n"
    )
    world.server.start("stunnel4", RUN / "stunnel-mail.conf")
    for port in (993, 465):
        world.server.listens(port)


def _mail(session: Session) -> None:
    """A look at the box every 8 s in the median, one to four messages read each time, and every third time one sent."""
    while session.left:
        first = session.random.randrange(1, MAILS - 4)
        read = [f"imaps://198.18.3.1/INBOX;UID={n}" for n in range(first, first + session.random.randrange(1, 5))]
        session.use(*_CURL, "--user", "b:b", "imaps://198.18.3.1/INBOX?ALL")
        session.use(
            *_CURL[:3], "--user", "b:b", *itertools.chain.from_iterable(("-o", "/dev/null", url) for url in read)
        )
        if session.random.random() < 1 / 3:
            session.pause(4)
            message = session.world.content / "mail" / f"{session.random.randrange(MAILS)}.eml"
            session.use(*_CURL, "smtps://198.18.3.1", "--mail-from", "a@lab", "--mail-rcpt", "b@lab", "-T", message)
        session.pause(8)


# --- files ---------------------------------------------------------------------------------------------------------


def _file_servers(world: World) -> None:
    if (RUN / "sshd_config").exists():
        return
    world.serve_at(4)
    private(Path("/run/sshd"))
    (RUN / "sshd_config").write_text(
        f"ListenAddress 198.18.4.1\nHostKey {world.keys}/host\nAuthorizedKeysFile {world.keys}/ssh.pub\n"
        "PermitRootLogin yes\nStrictModes no\nUsePAM no\nMaxStartups 100\nSubsystem sftp internal-sftp\nPidFile none\n"
    )
    world.server.start("/usr/sbin/sshd", "-D", "-e", "-f", RUN / "sshd_config")
    (RUN / "vsftpd.conf").write_text(
        "listen=YES\nlisten_address=198.18.4.1\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\n"
        f"anon_root={world.content}/files\nsecure_chroot_dir={private(RUN / 'empty')}\nno_anon_password=YES\n"
        "seccomp_sandbox=NO\nssl_enable=YES\nallow_anon_ssl=YES\nforce_anon_data_ssl=NO\nforce_anon_logins_ssl=NO\n"
        f"require_ssl_reuse=NO\nrsa_cert_file={world.keys}/server.pem\nrsa_private_key_file={world.keys}/server.key\n"
        f"xferlog_enable=NO\nuse_localtime=NO\n"
    )
    world.server.start("vsftpd", RUN / "vsftpd.conf")
    for port in (21, 22):
        world.server.listens(port)


def _files(way: str) -> Callable[[Session], None]:
    """One file after another, a third of them sent; pauses of a median of 5 s."""

    def use(session: Session) -> None:
        options = [*_SSH.split(), f"-i{session.world.keys}/ssh"]
        target = private(RUN / f"got-{session.host.name}")
        while session.left:
            name = f"file{session.random.randrange(FILES)}"
            path = session.world.content / "files" / name
            sent = session.random.random() < 1 / 3
            remote = f"root@198.18.4.1:{f'{RUN}/{name}' if sent else path}"
            ends = [str(path), remote] if sent else [remote, str(target)]
            if way == "https":
                session.use(*_CURL, f"https://files.lab/{name}")
            elif way == "ftp":
                tls = ["--ssl-reqd"] if session.random.random() < 0.5 else []
                session.use(*_CURL, *tls, f"ftp://198.18.4.1/{name}")
            elif way == "scp":
                session.use("scp", "-q", *options, *ends)
            elif way == "sftp":
                batch = RUN / f"sftp-{session.host.name}"
                batch.write_text(f"put {path} {RUN}/{name}\n" if sent else f"get {path} {target}/\n")
                session.use("sftp", "-q", *options, "-b", batch, "root@198.18.4.1")
            else:
                session.use("rsync", "--whole-file", "--ignore-times", "-e", " ".join(["ssh", *options]), *ends)
            session.pause(5)

    return use


# --- media ---------------------------------------------------------------------------------------------------------


def _watch(kind: str, rates: dict[str, int]) -> Callable[[Session], None]:
    """One title after another at a rate drawn for each, played as fast as it is seen or heard; some are left early."""

    def use(session: Session) -> None:
        while session.left:
            seconds = min(session.left, session.random.lognormvariate(3.6, 0.7))
            session.use(
                *("ffmpeg", "-nostdin", "-v", "error", "-tls_verify", "0", "-re", "-t", f"{seconds:.1f}"),
                *("-i", f"https://{kind}.lab/{session.random.choice(list(rates))}/index.m3u8", "-c", "copy"),
                *("-f", "null", "-"),
            )
            session.pause(3)

    return use


def _address(net: int) -> Callable[[World], None]:
    return lambda world: world.serve_at(net)


def _rtp_video(session: Session) -> None:
    """A film sent to the host by RTP."""
    port = 20000 + 10 * session.host.number
    film = session.world.content / "video" / session.random.choice(list(FILMS)) / "index.m3u8"
    size = session.random.choice([1200, 1316])
    description = RUN / f"film-{session.host.number}.sdp"
    description.write_text(f"v=0\nc=IN IP4 {session.host.inner}\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n")
    player = session.host.start(
        *("ffmpeg", "-nostdin", "-v", "error", "-protocol_whitelist", "file,rtp,udp", "-i", description),
        *("-c", "copy", "-f", "null", "-"),
    )
    while session.left:
        session.world.server.run(
            *("ffmpeg", "-nostdin", "-v", "error", "-re", "-i", film, "-c", "copy", "-f", "rtp"),
            f"rtp://{session.host.inner}:{port}?localaddr=198.18.6.1&localrtpport={port}&pkt_size={size}",
            seconds=session.left,
            check=False,
        )
    player.kill()


def _phones(world: World) -> None:
    world.apart(5)


def _call(session: Session) -> None:
    """Calls of a median of 25 s by a softphone, Opus both ways, speech in spurts; pauses of a median of 4 s."""
    world, number = session.world, session.host.number
    phones = world.apart(5)
    callee = _phone(phones, f"callee{number}", f"198.18.5.1:{5060 + 2 * number}", session.random)
    answering = phones.start("baresip", "-f", callee)
    while session.left:
        seconds = min(session.left, 25 * session.random.lognormvariate(0, 0.6))
        caller = _phone(session.host, f"caller{number}", f"{session.host.inner}:{5060 + 2 * number}", session.random)
        session.host.run(
            *("baresip", "-f", caller, "-t", str(max(2, round(seconds)))),
            *("-e", f"/dial sip:callee{number}@198.18.5.1:{5060 + 2 * number}"),
            seconds=seconds + 3,
            check=False,
        )
        session.pause(4)
    answering.kill()
    answering.wait()


def _phone(host: Host, name: str, listen: str, random: Random) -> Path:
    """The softphone's configuration: its address, its ports, a rate of Opus, and who speaks."""
    folder = private(RUN / name)
    called = name.startswith("callee")
    port = 20000 + 50 * random.randrange(800)
    speech = host.world.content / f"speech{random.randrange(4)}.wav"
    modules = "".join(f"module {module}.so\n" for module in ("opus", "aufile"))
    application = "".join(f"module_app {module}.so\n" for module in ("account", "menu"))
    (folder / "config").write_text(
        f"sip_listen {listen}\nmodule_path /usr/lib/baresip/modules\n{modules}{application}"
        f"audio_source aufile,{speech}\naudio_player aufile,/dev/null\nrtp_ports {port}-{port + 40}\n"
        f"net_interface {host.tunnel or 'eth0'}\naudio_buffer 20-160\n"
        f"opus_bitrate {random.choice([16000, 24000, 32000, 64000])}\nopus_dtx {random.choice(['yes', 'no'])}\n"
    )
    mode = ";answermode=auto" if called else ""
    (folder / "accounts").write_text(f"<sip:{name}@{listen}>;regint=0{mode}\n")
    (folder / "contacts").write_text("")
    return folder


# --- P2P -----------------------------------------------------------------------------------------------------------

_SEEDS = 4


def _swarm(world: World) -> None:
    """A tracker and four peers that have the file: two of aria2, by TCP, and two of Transmission, by µTP or TCP."""
    peers = world.apart(8)
    folder = private(RUN / "swarm")
    torrent, shared = world.content / "film.torrent", world.content / "shared"
    shown = peers.run("transmission-show", torrent)
    (folder / "allowed").write_text(shown.partition("Hash: ")[2].split()[0] + "\n")
    folder.chmod(0o755)  # which becomes the tracker's root, as nobody
    peers.start(
        *("opentracker", "-i", "198.18.8.1", "-p", "6969", "-P", "6969", "-u", "nobody", "-w", "/allowed", "-d", folder)
    )
    for number in range(_SEEDS):
        port = 6881 + number
        if number % 2:
            peers.start(
                "transmission-cli", "-M", "-p", str(port), "-g", private(folder / f"{number}"), "-w", shared, torrent
            )
        else:
            peers.start(
                *("aria2c", "-q", "--seed-ratio=0", "--check-integrity=true", f"--listen-port={port}", "-d", shared),
                *("--enable-dht=false", "--bt-max-peers=50", "--max-upload-limit=400K", torrent),
            )
    peers.listens(6969)


def _download(session: Session) -> None:
    """The file again and again, now by Transmission, now by aria2, encrypted in half of the cases."""
    torrent = session.world.content / "film.torrent"
    encrypted = session.random.random() < 0.5
    while session.left:
        target = private(RUN / f"download-{session.host.name}-{int(session.left * 1000)}")
        port = str(session.random.randrange(20000, 60000))
        if session.random.random() < 0.5:
            session.use(
                *("transmission-cli", "-M", "-p", port, "-g", target / "own", "-w", target, "-d", "4000", "-u", "500"),
                *(["-er"] if encrypted else ["-et"]),
                torrent,
            )
        else:
            session.use(
                *("aria2c", "-q", "--seed-time=0", f"--listen-port={port}", "-d", target, "--enable-dht=false"),
                *(["--bt-require-crypto=true"] if encrypted else []),
                *("--max-download-limit=4M", torrent),
            )
        session.pause(3)


def _web(version: str) -> Application:
    return Application("Browsing", 1, ("curl", "caddy"), _caddy, _browse(version))


def _transfer(way: str, *programs: str) -> Application:
    return Application("File-Transfer", 4, programs, _file_servers, _files(way))


APPLICATIONS = {
    "web-http1": _web("--http1.1"),
    "web-http2": _web("--http2"),
    "web-browser": Application("Browsing", 1, ("chromium", "caddy"), _caddy, _surf),
    "chat-irc": Application("Chat", 2, ("ngircd", "sic"), _ircd, _chat),
    "mail": Application("Email", 3, ("curl", "dovecot", "smtpd", "stunnel4"), _mail_servers, _mail),
    "files-https": Application("File-Transfer", 4, ("curl", "caddy"), _caddy, _files("https")),
    "files-ftp": _transfer("ftp", "curl", "vsftpd"),
    "files-scp": _transfer("scp", "scp", "sshd"),
    "files-sftp": _transfer("sftp", "sftp", "sshd"),
    "files-rsync": _transfer("rsync", "rsync", "sshd"),
    "video-hls": Application("Video-Streaming", 6, ("ffmpeg", "caddy"), _caddy, _watch("video", FILMS)),
    "audio-hls": Application("Audio-Streaming", 7, ("ffmpeg", "caddy"), _caddy, _watch("audio", AUDIO)),
    "video-rtp": Application("Video-Streaming", 6, ("ffmpeg",), _address(6), _rtp_video, udp=True),
    "voip-opus": Application("VOIP", 5, ("baresip",), _phones, _call, udp=True),
    "p2p-bittorrent": Application("P2P", 8, ("opentracker", "transmission-cli", "aria2c"), _swarm, _download, udp=True),
}
