"""A package for Debian 12 from a wheel for Python 3.11: ``python packaging/debian.py WHEEL FOLDER``.

Debian 12 has numpy, click and rich in older versions than needed, and neither ONNX Runtime nor safetensors. So they lie
beside etcc-edge in ``/usr/lib/etcc-edge``, as pip installs them, where no other program sees them.
"""

from __future__ import annotations

import email
import email.utils
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from email.message import Message
from pathlib import Path

HERE = Path(__file__).parent
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PRIVATE = Path("usr/lib/etcc-edge")
LAUNCHER = f"""\
#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/{PRIVATE}")
from etcc_edge.cli import main

main()
"""
CONTROL = """\
Package: etcc-edge
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {kilobytes}
Depends: python3 (>= 3.11), python3 (<< 3.12), libc6 (>= 2.36), libgcc-s1, libstdc++6 (>= 12)
Section: net
Priority: optional
Description: names the protocol and the application of encrypted flows
 etcc-edge adds two labels to every flow in a CICFlowMeter CSV file, a packet
 capture or the traffic of an interface: the encryption protocol (Tor, VPN,
 Non-VPN) and the application. It runs on an edge box, without a GPU.
 .
 The unit etcc-edge-live@INTERFACE labels an interface's traffic.
"""
# Compiled when it is installed, since a service may not write there.
POSTINST = f'#!/bin/sh\nset -e\nif [ "$1" = configure ]; then py3compile /{PRIVATE}; fi\n'
PRERM = f"#!/bin/sh\nset -e\npy3clean /{PRIVATE}\n"


def install_private(wheel: Path, machine: str, folder: Path) -> None:
    """The wheel and what it and the unit need, for that machine."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", folder]
    command += [f"--platform=manylinux_2_{minor}_{machine}" for minor in range(17, 37)]  # Debian 12 has glibc 2.36
    command += ["--python-version=3.11", "--only-binary=:all:", f"etcc-edge[live] @ {wheel.resolve().as_uri()}"]
    subprocess.run(command, check=True)
    shutil.rmtree(folder / "bin")
    for record in folder.glob("*.dist-info/*"):
        if record.name in ("direct_url.json", "INSTALLER", "RECORD", "REQUESTED"):  # of this machine and of pip
            record.unlink()


def metadata(folder: Path) -> dict[str, Message]:
    """Of all that was installed, by name."""
    found = [email.message_from_string(path.read_text()) for path in sorted(folder.glob("*.dist-info/METADATA"))]
    return {str(part["Name"]): part for part in found}


def copyright_file(parts: dict[str, Message]) -> str:
    """What lies in the package, under which licence, and where its text is."""
    rows = []
    for name, part in parts.items():
        texts = [text for key in ("License-Expression", "License") if (text := part[key]) and "\n" not in text]
        licence = (
            texts[0]
            if texts
            else next(
                (text.rpartition(" :: ")[2] for text in part.get_all("Classifier", []) if text.startswith("License")),
                "?",
            )
        )
        rows.append(f"{name} {part['Version']}: {licence}")
    return (
        "etcc-edge: Apache-2.0, see /usr/share/common-licenses/Apache-2.0.\n"
        "The weights of its bundles: CC-BY-4.0.\n\n"
        f"In /{PRIVATE} lie these packages of others, each with its licence and notices in its .dist-info folder:\n\n"
        + "".join(f"  {row}\n" for row in rows)
        + "\nCopyright (C) 2026 The etcc-edge developers, and the authors named in those folders.\n"
    )


def manual(folder: Path, version: str) -> str:
    """The manual page: what ``etcc-edge --help`` says."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "80"}
    command = [sys.executable, "-c", "from etcc_edge.cli import main; main(['--help'], prog_name='etcc-edge')"]
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = "\n".join(f"\\&{line}" for line in text.splitlines())
    return (
        f'.TH ETCC\\-EDGE 1 "" "etcc\\-edge {version}" "User Commands"\n.SH NAME\n'
        "etcc\\-edge \\- names the protocol and the application of encrypted flows\n"
        f".SH DESCRIPTION\n.nf\n{text}\n.fi\nEach command has \\-\\-help.\n"
    )


def compressed(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def stage(wheel: Path, root: Path) -> str:
    """The package's files under ``root``; its name."""
    name, version, python, _, platform = wheel.stem.split("-")
    machine = next((machine for machine in ARCHITECTURES if platform.endswith(machine)), "")
    if name != "etcc_edge" or python != "cp311" or not machine:
        sys.exit(f"{wheel}: is no wheel of etcc-edge for Debian 12: Python 3.11 on {' or '.join(ARCHITECTURES)}")
    private, share = root / PRIVATE, root / "usr/share"
    install_private(wheel, machine, private)

    launcher = root / "usr/bin/etcc-edge"
    launcher.parent.mkdir(parents=True)
    launcher.write_text(LAUNCHER)
    unit = (HERE / "etcc-edge-live@.service").read_text()
    place = root / "lib/systemd/system/etcc-edge-live@.service"
    place.parent.mkdir(parents=True)
    place.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/usr/bin/etcc-edge", unit))

    maintainer = f"{os.environ.get('DEBFULLNAME', 'The etcc-edge developers')} <{os.environ['DEBEMAIL']}>"
    when = email.utils.formatdate(int(os.environ["SOURCE_DATE_EPOCH"]))
    changes = f"etcc-edge ({version}) bookworm; urgency=medium\n\n  * Version {version}.\n\n -- {maintainer}  {when}\n"
    compressed(share / "doc/etcc-edge/changelog.gz", changes)
    (share / "doc/etcc-edge/copyright").write_text(copyright_file(metadata(private)))
    compressed(share / "man/man1/etcc-edge.1.gz", manual(private, version))
    overrides = share / "lintian/overrides/etcc-edge"
    overrides.parent.mkdir(parents=True)
    shutil.copy(HERE / "lintian-overrides", overrides)

    files = sorted(path for path in root.rglob("*") if path.is_file())
    control = root / "DEBIAN"
    control.mkdir()
    sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in files]
    (control / "md5sums").write_text("".join(sums))
    kilobytes = sum(-(-path.stat().st_size // 1024) for path in files)
    architecture = ARCHITECTURES[machine]
    text = CONTROL.format(version=version, architecture=architecture, maintainer=maintainer, kilobytes=kilobytes)
    (control / "control").write_text(text)
    (control / "postinst").write_text(POSTINST)
    (control / "prerm").write_text(PRERM)
    programs = {launcher, control / "postinst", control / "prerm"}
    for path in root.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path in programs else 0o644)
    root.chmod(0o755)
    return f"etcc-edge_{version}_{architecture}.deb"


def main() -> None:
    wheel, folder = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        root.mkdir()
        target = folder / stage(wheel, root)
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, target], check=True)


if __name__ == "__main__":
    main()
