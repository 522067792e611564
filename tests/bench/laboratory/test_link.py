"""The link in user space does what its settings say: on a clock of the test, and between two real interfaces."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from dataclasses import asdict
from random import Random

import pytest

from etcc_edge.bench.laboratory import link
from etcc_edge.bench.laboratory.link import Conditions, Direction
from etcc_edge.bench.laboratory.world import confined, why_not

REASON = why_not()


class Wire:
    """A direction on a clock that the test moves."""

    def __init__(self, conditions: Conditions, seed: int = 0) -> None:
        self.left: list[tuple[float, bytes]] = []
        self.now = 0.0
        self.direction = Direction(conditions, Random(seed), lambda frame: self.left.append((self.now, frame)))

    def send(self, frames: list[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
        """Frames with the times at which they come; returns them with the times at which they leave."""
        for time, frame in frames:
            self._until(time)
            self.direction.take(frame, time)
        self._until(float("inf"))
        return self.left

    def _until(self, time: float) -> None:
        while (due := self.direction.give(self.now)) <= time and due != float("inf"):
            self.now = due
            self.direction.give(self.now)
        self.now = max(self.now, time) if time != float("inf") else self.now


def frames(number: int, gap: float, size: int = 1000) -> list[tuple[float, bytes]]:
    return [(i * gap, i.to_bytes(4, "big") + bytes(size - 4)) for i in range(number)]


def test_every_frame_is_delayed_by_the_delay() -> None:
    left = Wire(Conditions(delay_ms=50)).send(frames(20, 0.1))
    assert [time - i * 0.1 for i, (time, _) in enumerate(left)] == pytest.approx([0.05] * 20, abs=1e-4)


def test_jitter_adds_its_mean_and_keeps_the_order() -> None:
    sent = frames(4000, 0.1)
    left = Wire(Conditions(delay_ms=10, jitter_ms=8)).send(sent)
    assert [frame for _, frame in left] == [frame for _, frame in sent]
    delays = [1e3 * (time - came) for (time, _), (came, _) in zip(left, sent, strict=True)]
    assert sum(delays) / len(delays) == pytest.approx(18, abs=0.5)
    assert min(delays) >= 10


def test_jitter_keeps_the_order_of_frames_that_come_together() -> None:
    sent = frames(500, 1e-5, 60)
    left = Wire(Conditions(delay_ms=10, jitter_ms=20)).send(sent)
    assert [frame for _, frame in left] == [frame for _, frame in sent]


def test_the_share_of_lost_frames_is_the_loss() -> None:
    wire = Wire(Conditions(delay_ms=1, loss=0.03))
    assert len(wire.send(frames(20000, 0.01))) / 20000 == pytest.approx(0.97, abs=0.004)
    assert wire.direction.dropped == 20000 - len(wire.left)


def test_the_rate_spaces_frames_with_what_ethernet_adds() -> None:
    left = Wire(Conditions(delay_ms=0, rate_mbit=8, queue_ms=1e6)).send(frames(100, 0.0))
    gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(left)]
    assert gaps == pytest.approx([1024e-6] * 99)  # 1,024 bytes at 8 Mbit/s


def test_a_frame_that_would_wait_longer_than_the_queue_is_dropped() -> None:
    wire = Wire(Conditions(delay_ms=0, rate_mbit=8, queue_ms=10))
    assert len(wire.send(frames(100, 0.0))) == 10
    assert wire.direction.dropped == 90


def test_what_is_dropped_is_the_same_for_the_same_seed() -> None:
    conditions = Conditions(delay_ms=1, loss=0.2)
    one, same, other = (Wire(conditions, seed).send(frames(200, 0.01)) for seed in (1, 1, 2))
    assert one == same != other


ENDS = """
import json, subprocess, sys
from etcc_edge.bench.laboratory import link
run = lambda text: subprocess.run(text, shell=True, check=True, capture_output=True, text=True).stdout
run("mount -t tmpfs tmpfs /run && ip netns add a && ip netns add b")
for name, address in (("a", "10.0.0.1"), ("b", "10.0.0.2")):
    run(f"ip link add link{name} type veth peer name end{name}")
    for end in ("link", "end"):
        link.switch_offloads_off(end + name)
    enter = f"nsenter --net=/run/netns/{name}"
    run(f"ip link set end{name} netns {name} && ip link set link{name} up")
    run(f"{enter} ip address add {address}/24 dev end{name} && {enter} ip link set end{name} up")
joined = subprocess.Popen([sys.executable, "-m", link.__name__, sys.argv[1], "0", "/run/report"])
print(run("nsenter --net=/run/netns/a ping -c 25 -i 0.02 -q -W 2 10.0.0.2"))
joined.terminate()
joined.wait()
print(open("/run/report").read())
"""


@pytest.mark.skipif(bool(REASON), reason=REASON or "namespaces can be made")
def test_between_two_interfaces_a_round_trip_takes_two_delays() -> None:
    pairs = json.dumps([("linka", "linkb", asdict(Conditions(delay_ms=40)))])
    command = confined([sys.executable, "-c", ENDS, pairs])
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    least = float(re.findall(r"= ([\d.]+)/", output)[0])
    assert 80 <= least < 100
    assert json.loads(output.splitlines()[-1])["dropped"] == [0, 0]


def test_a_report_names_both_directions() -> None:
    assert link.run([], 0, lambda: True) == []
