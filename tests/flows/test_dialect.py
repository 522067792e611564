from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from etcc_edge.flows.dialect import Reading, recognise
from etcc_edge.flows.features import dialect_named, dialects, features
from etcc_edge.flows.text.reader import FlowFile

PER_SECOND = {"us": 1e6, "ms": 1e3, "s": 1.0}
SECONDS = np.array([2.0, 0.3, 40.0])
PACKETS = np.array([5.0, 3.0, 81.0])


def recognised(table: Mapping[str, Sequence[float] | np.ndarray]) -> Reading | None:
    """What a file with these columns is taken for."""
    values = [np.asarray(column, np.float64) for column in table.values()]
    return recognise(list(table), lambda wanted: {name: values[index] for name, index in wanted.items()})


def python_port(duration: str, gaps: str) -> dict[str, np.ndarray]:
    """Three flows of a meter that counts packets."""
    return {
        "flow_duration": SECONDS * PER_SECOND[duration],
        "flow_byts_s": PACKETS * 100 / SECONDS,
        "flow_pkts_s": PACKETS / SECONDS,
        "tot_fwd_pkts": PACKETS - 1,
        "tot_bwd_pkts": np.ones(3),
        "flow_iat_mean": SECONDS / (PACKETS - 1) * PER_SECOND[gaps],
    }


def iscx(duration: str, gaps: str) -> dict[str, np.ndarray]:
    """The same flows by a meter that does not."""
    mean = SECONDS / (PACKETS - 1) * PER_SECOND[gaps]
    return {
        "duration": SECONDS * PER_SECOND[duration],
        "flowBytesPerSecond": PACKETS * 100 / SECONDS,
        "flowPktsPerSecond": PACKETS / SECONDS,
        "min_flowiat": mean / 2,
        "mean_flowiat": mean,
        "max_flowiat": mean * 1.5,
    }


@pytest.mark.parametrize("name", [d.name for d in dialects() if not d.name.endswith("shifted")])
def test_each_dialect_is_recognised_by_its_own_names(name):
    columns = dialect_named(name).columns
    reading = recognised({names[0]: [] for names in columns.values()})
    assert reading is not None
    assert reading.dialect.name == name
    assert list(reading.columns) == list(columns)


def test_blanks_and_case_of_the_names_do_not_matter():
    reading = recognised({f" {name.upper()}\t": values for name, values in iscx("us", "us").items()})
    assert reading is not None
    assert reading.dialect.name == "iscx2016-time"


def test_a_few_known_names_make_no_dialect():
    assert recognised({"Protocol": [], "Label": [], "Src Port": [], "Dst Port": [], "Flow Duration": []}) is None


def test_the_first_of_equal_names_counts():
    cells = [*iscx("us", "us"), "Duration", "min_flowiat"]
    reading = recognise(cells, lambda wanted: dict.fromkeys(wanted, np.empty(0)))
    assert reading is not None
    assert (reading.columns["flow_duration"], reading.columns["flow_iat_min"]) == (0, 3)


@pytest.mark.parametrize("name", ["cwr_flag_count", "cwe_flag_count"])
def test_a_feature_may_go_by_several_names(name):
    reading = recognised({**python_port("s", "s"), name: np.zeros(3)})
    assert reading is not None
    assert reading.columns["cwe_flag_count"] == 6


@pytest.mark.parametrize("unit", ["us", "ms", "s"])
@pytest.mark.parametrize("meter", [python_port, iscx])
def test_the_unit_of_times_is_told_by_their_values(meter, unit):
    reading = recognised(meter(unit, unit))
    assert reading is not None
    assert reading.time_unit == unit
    assert reading.factors["flow_duration"] == pytest.approx(1e6 / PER_SECOND[unit])
    assert reading.factors["flow_iat_mean"] == pytest.approx(1e6 / PER_SECOND[unit])


@pytest.mark.parametrize(("duration", "gaps"), [("us", "s"), ("s", "us"), ("ms", "s")])
@pytest.mark.parametrize("meter", [python_port, iscx])
def test_inter_arrival_times_may_have_another_unit_than_durations(meter, duration, gaps):
    reading = recognised(meter(duration, gaps))
    assert reading is not None
    assert reading.factors["flow_duration"] == pytest.approx(1e6 / PER_SECOND[duration])
    assert reading.factors["flow_iat_mean"] == pytest.approx(1e6 / PER_SECOND[gaps])
    assert reading.notes[-1] == f"durations are in {duration}, inter-arrival times in {gaps}, by their values"


