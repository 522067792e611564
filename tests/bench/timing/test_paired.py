"""Timing: exact under a fake clock, and what is said about whole processes is about those processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from etcc_edge.bench.timing.paired import Paired, Spread, run_process, time_paired
from making import FakeClock

MIB = 1 << 20


def test_each_turn_takes_what_the_clock_says(clock: FakeClock) -> None:
    contenders = {"ours": clock.contender("ours", 1, 2, 4), "theirs": clock.contender("theirs", 8, 6, 8)}
    paired = time_paired(contenders, turns=3, warm_up=0, clock=clock)
    assert paired.seconds == {"ours": Spread((1, 2, 4)), "theirs": Spread((8, 6, 8))}


def test_speed_up_is_taken_turn_by_turn(clock: FakeClock) -> None:
    contenders = {"ours": clock.contender("ours", 1, 2, 4), "theirs": clock.contender("theirs", 8, 6, 8)}
    paired = time_paired(contenders, turns=3, warm_up=0, clock=clock)
    assert paired.speed_up("ours", against="theirs") == Spread((8, 3, 2))
    assert paired.speed_up("theirs", against="ours") == Spread((1 / 8, 1 / 3, 1 / 2))
    # The ratio of the medians would be 4.
    assert paired.speed_up("ours", against="theirs").median == 3


def test_a_machine_that_slows_down_leaves_the_ratio() -> None:
    paired = Paired({"ours": Spread((1, 10, 100)), "theirs": Spread((3, 30, 300))})
    assert paired.speed_up("ours", against="theirs").values == (3, 3, 3)


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (25, 2), (50, 3), (90, 4.6), (99, 4.96), (100, 5)])
def test_percentiles_are_linear_between_values(percent: float, expected: float) -> None:
    assert Spread((5, 1, 4, 2, 3)).percentile(percent) == pytest.approx(expected)


def test_a_spread_has_a_middle_and_ends() -> None:
    spread = Spread((5, 1, 4, 2))
    assert (spread.low, spread.median, spread.high) == (1, 3, 5)


def test_every_other_turn_runs_in_reverse_order(clock: FakeClock) -> None:
    contenders = {name: clock.contender(name, *[1] * 4) for name in "abc"}
    time_paired(contenders, turns=4, warm_up=0, clock=clock)
    assert "".join(clock.calls) == "abccbaabccba"


def test_warming_up_comes_first_and_is_not_counted(clock: FakeClock) -> None:
    contenders = {"a": clock.contender("a", 50, 60, 1), "b": clock.contender("b", 70, 80, 2)}
    paired = time_paired(contenders, turns=1, warm_up=2, clock=clock)
    assert "".join(clock.calls) == "aabbab"
    assert paired.seconds == {"a": Spread((1,)), "b": Spread((2,))}


# --- processes ----------------------------------------------------------------------------------------------


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def test_a_failing_command_is_an_error_with_its_exit_status() -> None:
    command = python("import sys; sys.exit(3)")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run_process(command)
    assert (caught.value.returncode, caught.value.cmd) == (3, command)


def test_a_killed_command_is_an_error_with_its_signal() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run_process(python("import os; os.kill(os.getpid(), 9)"))
    assert caught.value.returncode == -9


def test_a_command_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OSError, match="no-such-command"):
        run_process(["/no-such-command"])


def test_the_peak_holds_what_the_process_allocated() -> None:
    assert run_process(python(f"b = bytearray({64 * MIB})")).peak_bytes >= 64 * MIB


def test_the_peak_is_the_processs_own_and_not_that_of_the_one_who_measures() -> None:
    ballast = bytearray(b"x") * (200 * MIB)
    assert run_process(["true"]).peak_bytes < 100 * MIB
    assert len(ballast) == 200 * MIB


def test_wall_clock_and_cpu_seconds_are_told_apart() -> None:
    slept = run_process(python("import time; time.sleep(0.3)"))
    assert slept.seconds >= 0.3
    assert slept.cpu_seconds < 0.25
    worked = run_process(python("import time\nwhile time.process_time() < 0.2: pass"))
    assert worked.cpu_seconds >= 0.2


def test_output_is_thrown_away(capfd: pytest.CaptureFixture[str]) -> None:
    run_process(python("import sys; print('x' * 10**6); print('y', file=sys.stderr)"))
    assert capfd.readouterr() == ("", "")
