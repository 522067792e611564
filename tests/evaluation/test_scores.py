"""Evaluation: each figure on flows and answers that are known beforehand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from etcc_edge.bundle import Bundle, save_bundle
from etcc_edge.bundle.seen import trained_flows
from etcc_edge.engines.cascade import Node, RoutedCascade
from etcc_edge.errors import BundleError
from etcc_edge.evaluation.file import evaluate_file
from etcc_edge.evaluation.result import Attribution, Bootstrap, EndToEnd, Evaluation, LabelScore
from etcc_edge.evaluation.scores import evaluate
from etcc_edge.flows.features import features as feature_table
from etcc_edge.flows.generated import sample_rows
from etcc_edge.flows.labels import codes_of
from etcc_edge.flows.services import services
from etcc_edge.flows.truth import read_features


class ToldEngine:
    """Gives each flow the label that scaled input ``depth`` spells out: 0.1 a step, 0.9 for none. Input
    ``depth + 2`` is how much surer it is of it than of any other."""

    def __init__(self, node: Node, depth: int) -> None:
        self.classes, self.depth = len(node.labels), depth

    def run(self, scaled: np.ndarray) -> np.ndarray:
        wanted = np.rint(scaled[:, self.depth] * 10).astype(int)
        logits = 20.0 * scaled[:, [self.depth + 2]] * (np.arange(self.classes) == wanted[:, None])
        logits[wanted == 9] = np.nan
        return logits.astype(np.float32)


def evaluated(
    bundle: Bundle,
    *flows: tuple[str, str, int, int],
    sure: list[float] | None = None,
    ids: list[str] | None = None,
    empty: tuple[int, ...] = (),
    threshold: float | None = None,
) -> Evaluation:
    """Of flows (true protocol, true application, told protocol, told application); the ``empty`` ones
    have no value in any feature."""
    depths = {node.id: depth for depth, node in bundle.root.walk()}
    raw = np.zeros((len(flows), 6), np.float32)
    raw[:, :2] = [[100 * protocol, 100 * application] for *_, protocol, application in flows]
    raw[:, 2:4] = 1000 * np.array(sure or [1.0] * len(flows))[:, None]
    raw[list(empty)] = np.nan
    protocol, application = (np.array([flow[i] for flow in flows], np.str_) for i in (0, 1))
    return evaluate(
        bundle,
        lambda part: RoutedCascade(part, lambda node: ToldEngine(node, depths[node.id])),
        raw,
        protocol,
        application,
        None if ids is None else np.array(ids, np.str_),
        threshold,
    )


def plain(end_to_end: EndToEnd) -> dict[str, float | None]:
    return {key: getattr(end_to_end, key) for key in ("flows", "accuracy", "protocol_accuracy", "strict_accuracy")}


OTHER_ORDER = (
    "flow_iat_max",
    "flow_duration",
    "flow_iat_min",
    "flow_bytes_per_s",
    "flow_iat_mean",
    "flow_packets_per_s",
)

# Non-VPN: Chat, Email, FTP. Tor has no applications. VPN: Chat, Streaming.
NON_VPN, TOR, VPN, NONE = 0, 1, 2, 9
FLOWS = (
    ("VPN", "Streaming", VPN, 1),  # both right
    ("vpn", "CHAT", VPN, 1),  # protocol right
    ("VPN", "Streaming", NON_VPN, 1),  # protocol wrong, though VPN's own network is right
    ("Non-VPN", "Chat", VPN, 0),  # protocol wrong, the application's name right by another network
    ("NonVPN", "e-mail", NON_VPN, 1),  # both right
    ("Non-VPN", "Gaming", NON_VPN, 0),  # an application that the bundle does not know
    ("VPN", "Email", VPN, 1),  # known, but not to VPN's network
    ("Tor", "Chat", TOR, 0),  # a protocol without applications
    ("Proxy", "Chat", VPN, 0),  # a protocol that the bundle does not know
    ("VPN", "Chat", NONE, 0),  # no label
)


def test_the_protocol_is_counted_over_flows_whose_protocol_is_known(tiny_bundle: Bundle) -> None:
    figures = evaluated(tiny_bundle, *FLOWS)
    assert (figures.flows, figures.coverage) == (10, pytest.approx(9 / 10))
    protocol = figures.protocol
    assert protocol.flows == 9
    assert protocol.accuracy == pytest.approx(6 / 9)
    assert protocol.labels == ["Non-VPN", "Tor", "VPN"]
    assert protocol.confusion == [[2, 0, 1, 0], [0, 1, 0, 0], [1, 0, 3, 1]]
    assert protocol.recall_by_label == pytest.approx([2 / 3, 1, 3 / 5])


def test_stage_2_is_given_the_true_protocol(tiny_bundle: Bundle) -> None:
    figures = evaluated(tiny_bundle, *FLOWS)
    assert list(figures.stage2) == ["Non-VPN", "VPN"]
    # Rows 1, 2, 3 and the one without protocol label, which VPN's own network calls Chat.
    vpn = figures.stage2["VPN"]
    assert (vpn.flows, vpn.accuracy) == (4, pytest.approx(3 / 4))
    assert vpn.confusion == [[1, 1, 0], [0, 2, 0]]
    non_vpn = figures.stage2["Non-VPN"]
    assert (non_vpn.flows, non_vpn.accuracy) == (2, 1.0)
    assert figures.mean_stage2_accuracy == pytest.approx((3 / 4 + 1) / 2)


def test_end_to_end_wants_both_labels_right(tiny_bundle: Bundle) -> None:
    figures = evaluated(tiny_bundle, *FLOWS)
    assert plain(figures.end_to_end) == {
        "flows": 6,
        "accuracy": pytest.approx(2 / 6),
        "protocol_accuracy": pytest.approx(3 / 6),
        "strict_accuracy": pytest.approx(2 / 10),
    }


def test_a_flow_without_any_value_gets_no_label_as_infer_gives_none(tiny_bundle: Bundle) -> None:
    figures = evaluated(
        tiny_bundle, *[("VPN", "Chat", VPN, 0)] * 3, ("Proxy", "Chat", VPN, 0), empty=(1, 3), threshold=0.0
    )
    assert figures.protocol.confusion[VPN] == [0, 0, 2, 1]
    assert figures.stage2["VPN"].confusion[0] == [2, 0, 1]
    assert figures.end_to_end.accuracy == pytest.approx(2 / 3)
    assert (figures.known.false_rejection, figures.known.unknown_flows) == (0, 0)


def test_unknown_flows_are_those_of_untaught_protocols_and_high_energy_detects_them(tiny_bundle: Bundle) -> None:
    flows = [("VPN", "Chat", VPN, 0)] * 2 + [("Proxy", "Chat", VPN, 0)] * 2
    # Energies of about -20, -10, -4 and -20.
    known = evaluated(tiny_bundle, *flows, sure=[1, 0.5, 0.2, 1], threshold=-15.0).known
    assert known.threshold == -15
    assert (known.false_rejection, known.unknown_flows, known.detected) == (0.5, 2, 0.5)
    assert known.auroc == pytest.approx(2.5 / 4)


def test_all_right_is_1_everywhere(tiny_bundle: Bundle) -> None:
    figures = evaluated(tiny_bundle, ("VPN", "Streaming", VPN, 1), ("Non-VPN", "FTP", NON_VPN, 2))
    assert figures.coverage == figures.mean_stage2_accuracy == 1
    assert plain(figures.end_to_end) == {"flows": 2, "accuracy": 1, "protocol_accuracy": 1, "strict_accuracy": 1}
    for part in (figures.protocol, *figures.stage2.values()):
        assert part.accuracy == part.precision == part.recall == part.f1 == 1
        assert part.confidence.calibration_error == pytest.approx(0, abs=1e-6)


def test_what_was_not_counted_is_none(tiny_bundle: Bundle) -> None:
    figures = evaluated(tiny_bundle, ("Proxy", "Chat", VPN, 0))
    assert figures.coverage == 0
    assert figures.protocol.accuracy is None
    assert figures.protocol.recall_by_label == [None] * 3
    assert figures.stage2 == {}
    assert figures.mean_stage2_accuracy is None
    assert plain(figures.end_to_end) == {
        "flows": 0,
        "accuracy": None,
        "protocol_accuracy": None,
        "strict_accuracy": 0,
    }


def test_no_flows_are_counted_as_none(tiny_bundle: Bundle) -> None:
    nothing = np.zeros(0, np.str_)
    figures = evaluate(
        tiny_bundle,
        lambda part: RoutedCascade(part, lambda node: ToldEngine(node, 0)),
        np.zeros((0, 6), np.float32),
        nothing,
        nothing,
    )
    assert (figures.flows, figures.coverage, figures.protocol.accuracy) == (0, None, None)
    assert plain(figures.end_to_end) == {
        "flows": 0,
        "accuracy": None,
        "protocol_accuracy": None,
        "strict_accuracy": None,
    }


def test_errors_are_attributed_to_one_cause_each(tiny_bundle: Bundle) -> None:
    more = (("VPN", "Chat", TOR, 0), ("VPN", "Chat", VPN, NONE))
    parts = evaluated(tiny_bundle, *FLOWS, *more).end_to_end.attribution
    assert parts == Attribution(
        both_right=pytest.approx(2 / 8),
        stage1_wrong=pytest.approx(3 / 8),  # one of them without label
        stage2_wrong=pytest.approx(2 / 8),  # one of them without label
        no_application_network=pytest.approx(1 / 8),
    )
    assert sum(vars(parts).values()) == pytest.approx(1)


def test_figures_by_label_are_in_the_labels_order(tiny_bundle: Bundle) -> None:
    protocol = evaluated(tiny_bundle, *FLOWS).protocol
    assert protocol.labels == ["Non-VPN", "Tor", "VPN"]
    assert protocol.support_by_label == [3, 1, 5]
    assert protocol.precision_by_label == pytest.approx([2 / 3, 1, 3 / 4])
    assert protocol.f1_by_label == pytest.approx([4 / 6, 1, 6 / 9])


def test_applications_are_averaged_over_the_protocols_where_they_occur(tiny_bundle: Bundle) -> None:
    table = evaluated(tiny_bundle, *FLOWS).mean_by_application
    assert list(table) == ["Chat", "Email", "FTP", "Streaming"]
    assert table["Chat"].recall == pytest.approx((1 + 1 / 2) / 2)
    assert table["Streaming"].precision == pytest.approx(2 / 3)
    assert table["FTP"] == LabelScore(None, None, None)


def test_the_least_sure_pairs_are_refused_first(tiny_bundle: Bundle) -> None:
    right, wrong = ("VPN", "Streaming", VPN, 1), ("VPN", "Streaming", VPN, 0)
    unlabelled = ("VPN", "Chat", NONE, 0)
    figures = evaluated(tiny_bundle, right, right, wrong, wrong, unlabelled, sure=[0.9, 0.8, 0.1, 0.05, 1])
    end = figures.end_to_end
    assert end.accuracy == pytest.approx(2 / 5)
    assert end.confidence.accuracy_at_80_coverage == pytest.approx(2 / 4)
    curve = end.confidence.risk_coverage
    assert curve.refused == pytest.approx(np.arange(20) / 20)
    assert curve.accuracy[8] == pytest.approx(2 / 3)
    assert curve.accuracy[12:] == pytest.approx([1] * 8)
    assert curve.area == pytest.approx((1 + 1 + 2 / 3 + 2 / 4 + 2 / 5) / 5)
    assert curve.confidence[0] is None
    # The softmax of (0.1 * 20, 0, 0) over three protocols times that over two applications.
    pair = np.exp(2) / (np.exp(2) + 2) * np.exp(2) / (np.exp(2) + 1)
    assert curve.confidence[8] == pytest.approx(pair, abs=1e-5)
    assert end.confidence.reliability.flows[int(15 * pair)] == 1
    assert sum(end.confidence.reliability.flows) == 4
    # Given its true protocol, the unlabelled flow has a label of stage 2, and a right one.
    assert figures.stage2["VPN"].confidence.accuracy_at_80_coverage == pytest.approx(3 / 4)


def test_every_accuracy_lies_in_its_interval(tiny_bundle: Bundle) -> None:
    figures = evaluated(tiny_bundle, *FLOWS * 8)
    held = [
        (figures.protocol, "accuracy"),
        *((stage, "accuracy") for stage in figures.stage2.values()),
        (figures, "mean_stage2_accuracy"),
        *((figures.end_to_end, key) for key in ("accuracy", "protocol_accuracy", "strict_accuracy")),
    ]
    for part, key in held:
        accuracy, limits = getattr(part, key), getattr(part, f"{key}_interval")
        if accuracy == 1:
            assert limits is None
            continue
        low, high = limits
        assert 0 <= low <= accuracy <= high <= 1
        assert low < high
    assert figures.bootstrap == Bootstrap("flow", 80, resamples=1000, seed=0, level=0.95)


def test_flows_of_one_flow_id_are_drawn_together(tiny_bundle: Bundle) -> None:
    def width(figures: Evaluation) -> float:
        low, high = figures.end_to_end.strict_accuracy_interval
        return float(high - low)

    flows = [flow for flow in FLOWS for _ in range(20)]
    alone, together = (evaluated(tiny_bundle, *flows, ids=ids) for ids in (None, [str(i // 20) for i in range(200)]))
    assert (together.bootstrap.unit, together.bootstrap.units) == ("flow-id", 10)
    assert width(together) > 3 * width(alone)
    some = evaluated(tiny_bundle, *FLOWS, ids=["a", "a", "", ""] + ["b"] * 6)
    assert some.bootstrap.units == 4
    assert evaluated(tiny_bundle, *FLOWS, ids=[""] * 10).bootstrap.unit == "flow"
    halves = ["10.0.0.1-10.0.0.2-5000-443-6", "10.0.0.2-10.0.0.1-443-5000-6"] * 5
    assert evaluated(tiny_bundle, *FLOWS, ids=halves).bootstrap.units == 1


def test_bundles_are_scored_on_rows_that_none_was_trained_on(tiny_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "generated.csv"
    path.write_text("".join(sample_rows(40, seed=3)))
    for name, rows, features in (("a", slice(10), tiny_bundle.features), ("b", slice(5, 20), OTHER_ORDER)):
        raw, identity = read_features(path, features)
        trained = trained_flows(identity[rows], raw[rows])
        units = tuple(feature_table()[feature].unit for feature in features)
        bundle = replace(tiny_bundle, name=name, trained=trained, features=features, units=units)
        save_bundle(bundle, tmp_path / name)
    a, b = evaluate_file(path, [str(tmp_path / "a"), str(tmp_path / "b")], rows="test")
    assert [(e.bundle, e.scores.flows, e.flows_trained_on) for e in (a, b)] == [("a", 20, 0), ("b", 20, 0)]
    (alone,) = evaluate_file(path, [str(tmp_path / "b")])
    assert (alone.scores.flows, alone.flows_trained_on) == (40, 15)
    both = evaluate_file(path, [str(tmp_path / "a"), str(tmp_path / "b")])
    assert both[1] == alone


def test_a_bundle_without_applications_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "generated.csv"
    path.write_text("".join(sample_rows(5, seed=3)))
    root = replace(tiny_bundle.root, children={})
    weights = {name: array for name, array in tiny_bundle.weights.items() if name.startswith("stage1/")}
    onnx = {key: model for key, model in tiny_bundle.onnx.items() if key[0] == "stage1"}
    save_bundle(replace(tiny_bundle, levels=("protocol",), root=root, weights=weights, onnx=onnx), tmp_path / "flat")
    with pytest.raises(BundleError, match="tiny has one level, protocol; evaluate scores two"):
        evaluate_file(path, [str(tmp_path / "flat")])


def test_codes_are_found_whatever_the_spelling() -> None:
    text = np.array(["VPN", "non vpn", "NON-VPN", "proxy", "", "vpn"])
    assert codes_of(("Non-VPN", "VPN"), text).tolist() == [1, 0, 0, -1, -1, 1]
    assert codes_of(("Non-VPN", "VPN"), np.zeros(0, np.str_)).tolist() == []


def test_intervals_draw_sessions_where_they_are_known(tiny_bundle: Bundle) -> None:
    raw = np.zeros((6, 6), np.float32)
    protocol, application = np.array(["VPN"] * 6), np.array(["Chat"] * 6)
    depths = {node.id: depth for depth, node in tiny_bundle.root.walk()}
    figures = evaluate(
        tiny_bundle,
        lambda part: RoutedCascade(part, lambda node: ToldEngine(node, depths[node.id])),
        raw,
        protocol,
        application,
        np.array(["a"] * 3 + ["b"] * 3),
        session=np.array(["one", "one", "two", "two", "", ""]),
    )
    assert (figures.bootstrap.unit, figures.bootstrap.units) == ("session", 4)


def test_parts_of_the_flows_are_scored_apart(tiny_bundle: Bundle) -> None:
    """A DNS flow that the file calls a chat, and a chat of 2, of 50 and of 5,000 packets."""
    names = ("flow_duration", "flow_packets_per_s", "flow_bytes_per_s", "src_port", "dst_port", "ip_protocol")
    bundle = replace(tiny_bundle, features=names, services=services())
    raw = np.zeros((4, 6), np.float32)
    raw[:, 0] = 1e6
    raw[:, 1], raw[:, 2] = [2, 2, 50, 5000], [10, 10, 80, 900]
    raw[:, 3:] = [[40000, 53, 17], *[[40000, 443, 6]] * 3]

    class AlwaysFirst:
        """The protocol VPN, and the application Chat."""

        def __init__(self, node: Node) -> None:
            self.logits = np.array([[5.0 * (name in ("VPN", "Chat")) for name in node.labels]], np.float32)

        def run(self, scaled: np.ndarray) -> np.ndarray:
            return np.repeat(self.logits, len(scaled), axis=0)

    figures = evaluate(
        bundle,
        lambda part: RoutedCascade(part, AlwaysFirst),
        raw,
        np.array(["VPN"] * 4),
        np.array(["Chat", "Chat", "Chat", "Streaming"]),
        service=np.array(["DNS", "", "", ""]),
    )
    flows = {name: (part.flows, part.accuracy) for name, part in figures.parts.items()}
    assert flows == {
        "all": (4, 0.75),
        "foreground": (3, pytest.approx(2 / 3)),
        "file": (4, 0.5),
        "packets_1": (1, 1.0),
        "packets_10": (1, 1.0),
        "packets_100": (0, None),
        "packets_1000": (1, 0.0),
    }
    assert figures.parts["foreground"].accuracy_by_bytes == pytest.approx(90 / 990)
    assert figures.parts["packets_1000"].share_of_bytes == pytest.approx(0.9)
    assert figures.parts["all"].given == 1
    assert figures.end_to_end.accuracy == 0.75
    assert figures.stage2["VPN"].flows == 3