@pytest.mark.parametrize("unit", ["us", "ms", "s"])
def test_the_unit_of_large_flows_is_told_where_packets_are_not_counted(unit):
    seconds, packets = np.array([0.06, 0.9, 14.0]), np.array([1200.0, 9000.0, 88_000.0])
    table = iscx(unit, unit)
    reading = recognised(
        {
            **table,
            "duration": seconds * PER_SECOND[unit],
            "flowPktsPerSecond": packets / seconds,
            "mean_flowiat": seconds / (packets - 1) * PER_SECOND[unit],
        }
    )
    assert reading is not None
    assert (reading.time_unit, reading.gap_unit, reading.notes) == (unit, unit, ())


@pytest.mark.parametrize("unit", ["us", "ms", "s"])
def test_real_flows_of_uncounted_packets_are_read_in_each_unit(real_flows, unit):
    with FlowFile(real_flows / "iscx-tor-vpn-15s" / "flows.csv") as file:
        names = list(file.reading.columns)
        values = np.concatenate([batch.features for batch in file.batches(names)]).astype(np.float64)
    values = values[(values[:, names.index("flow_duration")] > 0) & (values[:, names.index("flow_iat_mean")] > 0)]
    times = [i for i, name in enumerate(names) if features()[name].unit == "us"]
    values[:, times] *= PER_SECOND[unit] / 1e6
    header = [dialect_named("iscx2016-time").columns[name][0] for name in names]
    rng = np.random.default_rng(0)
    for rows in [slice(None), *(rng.integers(0, len(values), count) for count in (1, 2, 3, 4, 5) * 40)]:
        reading = recognised(dict(zip(header, values[rows].T, strict=True)))
        assert (reading.time_unit, reading.gap_unit) == (unit, unit)


def test_rates_and_counts_are_never_scaled():
    reading = recognised(python_port("s", "s"))
    assert reading is not None
    assert {reading.factors[n] for n in ("flow_bytes_per_s", "flow_packets_per_s", "fwd_packets")} == {1.0}


@pytest.mark.parametrize("nothing", [0.0, -1.0, np.nan])
def test_times_that_do_not_tell_are_microseconds(nothing):
    reading = recognised({name: [nothing] * 3 for name in python_port("s", "s")})
    assert reading is not None
    assert reading.time_unit == "us"
    assert set(reading.factors.values()) == {1.0}


def test_flows_without_a_duration_or_a_gap_do_not_disturb_the_others():
    empty = [0.0, np.nan, np.nan, 1.0, 0.0, 0.0]
    table = python_port("s", "s")
    reading = recognised({name: [*table[name], *[other] * 20] for name, other in zip(table, empty, strict=True)})
    assert reading is not None
    assert reading.time_unit == "s"
    assert reading.factors["flow_iat_mean"] == 1e6


def fiat(least: str, mean: str, most: str, std: str, total: str, unit: str) -> dict[str, np.ndarray]:
    """`iscx` flows with forward gaps of 10 ms, 50 ms and 200 ms in the columns of these names."""
    gaps = {least: 0.01, mean: 0.05, most: 0.2, std: 0.07, total: 1.0}
    columns = {f"{name}_fiat": np.full(3, gap * PER_SECOND[unit]) for name, gap in gaps.items() if name}
    return {**iscx(unit, unit), **columns}


@pytest.mark.parametrize("unit", ["us", "ms", "s"])
def test_right_inter_arrival_names_are_believed(unit):
    reading = recognised(fiat("min", "mean", "max", "", "total", unit))
    assert reading is not None
    assert reading.dialect.name == "iscx2016-time"
    assert reading.notes == ()


@pytest.mark.parametrize("unit", ["us", "ms", "s"])
def test_wrong_inter_arrival_names_are_read_by_what_the_columns_hold(unit):
    table = fiat("total", "max", "min", "mean", "", unit)
    reading = recognised(table)
    assert reading is not None
    assert reading.dialect.name == "iscx2016-time-shifted"
    names = list(table)
    held = {part: names[reading.columns[f"fwd_iat_{part}"]] for part in ("min", "mean", "max", "std")}
    assert held == {"min": "total_fiat", "mean": "max_fiat", "max": "min_fiat", "std": "mean_fiat"}
    assert "names eight inter-arrival columns wrongly" in reading.notes[0]


def test_minus_one_is_no_evidence_against_the_names():
    table = fiat("min", "mean", "max", "", "total", "us")
    reading = recognised({**table, "total_fiat": [-1.0, 1e6, -1.0], "max_fiat": [2e5, 2e5, -1.0]})
    assert reading is not None
    assert reading.dialect.name == "iscx2016-time"


