"""The truth of flows in a bundle's codes, and which flows count end to end."""

from __future__ import annotations

import numpy as np

from etcc_edge.bundle import Bundle
from etcc_edge.bundle.seen import Truth

# The tiny bundle: Non-VPN with Chat, Email and FTP; Tor without applications; VPN with Chat and Streaming.
FLOWS = (
    ("VPN", "Streaming"),
    ("non vpn", "E-MAIL"),
    ("VPN", "Email"),  # an application that only the other network knows
    ("Tor", "Chat"),  # a protocol without applications
    ("Proxy", "Chat"),  # a protocol that the bundle does not know
    ("Non-VPN", "Gaming"),  # an application that no network knows
)


def truth(bundle: Bundle) -> Truth:
    return Truth.of(bundle, *(np.array(column, np.str_) for column in zip(*FLOWS, strict=True)))


def test_true_labels_become_codes_whatever_their_spelling(tiny_bundle: Bundle) -> None:
    codes = truth(tiny_bundle)
    assert codes.protocol.tolist() == [2, 0, 2, 1, -1, 0]
    applications = tiny_bundle.vocabulary()[1]
    assert [applications[code] if code >= 0 else "" for code in codes.application] == [
        *("Streaming", "Email", "Email", "Chat", "Chat"),
        "",
    ]


def test_a_networks_own_flows_are_those_of_its_protocol_whose_application_it_knows(tiny_bundle: Bundle) -> None:
    own = truth(tiny_bundle).own
    assert {label: codes.tolist() for label, codes in own.items()} == {
        "Non-VPN": [-1, 1, -1, -1, -1, -1],
        "VPN": [1, -1, -1, -1, -1, -1],
    }


def test_a_flow_counts_end_to_end_where_the_network_of_its_protocol_knows_its_application(tiny_bundle: Bundle) -> None:
    assert truth(tiny_bundle).counted.tolist() == [True, True, False, False, False, False]


def test_a_flow_is_right_where_both_its_labels_are(tiny_bundle: Bundle) -> None:
    codes = truth(tiny_bundle)
    given = np.stack([codes.protocol, codes.application])
    assert codes.right(given).all()
    given[0, 0] = given[1, 1] = -1
    assert codes.right(given)[:3].tolist() == [False, False, True]


def test_no_flows_have_no_truth(tiny_bundle: Bundle) -> None:
    nothing = np.zeros(0, np.str_)
    assert Truth.of(tiny_bundle, nothing, nothing).counted.shape == (0,)
