"""What the laboratory's servers serve, made once for a corpus: sites, files, mail, films, speech, and keys.

All of it is generated. Sizes are drawn from the distributions named here.
"""

from __future__ import annotations

import subprocess
import wave
from pathlib import Path
from random import Random

import numpy as np

SITES = 8
OBJECTS = 60  # of a site
FILES = 24
MAILS = 80
FILM_SECONDS = 120
FILMS = {"low": 300, "middle": 900, "high": 2500}  # kbit/s of video
AUDIO = {"low": 64, "high": 192}  # kbit/s


# In a browser that was started with #go, a page is read for a log-normal time (median 3 s, spread 0.9), then the next.
_NEXT = """<script>
const any = n => Math.floor(Math.random() * n);
const normal = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
const next = () => location = `https://site${any(SITES)}.lab/${any(12)}.html#go`;
if (location.hash == "#go") setTimeout(next, 3000 * Math.exp(0.9 * normal));
</script>""".replace("SITES", str(SITES))


def make(folder: Path, seed: int) -> None:
    """Fills the folder; does nothing where that was done."""
    if (folder / "complete").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    random = Random(seed)
    for site in range(SITES):
        _site(folder / "sites" / f"site{site}", random)
    for number in range(FILES):  # median 1.5 MB, a tenth above 20 MB
        _write(folder / "files" / f"file{number}", random, min(6e7, random.lognormvariate(14.2, 1.9)))
    for number in range(MAILS):
        _mail(folder / "mail" / f"{number}.eml", random)
    _torrent(folder)
    _films(folder)
    for number in range(4):
        _speech(folder / f"speech{number}.wav", seed + number)
    _keys(folder / "keys")
    (folder / "complete").touch()


def _write(path: Path, random: Random, size: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.randbytes(int(size)))


def _site(folder: Path, random: Random) -> None:
    """Objects of a median of 9 kB, and twelve pages that show some of them."""
    for number in range(OBJECTS):
        _write(folder / f"{number}.jpg", random, min(4e6, random.lognormvariate(9.1, 1.5)))
    for page in range(12):
        shown = random.sample(range(OBJECTS), min(OBJECTS, 2 + int(random.lognormvariate(2.4, 0.7))))
        text = "word " * int(random.lognormvariate(6.5, 1))
        images = "".join(f'<img src="{number}.jpg">' for number in shown)
        (folder / f"{page}.html").write_text(f"<!doctype html><title>{page}</title>{images}<p>{text}{_NEXT}")
        (folder / f"{page}.txt").write_text("\n".join(map(str, shown)))


def _mail(path: Path, random: Random) -> None:
    """Text of a median of 2 kB, and in every fourth an attachment of a median of 150 kB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = random.lognormvariate(7.6, 0.9) + (random.lognormvariate(11.9, 1.2) if random.random() < 0.25 else 0)
    lines = random.randbytes(int(min(size, 8e6)) // 2).hex()
    body = "\r\n".join(lines[at : at + 76] for at in range(0, len(lines), 76))
    path.write_text(f"From: a@lab\r\nTo: b@lab\r\nSubject: {path.stem}\r\n\r\n{body}\r\n", newline="")


def _torrent(folder: Path) -> None:
    """The shared file of a swarm: the largest one."""
    largest = max((folder / "files").iterdir(), key=lambda path: path.stat().st_size)
    (folder / "shared").mkdir()
    (folder / "shared" / "film.bin").write_bytes(largest.read_bytes())
    tracker = "http://198.18.8.1:6969/announce"
    _run("transmission-create", "-o", str(folder / "film.torrent"), "-t", tracker, str(folder / "shared" / "film.bin"))


def _films(folder: Path) -> None:
    """A film of moving noise in three rates and a sound in two, in HLS segments of four seconds."""
    for kind, rates in (("video", FILMS), ("audio", AUDIO)):
        for name, rate in rates.items():
            target = folder / kind / name
            target.mkdir(parents=True, exist_ok=True)
            if kind == "video":
                source = "testsrc2=size=320x180:rate=25,noise=alls=40:allf=t+u"
                coder = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "100", "-pix_fmt", "yuv420p"]
                coder += ["-b:v", f"{rate}k", "-maxrate", f"{2 * rate}k", "-bufsize", f"{4 * rate}k"]
            else:
                source = "anoisesrc=color=pink:amplitude=0.3"
                coder = ["-c:a", "aac", "-b:a", f"{rate}k"]
            _run(
                *("ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", source, "-t", str(FILM_SECONDS)),
                *coder,
                *("-f", "hls", "-hls_time", "4", "-hls_playlist_type", "vod", str(target / "index.m3u8")),
            )


def _speech(path: Path, seed: int) -> None:
    """Spurts of noise and silences, exponential with means of 1.2 and 1.5 s (48 kHz, 16 bits, two equal channels)."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(60):
        spurt = rng.normal(0, 3000, int(48000 * rng.exponential(1.2)))
        parts += [np.convolve(spurt, np.ones(24) / 5, "same"), np.zeros(int(48000 * rng.exponential(1.5)))]
    with wave.open(str(path), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(48000)
        sound = np.clip(np.concatenate(parts), -32000, 32000).astype("<i2")
        out.writeframes(np.repeat(sound, 2).tobytes())


def _keys(folder: Path) -> None:
    """Keys and certificates of the two ends, those of SSH, and OpenVPN's of its control channel."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name in ("server", "client"):
        key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
        _run(
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "3650", "-subj", f"/CN={name}.lab", "-addext", "subjectAltName=DNS:*.lab"),
            *("-keyout", str(key), "-out", str(certificate)),
        )
    public = f"openssl x509 -in {folder}/server.pem -pubkey -noout | openssl pkey -pubin -outform der"
    digest = f"{public} | openssl dgst -sha256 -binary | openssl enc -base64"
    (folder / "server.pin").write_bytes(
        subprocess.run(["sh", "-c", digest], check=True, capture_output=True).stdout.strip()
    )
    for name in ("ssh", "host"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    _run("openvpn", "--genkey", "tls-crypt", str(folder / "tls-crypt.key"))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)