@pytest.mark.parametrize(
    ("name", "dialect", "unit", "rows"),
    [
        ("cicdarknet2020-excerpt.csv", "cicdarknet2020", "us", 119),
        ("cicflowmeter-python-0.5-snake-case.csv", "cicflowmeter-python", "s", 33),
        ("cicflowmeter-v4-short-names.csv", "cicflowmeter-v4", "us", 199),
        ("cicids2017-leading-spaces.csv", "cicids2017", "us", 199),
        ("iscxtor2016-10s-28-columns.csv", "iscx2016-long", "us", 199),
        ("iscxvpn2016-15s.arff", "iscx2016-time-shifted", "us", 174),
    ],
)
def test_real_files_of_each_dialect(real_flows, name, dialect, unit, rows):
    with FlowFile(real_flows / "dialects" / name) as file:
        batches = list(file.batches(list(file.reading.columns)))
    assert (file.reading.dialect.name, file.reading.time_unit) == (dialect, unit)
    assert sum(map(len, batches)) == rows
    assert not any(batch.status.any() for batch in batches)


def test_the_mended_iscx_file_is_read_by_its_names(real_flows):
    with FlowFile(real_flows / "iscx-tor-vpn-15s" / "flows.csv") as file:
        assert (file.reading.dialect.name, file.reading.time_unit) == ("iscx2016-time", "us")


def test_values_that_do_not_tell_the_unit_are_said_to(tmp_path):
    header = "duration,flowPktsPerSecond,flowBytesPerSecond,min_flowiat,max_flowiat,mean_flowiat"
    (tmp_path / "f.csv").write_text(f"{header}\n1.5,,,0,0,0\n")
    with FlowFile(tmp_path / "f.csv") as file:
        assert file.reading.time_unit == "us"
        assert "its values do not tell the unit of times; microseconds are assumed" in file.reading.notes


def test_canonical_names_are_a_dialect_of_any_meter():
    reading = recognised({"Flow_Duration ": [2e6], "flow_packets_per_s": [5], "fwd_packets": [6], "bwd_packets": [4]})
    assert reading is None  # four names are too few
    names = ("flow_duration", "flow_packets_per_s", "fwd_packets", "bwd_packets", "idle_max")
    reading = recognised(dict(zip(names, ([2e6], [5], [6], [4], [1e6]), strict=True)))
    assert reading is not None
    assert (reading.dialect.name, reading.dialect.meter, set(reading.columns)) == ("canonical", "", set(names))


def test_columns_that_could_both_be_a_feature_are_named():
    table = {"Flow Duration": [1], "Tot Fwd Pkts": [1], "Tot Bwd Pkts": [1], "Flow Pkts/s": [1], "Protocol": [6]}
    reading = recognise([*table, " flow duration"], lambda wanted: {name: np.ones(1) for name in wanted})
    assert reading is not None
    assert reading.repeated == {"flow_duration": (0, 5)}


def test_a_column_that_the_meter_writes_twice_is_no_such_thing():
    names = [keys[0] for keys in dialect_named("cicids2017").columns.values()]
    reading = recognise([*names, "Fwd Header Length"], lambda wanted: {name: np.ones(1) for name in wanted})
    assert reading is not None
    assert (reading.dialect.name, reading.repeated) == ("cicids2017", {})


def test_few_rows_that_fit_two_dialects_are_said_to():
    times = {f"{part}_{way}": [0.0] for way in ("fiat", "biat") for part in ("total", "mean", "max", "min")}
    reading = recognised({**iscx("us", "us"), **{name: np.zeros(3) for name in times}})
    assert reading is not None
    assert "do not show whether it is iscx2016-time or iscx2016-time-shifted" in reading.notes[0]
    ordered = {"total": 90.0, "max": 60.0, "mean": 45.0, "min": 30.0}
    told = {name: np.full(3, ordered[name.split("_")[0]]) for name in times}
    reading = recognised({**iscx("us", "us"), **told})
    assert reading is not None
    assert not [note for note in reading.notes if "do not show" in note]


def test_a_direction_without_gaps_tells_the_dialects_apart():
    of_none = {
        "total": -1.0,
        "min": -1.0,
        "max": 0.0,
        "mean": 0.0,
    }  # least, most, mean and spread, as shifted files name them
    times = {f"{part}_{way}": np.full(3, value) for way in ("fiat", "biat") for part, value in of_none.items()}
    reading = recognised({**iscx("us", "us"), **times})
    assert reading is not None
    assert (reading.dialect.name, [n for n in reading.notes if "do not show" in n]) == ("iscx2016-time-shifted", [])
