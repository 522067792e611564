"""Evaluation: each figure on flows and answers that are known beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from etcc_edge.bundle import Bundle
from etcc_edge.cascade import Node, RoutedCascade
from etcc_edge.evaluation import codes_of, evaluate


class ToldEngine:
    """Gives each flow the label that scaled input ``depth`` spells out: 0.1 a step, 0.9 for none."""

    def __init__(self, node: Node, depth: int) -> None:
        self.classes, self.depth = len(node.labels), depth

    def run(self, scaled: np.ndarray) -> np.ndarray:
        wanted = np.rint(scaled[:, self.depth] * 10).astype(int)
        logits = 20.0 * (np.arange(self.classes) == wanted[:, None])
        logits[wanted == 9] = np.nan
        return logits.astype(np.float32)


def evaluated(bundle: Bundle, *flows: tuple[str, str, int, int]) -> dict[str, Any]:
    """The figures of flows (true protocol, true application, told protocol, told application)."""
    depths = {node.id: depth for depth, node in bundle.root.walk()}
    raw = np.zeros((len(flows), 6), np.float32)
    raw[:, :2] = [[100 * protocol, 100 * application] for *_, protocol, application in flows]
    protocol, application = (np.array([flow[i] for flow in flows], np.str_) for i in (0, 1))
    return evaluate(
        bundle,
        lambda part: RoutedCascade(part, lambda node: ToldEngine(node, depths[node.id])),
        raw,
        protocol,
        application,
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
    assert (figures["flows"], figures["coverage"]) == (10, pytest.approx(9 / 10))
    protocol = figures["protocol"]
    assert protocol["flows"] == 9
    assert protocol["accuracy"] == pytest.approx(6 / 9)
    assert protocol["labels"] == ["Non-VPN", "Tor", "VPN"]
    assert protocol["confusion"] == [[2, 0, 1, 0], [0, 1, 0, 0], [1, 0, 3, 1]]
    assert protocol["recall_by_label"] == pytest.approx([2 / 3, 1, 3 / 5])


def test_stage_2_is_given_the_true_protocol(tiny_bundle: Bundle) -> None:
    figures = evaluated(tiny_bundle, *FLOWS)
    assert list(figures["stage2"]) == ["Non-VPN", "VPN"]
    # Rows 1, 2, 3 and the one without protocol label, which VPN's own network calls Chat.
    vpn = figures["stage2"]["VPN"]
    assert (vpn["flows"], vpn["accuracy"]) == (4, pytest.approx(3 / 4))
    assert vpn["confusion"] == [[1, 1, 0], [0, 2, 0]]
    non_vpn = figures["stage2"]["Non-VPN"]
    assert (non_vpn["flows"], non_vpn["accuracy"]) == (2, 1.0)
    assert figures["mean_stage2_accuracy"] == pytest.approx((3 / 4 + 1) / 2)


def test_end_to_end_wants_both_labels_right(tiny_bundle: Bundle) -> None:
    figures = evaluated(tiny_bundle, *FLOWS)
    assert figures["end_to_end"] == {
        "flows": 6,
        "accuracy": pytest.approx(2 / 6),
        "protocol_accuracy": pytest.approx(3 / 6),
        "strict_accuracy": pytest.approx(2 / 10),
    }


def test_all_right_is_1_everywhere(tiny_bundle: Bundle) -> None:
    figures = evaluated(tiny_bundle, ("VPN", "Streaming", VPN, 1), ("Non-VPN", "FTP", NON_VPN, 2))
    assert figures["coverage"] == figures["mean_stage2_accuracy"] == 1
    assert figures["end_to_end"] == {"flows": 2, "accuracy": 1, "protocol_accuracy": 1, "strict_accuracy": 1}
    for part in (figures["protocol"], *figures["stage2"].values()):
        assert part["accuracy"] == part["precision"] == part["recall"] == part["f1"] == 1
        assert part["calibration_error"] == pytest.approx(0, abs=1e-6)


def test_what_was_not_counted_is_none(tiny_bundle: Bundle) -> None:
    figures = evaluated(tiny_bundle, ("Proxy", "Chat", VPN, 0))
    assert figures["coverage"] == 0
    assert figures["protocol"]["accuracy"] is None
    assert figures["protocol"]["recall_by_label"] == [None] * 3
    assert figures["stage2"] == {}
    assert figures["mean_stage2_accuracy"] is None
    assert figures["end_to_end"] == {"flows": 0, "accuracy": None, "protocol_accuracy": None, "strict_accuracy": 0}


def test_no_flows_are_counted_as_none(tiny_bundle: Bundle) -> None:
    nothing = np.zeros(0, np.str_)
    figures = evaluate(
        tiny_bundle,
        lambda part: RoutedCascade(part, lambda node: ToldEngine(node, 0)),
        np.zeros((0, 6), np.float32),
        nothing,
        nothing,
    )
    assert (figures["flows"], figures["coverage"], figures["protocol"]["accuracy"]) == (0, None, None)
    assert figures["end_to_end"] == {"flows": 0, "accuracy": None, "protocol_accuracy": None, "strict_accuracy": None}


def test_codes_are_found_whatever_the_spelling() -> None:
    text = np.array(["VPN", "non vpn", "NON-VPN", "proxy", "", "vpn"])
    assert codes_of(("Non-VPN", "VPN"), text).tolist() == [1, 0, 0, -1, -1, 1]
    assert codes_of(("Non-VPN", "VPN"), np.zeros(0, np.str_)).tolist() == []
