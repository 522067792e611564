"""The native meter prints what the Java programs print for the shared captures."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import pytest

from etcc_edge.meter import MeteredCapture

ID, TIME = 0, 6


def equal(ours: str, java: str) -> bool:
    """As numbers, since Java's text is not always the shortest."""
    try:
        a, b = float(ours), float(java)
    except ValueError:
        return ours == java
    return a == b or (math.isnan(a) and math.isnan(b)) or abs(a - b) <= 4e-16 * abs(b)


@pytest.mark.parametrize(("profile", "folder"), [("darknet2020", "darknet2020"), ("cicflowmeter-2021", "2021")])
def test_every_row_equals_java_in_every_column(real_flows: Path, profile: str, folder: str) -> None:
    rows = same = own = 0
    different = set()
    for path in sorted((real_flows / "meter" / "pcap").glob("*.pcap")):
        flows = defaultdict(list)
        for piece in MeteredCapture(path, profile, strict=True).flows():
            for line in piece.text(0).tobytes().decode().splitlines():
                cells = line.split(",")
                flows[cells[ID], cells[TIME]].append(cells)
                own += 1
        for line in (real_flows / "meter" / folder / f"{path.stem}.csv").read_text().splitlines()[1:]:
            java = line.split(",")
            candidates = flows[java[ID], java[TIME]]
            rows += 1
            for cells in candidates:
                if len(cells) == len(java) and all(map(equal, cells, java)):
                    candidates.remove(cells)
                    same += 1
                    break
            else:
                different.add(path.stem)
        if any(flows.values()):
            different.add(path.stem)
    print(f"{profile}: {same} of {rows} rows equal, {own} of our own; not all in {sorted(different)}")
    assert rows > 3800
    assert not different
    assert same == rows == own
