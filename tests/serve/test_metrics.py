"""A live run can be watched: by Prometheus, by a health check, and on a page."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families

from etcc_edge.errors import EtccError
from etcc_edge.serve.live import Live
from etcc_edge.serve.metrics import History, Server
from feeds import Fed, Start, udp_flows, wait_for


def get(server: Server, path: str) -> bytes:
    with urllib.request.urlopen(f"http://{server.address}{path}", timeout=20) as answer:
        return answer.read()


def values(server: Server) -> dict[tuple[str, ...], float]:
    """By name and the values of labels."""
    families = text_string_to_metric_families(get(server, "/metrics").decode())
    return {
        (sample.name.removeprefix("etcc_edge_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def live(start: Start) -> Live:
    """A run that has labelled 60 flows and has 40 open."""
    fed = Fed([udp_flows(60), udp_flows(40, 1000, at=121.0)])
    live, sink = start([fed])
    wait_for(lambda: len(sink.lines) == 60 and live.worker_counts()[0].packets == 200)
    return live


@pytest.fixture
def server(live: Live) -> Iterator[Server]:
    server = Server("127.0.0.1", 0)
    server.start(live, History(live, "eth0"))
    yield server
    server.close()


def test_metrics_are_the_runs_counters(live: Live, server: Server) -> None:
    found = values(server)
    assert found["packets_received_total", "0"] == 200
    assert found["packets_dropped_total", "0"] == 0
    assert found["flows_ended_total",] == found["latency_seconds_count",] == 60
    assert found["flows_open",] == 40
    by_label = {key[:0:-1]: value for key, value in found.items() if key[0] == "labelled_flows_total"}
    assert by_label == {names: counts.flows for names, counts in live.counts.labels.items()}
    packets = sum(value for key, value in found.items() if key[0] == "labelled_packets_total")
    assert (sum(by_label.values()), packets) == (60, 120)
    assert found["process_resident_memory_bytes",] > 1e7
    assert found["bundle_info", "default", live.classifier.bundle.digest()] == 1


def test_promtool_finds_nothing_wrong(server: Server) -> None:
    if not shutil.which("promtool"):
        pytest.skip("needs promtool (apt install prometheus)")
    checked = subprocess.run(["promtool", "check", "metrics"], input=get(server, "/metrics"), capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_thirty_clients_are_served_at_once(server: Server) -> None:
    with ThreadPoolExecutor(30) as clients:
        answers = list(clients.map(lambda _: get(server, "/metrics"), range(200)))
    assert all(b"etcc_edge_flows_ended_total 60.0" in answer for answer in answers)


def test_idle_connections_are_few_and_clients_that_leave_print_nothing(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    host, port = server.address.split(":")
    before = len(os.listdir("/proc/self/fd"))
    idle = [socket.create_connection((host, int(port))) for _ in range(100)]
    wait_for(lambda: sum(bool(select.select([one], [], [], 0)[0]) for one in idle) == 68)  # closed at once
    assert len(os.listdir("/proc/self/fd")) <= before + 100 + 32
    for one in idle:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # to be reset
        one.close()
    wait_for(lambda: len(os.listdir("/proc/self/fd")) == before)
    assert get(server, "/health") == b"at work\n"
    assert capsys.readouterr().err == ""


def test_health_is_bad_where_a_thread_has_ended(live: Live, server: Server) -> None:
    assert get(server, "/health") == b"at work\n"
    live.failed = MemoryError()
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(server, "/health")
    assert caught.value.code == 503


def test_an_unknown_path_is_404(server: Server) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(server, "/../etc/passwd")
    assert caught.value.code == 404


def test_history_is_of_one_hour(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(live, "eth0")
    for i in range(400):
        monkeypatch.setattr(time, "monotonic", lambda i=i: 10.0 * i)
        history.tick()
        history.tick()
    state = json.loads(history.json())
    assert len(state["samples"]) == 361 + 1  # and one of now
    assert state["samples"][-1]["ended"] == 60
    assert state["interface"] == "eth0"


def test_the_page_needs_nothing_from_outside(server: Server) -> None:
    page = get(server, "/").decode().replace("http://www.w3.org/2000/svg", "")
    assert "fetch(" in page
    assert not any(outside in page for outside in ("http:", "https:", "//cdn", "@import", "<link", "src="))


@pytest.mark.slow
def test_a_browser_shows_the_labels_and_plots(live: Live, server: Server) -> None:
    browser = shutil.which("chromium")
    if not browser:
        pytest.skip("needs chromium (apt install chromium)")
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000", "--dump-dom"]
    shown = subprocess.run([browser, *words, f"http://{server.address}/"], capture_output=True, text=True, timeout=120)
    assert "etcc-edge live: eth0" in shown.stdout
    for names in live.counts.labels:
        assert f"<td>{names[0]}</td><td>{names[1]}</td>" in shown.stdout
    assert shown.stdout.count("<svg") == 6
    assert "does not answer" not in shown.stdout.split("<script>")[0]


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "x" * 70])
def test_an_address_that_cannot_be_served_is_one_line(host: str) -> None:
    with pytest.raises(EtccError, match=rf"^--metrics {host}:9477: [^\n]+$"):
        Server(host, 9477)


def test_without_prometheus_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(EtccError, match=r"pip install 'etcc-edge\[live\]'"):
        Server("127.0.0.1", 0)
