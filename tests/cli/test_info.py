"""`info` says what is there."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from etcc_edge.bundle import Bundle, save_bundle
from etcc_edge.cli import main


def run(*words: str) -> str:
    done = CliRunner().invoke(main, ["info", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_without_a_bundle_it_lists_backends_bundles_and_features() -> None:
    text = run()
    for word in ("onnxruntime", "default", "no-ports", "iscx-tor-vpn-15s", "flow_iat_mean (us)"):
        assert word in text
    views = {line.split()[0]: line.split()[1] for line in text.splitlines() if line.startswith(("default ", "wire "))}
    assert views == {"default": "inside", "wire": "wire"}


def test_json_holds_the_same() -> None:
    report = json.loads(run("--json"))
    assert report["backends"]["onnxruntime"]["usable"] is True
    assert set(report["bundles"]) == {"default", "no-ports", "iscx-tor-vpn-15s", "wire"}
    assert report["features"]["flow_duration"] == "us"


def test_a_bundle_is_described(tiny_bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(tiny_bundle, tmp_path / "tiny.zip")
    assert "stage2.non-vpn" in run(str(tmp_path / "tiny.zip"))
    assert json.loads(run(str(tmp_path / "tiny.zip"), "--json"))["nodes"]["stage2.vpn"]["labels"] == [
        "Chat",
        "Streaming",
    ]
    assert run("default").endswith("its model card: etcc-edge info default --card\n")
    assert run(str(tmp_path / "tiny.zip"), "--card") == "# tiny\n\n"


def test_an_unknown_bundle_is_one_line() -> None:
    failed = CliRunner().invoke(main, ["info", "nothing-here"])
    assert failed.exit_code == 2
    assert failed.stderr.startswith("Error: no bundle 'nothing-here': neither a path nor one of default, no-ports")
    assert failed.stderr.count("\n") == 1


def test_a_card_needs_a_bundle() -> None:
    assert CliRunner().invoke(main, ["info", "--card"]).exit_code == 2
