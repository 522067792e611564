"""Reports show every figure of an evaluation, and no label breaks them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from etcc_edge.bundle import Bundle
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.engines.cascade import RoutedCascade
from etcc_edge.evaluation.pages import html, markdown
from etcc_edge.evaluation.plots import coverage_plots, recall_plots, reliability_plots
from etcc_edge.evaluation.report import write_report
from etcc_edge.evaluation.result import FileEvaluation, to_json
from etcc_edge.evaluation.scores import evaluate
from etcc_edge.evaluation.tables import (
    application_tables,
    attribution_table,
    confusion_tables,
    coverage_table,
    label_tables,
    mean_table,
    remarks,
    score_table,
    titles,
)

HOSTILE = "<script>alert('a|b')</script> & \"c\""
PAIRS = (("VPN", "Chat"), ("VPN", "Streaming"), ("Non-VPN", "Email"), ("Non-VPN", "Chat"), ("Tor", "Chat"), ("X", "Y"))


def evaluation(bundle: Bundle, flows: int = 300) -> FileEvaluation:
    """Random flows by a bundle with random weights, as `evaluate_file` gives it."""
    rng = np.random.default_rng(5)
    raw = rng.uniform(0, 1000, (flows, 6)).astype(np.float32)
    pairs = [PAIRS[i] for i in rng.integers(0, len(PAIRS), flows)]
    protocol, application = (np.array(column, np.str_) for column in zip(*pairs, strict=True))
    opener = BACKENDS["onnxruntime"].opener(bundle, "fp32")
    return FileEvaluation(
        made="2026-01-02T03:04:05+00:00",
        command="etcc-edge evaluate some/flows.csv --report 'a|b.md'",
        file="some/flows.csv",
        file_sha256="0123" * 16,
        rows="test",
        bundle=bundle.name,
        bundle_digest=bundle.digest(),
        location=f"models/{bundle.name}",
        network="cnn",
        backend="onnxruntime",
        precision="fp32",
        flows_ignored=3,
        flows_trained_on=0,
        flows_twins=0,
        scores=evaluate(bundle, lambda part: RoutedCascade(part, opener), raw, protocol, application),
    )


@pytest.fixture(scope="module")
def one(tiny_bundle: Bundle) -> FileEvaluation:
    return evaluation(tiny_bundle)


@pytest.fixture(scope="module")
def hostile(tiny_bundle: Bundle) -> FileEvaluation:
    root = tiny_bundle.root
    vpn = replace(root.children["VPN"], labels=(HOSTILE, "Streaming"))
    root = replace(root, labels=("Non-VPN", HOSTILE, "VPN"), children={"Non-VPN": root.children["Non-VPN"], "VPN": vpn})
    return evaluation(replace(tiny_bundle, name=HOSTILE, root=root))


def with_scores(evaluation: FileEvaluation, **changes: Any) -> FileEvaluation:
    return replace(evaluation, scores=replace(evaluation.scores, **changes))


def other(one: FileEvaluation) -> FileEvaluation:
    """A second bundle: an LSTM without the network for VPN."""
    stage2 = {name: score for name, score in one.scores.stage2.items() if name != "VPN"}
    second = with_scores(one, protocol=replace(one.scores.protocol, accuracy=0.125), stage2=stage2)
    return replace(second, bundle="second", network="lstm", location="models/second")


def cells(table: Any, name: str) -> list[str]:
    return next(row for row in table.rows if row[0] == name)


def test_the_score_table_has_the_papers_columns_with_intervals(one: FileEvaluation) -> None:
    table = score_table([one])
    assert table.head == ["", "flows", "accuracy", "precision", "recall", "F1"]
    vpn = one.scores.stage2["VPN"]
    low, high = vpn.accuracy_interval
    accuracy = f"{100 * vpn.accuracy:.2f} ({100 * low:.2f}–{100 * high:.2f})"
    scores = [f"{100 * score:.2f}" for score in (vpn.precision, vpn.recall, vpn.f1)]
    assert cells(table, "VPN applications") == ["VPN applications", str(vpn.flows), accuracy, *scores]
    strict = one.scores.end_to_end.strict_accuracy
    assert cells(table, "end to end, all flows")[1:3][0] == "300"
    assert cells(table, "end to end, all flows")[2].startswith(f"{100 * strict:.2f} (")


def test_bundles_stand_side_by_side(one: FileEvaluation) -> None:
    pair = [one, other(one)]
    table = score_table(pair)
    assert table.head[1] == "tiny (cnn) flows"
    assert table.head[6:8] == ["second (lstm) flows", "second (lstm) accuracy"]
    assert {len(row) for row in table.rows} == {11}
    assert cells(table, "protocol")[7].startswith("12.50 (")
    assert cells(table, "VPN applications")[6:] == ["–"] * 5
    assert cells(table, "Non-VPN applications")[1:6] == cells(table, "Non-VPN applications")[6:]
    assert len(confusion_tables(pair)) == 5


def test_bundles_of_one_name_are_told_apart_by_their_place(one: FileEvaluation) -> None:
    again = replace(one, location="models/again")
    assert titles([one]) == [""]
    assert titles([one, again]) == ["models/tiny", "models/again"]
    assert titles([one, replace(again, network=None)]) == ["tiny (cnn)", "tiny"]


def test_applications_are_tabled_as_in_the_paper(one: FileEvaluation) -> None:
    (table,) = application_tables([one])
    assert table.columns[1:] == [
        ("precision", "Non-VPN"),
        ("precision", "VPN"),
        ("recall", "Non-VPN"),
        ("recall", "VPN"),
    ]
    vpn = one.scores.stage2["VPN"]
    at = vpn.labels.index("Streaming")
    shown = ["–", f"{100 * vpn.precision_by_label[at]:.2f}", "–", f"{100 * vpn.recall_by_label[at]:.2f}"]
    assert cells(table, "Streaming")[1:] == shown
    means = mean_table([one])
    assert cells(means, "Streaming")[1:3] == [shown[1], shown[3]]
    known = [figures.recall for figures in one.scores.mean_by_application.values() if figures.recall is not None]
    assert cells(means, "mean")[2] == f"{100 * np.mean(known):.2f}"


def test_confusion_is_by_true_label(one: FileEvaluation) -> None:
    protocol, non_vpn, _ = confusion_tables([one])
    counts = np.array(one.scores.protocol.confusion)
    shares = 100 * counts / counts.sum(axis=1, keepdims=True)
    for row, share, count in zip(protocol.rows, shares, counts, strict=True):
        assert row[1:4] == [f"{value:.1f}" if value else "0" for value in share[:3]]
        assert row[-1] == str(count.sum())
    assert protocol.shade is not None
    assert protocol.shade[0][1:4] == pytest.approx(shares[0, :3] / 100)
    # FTP does not occur: its row has no share and divides by nothing.
    assert cells(non_vpn, "FTP")[1:] == ["0", "0", "0", "0"]
    assert confusion_tables([one], numbered=True)[0].rows[1][0] == "2 Tor"
    assert "none" not in protocol.head
    (first, *others) = one.scores.protocol.confusion
    lost = with_scores(one, protocol=replace(one.scores.protocol, confusion=[[*first[:3], 4], *others]))
    assert confusion_tables([lost])[0].columns[4] == ("given", "none")


def test_other_tables_hold_their_figures(one: FileEvaluation) -> None:
    parts = one.scores.end_to_end.attribution
    assert [row[1] for row in attribution_table([one]).rows] == [f"{100 * value:.2f}" for value in vars(parts).values()]
    assert cells(label_tables([one])[0], "Tor")[1] == str(one.scores.protocol.support_by_label[1])
    curve = coverage_table([one])
    assert [row[0] for row in curve.rows] == [*(str(5 * i) for i in range(20)), "mean"]
    end = one.scores.end_to_end.confidence
    least = end.risk_coverage.confidence[4]
    assert cells(curve, "20")[-1] == f"{100 * end.accuracy_at_80_coverage:.2f} ({least:.4f})"
    assert all(re.fullmatch(r"\d+\.\d\d \(\d\.\d{4}\)", cell) for row in curve.rows[:-1] for cell in row[1:])
    assert cells(curve, "mean")[1] == f"{100 * one.scores.protocol.confidence.risk_coverage.area:.2f}"


def test_remarks_say_it_in_three_lines(one: FileEvaluation) -> None:
    errors, coverage, calibration = remarks(one)
    assert f"{100 * one.scores.end_to_end.attribution.stage1_wrong:.2f} % stage 1 wrong" in errors
    assert f"{100 * one.scores.end_to_end.confidence.accuracy_at_80_coverage:.2f} % both right" in coverage
    assert f"protocol {100 * one.scores.protocol.confidence.calibration_error:.2f} %" in calibration


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.values: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.values += [value or "" for _, value in attrs]


@pytest.mark.parametrize("bundles", [1, 2])
def test_a_page_needs_nothing_else_and_runs_nothing(hostile: FileEvaluation, bundles: int) -> None:
    page = html([hostile, other(hostile)][:bundles])
    elements = _Elements()
    elements.feed(page)
    assert not {"script", "link", "img", "iframe", "object", "image", "use"} & set(elements.names)
    assert not re.search(r"(?i)\b(src|href|url|on\w+)\s*[=(]", re.sub(r"<[^>]*aria-label[^>]*>", "", page))
    assert "&lt;script&gt;alert(&#x27;a|b&#x27;)&lt;/script&gt; &amp; &quot;c&quot;" in page
    assert elements.names.count("svg") == 3 + 4 + 4
    assert len(re.findall(r"<tr>", page)) == len(re.findall(r"</tr>", page)) > 50


def test_plots_are_well_formed_and_hold_the_figures(hostile: FileEvaluation, one: FileEvaluation) -> None:
    for figures in ([hostile], [one, other(one)]):
        for plot in (*recall_plots(figures), *reliability_plots(figures), *coverage_plots(figures)):
            root = ElementTree.fromstring(plot)
            assert "script" not in {element.tag for element in root.iter()}
    used = sum(n > 0 for n in one.scores.protocol.confidence.reliability.flows)
    assert reliability_plots([one])[0].count("<circle") == used
    assert recall_plots([one])[1].count("<rect") == 2  # FTP has none
    for recall in one.scores.protocol.recall_by_label:
        assert f">{100 * recall:.1f}</text>" in recall_plots([one])[0]


def test_markdown_tables_keep_their_columns_whatever_the_labels(hostile: FileEvaluation) -> None:
    page = markdown([hostile])
    assert "<script" not in page.replace("\\<", "")
    for block in page.split("\n\n"):
        if block.startswith("|"):
            widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(widths) == 1, block
    for title in ("By stage", "Where errors come from", "Applications by protocol", "Calibration error"):
        assert f"**{title}" in page


def test_pages_say_what_they_were_made_of(one: FileEvaluation, tiny_bundle: Bundle) -> None:
    for page in (html([one, other(one)]), markdown([one, other(one)])):
        assert "Made 2026-01-02T03:04:05+00:00 by etcc-edge evaluate some/flows.csv" in page
        assert "0123" * 16 in page
        assert page.count(tiny_bundle.digest()) == 2


def test_pages_warn_of_flows_that_were_trained_on(one: FileEvaluation) -> None:
    assert "Warning" not in html([one]) + markdown([one])
    seen = replace(one, flows_trained_on=17, rows="all")
    for page in (html([seen]), markdown([seen])):
        assert "tiny was trained on 17 of these flows" in page
    twins = replace(one, flows_trained_on=None, flows_twins=5)
    assert "5 of these flows have the features of flows that bundle tiny was trained on" in html([twins])
    assert "does not say in a form of this version" in html([replace(one, flows_trained_on=None, flows_twins=None)])


@pytest.mark.parametrize("name", ["report.html", "report.md", "report.json"])
def test_what_was_not_counted_breaks_no_report(tiny_bundle: Bundle, tmp_path: Path, name: str) -> None:
    nothing = evaluation(tiny_bundle, flows=1)
    write_report(tmp_path / name, [nothing, nothing])
    assert (tmp_path / name).stat().st_size > 1000


def test_json_is_an_object_for_one_bundle_and_a_list_for_several(one: FileEvaluation, tmp_path: Path) -> None:
    write_report(tmp_path / "one.json", [one])
    assert json.loads((tmp_path / "one.json").read_text()) == to_json(one)
    write_report(tmp_path / "two.json", [one, other(one)])
    assert json.loads((tmp_path / "two.json").read_text()) == [to_json(one), to_json(other(one))]
