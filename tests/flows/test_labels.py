"""Spellings: what counts as one label, and how it is written."""

from __future__ import annotations

import pytest

from etcc_edge.flows.labels import PAPER_APPLICATIONS, label_key, spell


@pytest.mark.parametrize("text", ["Non-VPN", "NonVPN", "non vpn", "NON_VPN", " nonvpn ", "Non--VPN", "non\tvpn"])
def test_case_hyphens_underscores_and_blanks_do_not_matter(text: str) -> None:
    assert label_key(text) == "nonvpn"


@pytest.mark.parametrize("text", ["Chat\u00a0", "\u2009chat", "ch\tat", "\ufeffChat", "chat\u200b", "ch\u2011at"])
def test_nor_do_invisible_characters_and_other_blanks_and_dashes(text: str) -> None:
    assert label_key(text) == "chat"
    assert spell([text])["chat"] == "Chat"


def test_other_characters_matter() -> None:
    assert len({label_key(text) for text in ("P2P", "PP", "P2P!", "P.2.P", "")}) == 5


def test_spellings_of_one_label_become_the_usual_one() -> None:
    # CICDarknet2020 writes both.
    assert spell(["AUDIO-STREAMING", "Audio-Streaming", "audio_streaming"]) == {"audiostreaming": "Audio-Streaming"}
    assert spell(["file-transfer", "VOIP", "VoIP", "Non-Tor", "NonVPN"]) == {
        "filetransfer": "File-Transfer",
        "voip": "VOIP",
        "nontor": "Non-Tor",
        "nonvpn": "Non-VPN",
    }


def test_an_unusual_label_keeps_its_most_frequent_spelling() -> None:
    assert spell(["web mail", "Web-Mail", "Web-Mail", "WEBMAIL"]) == {"webmail": "Web-Mail"}
    assert spell([" Gaming ", "Gaming", "gaming"]) == {"gaming": "Gaming"}


def test_blanks_and_invisible_characters_are_no_part_of_a_spelling() -> None:
    assert spell(["\ufeffProxy", "Proxy ", "PROXY", "PROXY"]) == {"proxy": "Proxy"}


def test_of_equally_frequent_spellings_the_first_is_kept() -> None:
    assert spell(["gaming", "Gaming"]) == {"gaming": "gaming"}


def test_no_labels_have_no_spelling() -> None:
    assert spell([]) == {}


def test_the_papers_applications_are_keys() -> None:
    assert {label_key(text) for text in PAPER_APPLICATIONS} == PAPER_APPLICATIONS


@pytest.mark.parametrize("text", ["NaN", "nan", "?", "None", "No Label", "NeedManualLabel", "null", "N/A", " ", "-"])
def test_what_stands_for_no_label_is_none(text: str) -> None:
    assert set(spell([text]).values()) == {""}
