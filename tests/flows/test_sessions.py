"""Captures that recorded the same traffic at the same time are one session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcc_edge.errors import FlowsError
from etcc_edge.flows.sessions import SHARED, WITHIN_US, sessions
from etcc_edge.flows.truth import joined, read_labelled, read_labelled_files


def of(*flows: tuple[str, str, int]) -> list[str]:
    """The sessions of flows given as capture, Flow ID, start in seconds."""
    capture, flow_id, start = zip(*flows, strict=True)
    starts = np.array([-1 if s < 0 else s * 1_000_000 for s in start], np.int64)
    return sessions(np.array(capture), np.array(flow_id), starts).tolist()


def both(names: str, ids: int, apart: int = 0) -> list[tuple[str, str, int]]:
    return [(name, f"id {i}", 1000 + place * apart) for place, name in enumerate(names) for i in range(ids)]


def test_captures_that_share_three_flow_ids_are_one_session() -> None:
    assert set(of(*both("ab", SHARED))) == {"a"}
    assert set(of(*both("ab", SHARED - 1))) == {"a", "b"}


def test_the_shared_flows_start_within_five_minutes() -> None:
    seconds = WITHIN_US // 1_000_000
    assert set(of(*both("ab", 3, apart=seconds))) == {"a"}
    assert set(of(*both("ab", 3, apart=seconds + 1))) == {"a", "b"}
    assert set(of(*both("ab", 3, apart=-2000))) == {"a", "b"}  # no start is known of one


def test_one_flow_id_three_times_is_one() -> None:
    assert set(of(*[(name, "id", start) for name in "ab" for start in (1, 2, 3)])) == {"a", "b"}


def test_direction_does_not_matter() -> None:
    there = [("a", f"10.0.0.1-10.0.0.2-{i}-443-6", 5) for i in range(3)]
    back = [("b", f"10.0.0.2-10.0.0.1-443-{i}-6", 5) for i in range(3)]
    assert set(of(*there, *back)) == {"a"}


def test_sessions_chain() -> None:
    assert set(of(*both("ab", 3), *[(name, f"other {i}", 9) for name in "bc" for i in range(3)])) == {"a"}


def test_flows_without_capture_have_no_session() -> None:
    assert of(*both("a", 3), *[("", f"id {i}", 1000) for i in range(3)]) == ["a"] * 3 + [""] * 3


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("uvwxyz"), st.integers(0, 900)), min_size=1))
def test_the_order_of_flows_does_not_matter(flows: list[tuple[str, str, int]]) -> None:
    assert of(*flows)[::-1] == of(*flows[::-1])


def test_the_real_captures_make_74_sessions(real_flows: Path) -> None:
    folder = real_flows / "cicdarknet2020-part"
    flows = read_labelled(folder / "flows.csv", ["flow_duration"], groups=folder / "flows.captures.txt")
    assert (len(set(flows.capture)), len(set(flows.session))) == (102, 74)


def test_a_file_without_captures_is_one_beside_files_with_them(tmp_path: Path) -> None:
    generated = Path(__file__).parents[1] / "data" / "generated-flows.csv"
    groups = tmp_path / "captures.txt"
    rows = len(read_labelled(generated, ["flow_duration"]))
    groups.write_text("".join(f"{i % 2}\n" for i in range(rows)))
    with_captures = read_labelled(generated, ["flow_duration"], groups=groups)
    without = read_labelled(generated, ["flow_duration"])
    assert set(joined([with_captures, without]).capture) == {"0", "1", without.name}
    assert set(joined([without, without]).session) == {""}


def test_several_files_keep_the_features_that_all_have(tmp_path: Path) -> None:
    generated = Path(__file__).parents[1] / "data" / "generated-flows.csv"
    lines = [line.split(",") for line in generated.read_text().splitlines()]
    port = lines[0].index("Src Port")
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("".join(",".join(cell for i, cell in enumerate(line) if i != port) + "\n" for line in lines))
    whole = read_labelled(generated)
    flows = read_labelled_files([generated, fewer])
    assert flows.feature_names == tuple(name for name in whole.feature_names if name != "src_port")
    assert (len(flows), flows.ignored) == (2 * len(whole), 2 * whole.ignored)


def test_flows_of_two_meters_are_not_joined(real_flows: Path) -> None:
    paths = [real_flows / name / "flows.csv" for name in ("cicdarknet2020-tor", "iscx-tor-vpn-15s")]
    with pytest.raises(FlowsError, match="train on each apart"):
        read_labelled_files(paths, ["flow_duration"])
