"""The shipped bundles: small, whole, as good as their cards say, and the networks that PyTorch trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from taught import parts_of, taught_flows

from etcc_edge.bundle import Bundle, load_bundle, shipped_bundles
from etcc_edge.bundle.seen import seen_in_training
from etcc_edge.engines.backends import BACKENDS
from etcc_edge.engines.cascade import RoutedCascade, open_cascade
from etcc_edge.engines.choice import Choice
from etcc_edge.errors import FlowsError
from etcc_edge.evaluation.result import from_json
from etcc_edge.evaluation.scores import evaluate
from etcc_edge.export.parity import TOLERANCE
from etcc_edge.flows.identity import fingerprint
from etcc_edge.flows.text.reader import FlowFile
from etcc_edge.infer.classifier import Classifier
from etcc_edge.infer.file import label_file
from etcc_edge.training.card import model_card
from etcc_edge.training.networks import TorchNetwork

NAMES = ("default", "no-ports", "iscx-tor-vpn-15s", "wire")
FLOWS = {
    "default": "cicdarknet2020-part/flows.csv",
    "no-ports": "cicdarknet2020-part/flows.csv",
    "iscx-tor-vpn-15s": "iscx-tor-vpn-15s/flows.csv",
    "wire": "vnat-part/flows.csv",
}
GENERATED = Path(__file__).parent / "data" / "generated-flows.csv"


@pytest.fixture(scope="module", params=NAMES)
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return load_bundle(request.param)


def torch_network(bundle: Bundle, node_id: str) -> TorchNetwork:
    """The trained network from the weights that the bundle stores."""
    node = next(node for node in bundle.nodes() if node.id == node_id)
    network = TorchNetwork(node.network, node.scaler.inputs)
    stored = bundle.weights_of(node)
    network.parts.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in stored.items()})
    return network.eval()


def _skip_without(backend: str) -> None:
    if reason := BACKENDS[backend].why_not():
        pytest.skip(f"{backend}: {reason}")


def test_there_are_four_and_auto_tries_them_in_this_order() -> None:
    assert tuple(shipped_bundles()) == NAMES


def test_all_together_they_are_at_most_25_megabytes() -> None:
    files = [file for path in shipped_bundles().values() for file in path.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 25e6


def test_a_card_says_how_it_was_made_and_whom_to_cite(bundle: Bundle) -> None:
    assert bundle.training["command"] in bundle.model_card
    assert all(citation in bundle.model_card for citation in bundle.citations)


def test_a_card_is_what_the_bundle_records(bundle: Bundle) -> None:
    assert bundle.model_card == model_card(bundle)


def test_no_port_is_needed_where_none_should_be() -> None:
    assert {"src_port", "dst_port"} <= set(load_bundle("default").features)
    assert not {"src_port", "dst_port"} & set(load_bundle("no-ports").features)


def test_ports_change_no_label_of_wire_but_the_names_of_services() -> None:
    bundle = load_bundle("wire")
    with FlowFile(GENERATED) as file:
        raw = np.concatenate([batch.features for batch in file.batches(bundle.features)])
    others = raw.copy()
    others[:, [bundle.features.index(name) for name in ("src_port", "dst_port")]] = 40_000
    classifier = Classifier(bundle, min_confidence=0)
    given, without = (classifier.predict(features) for features in (raw, others))
    services = np.isin(given.labels("application"), [service.name for service in bundle.services])
    assert 0 < services.sum() < len(raw)
    np.testing.assert_array_equal(given.codes[0], without.codes[0])
    np.testing.assert_array_equal(given.codes[1, ~services], without.codes[1, ~services])


@pytest.mark.parametrize("name", ["default", "no-ports"])
def test_generated_flows_get_both_labels(name: str) -> None:
    (batch, result), *_ = Classifier(name).classify(GENERATED)
    assert len(batch) == 200
    assert (result.labels("protocol") != "").all()
    confidence = result.confidence[result.codes >= 0]
    assert ((confidence > 0) & (confidence <= 1)).all()


OF_REAL_FLOWS = [name for name in NAMES if name != "wire"]  # which learnt from a corpus that is not kept


@pytest.mark.parametrize("bundle", OF_REAL_FLOWS, indirect=True)
def test_test_rows_score_what_the_card_says(bundle: Bundle, real_flows: Path) -> None:
    flows = taught_flows(bundle, real_flows)
    record = from_json(bundle.metrics["test"])
    test = parts_of(bundle, flows).test
    assert fingerprint(flows.hashes()[test]) == bundle.training["split"]["test_fingerprint"]
    opener = BACKENDS["onnxruntime"].opener(bundle, "fp32")
    figures = evaluate(
        bundle,
        lambda part: RoutedCascade(part, opener),
        flows.features[test],
        flows.protocol[test],
        flows.application[test],
        session=flows.session[test],
        service=flows.service[test],
    )
    assert figures.end_to_end.flows == record.end_to_end.flows
    for got, wanted in (
        (figures.protocol, record.protocol),
        (figures.end_to_end, record.end_to_end),
        *((figures.stage2[name], record.stage2[name]) for name in record.stage2),
    ):
        assert got.accuracy == pytest.approx(wanted.accuracy, abs=1e-3)  # another CPU may round a tie otherwise


@pytest.mark.parametrize("bundle", OF_REAL_FLOWS, indirect=True)
def test_no_flow_tests_that_was_trained_on_but_for_repeated_rows(bundle: Bundle, real_flows: Path) -> None:
    flows = taught_flows(bundle, real_flows)
    parts = parts_of(bundle, flows)
    hashes, count = np.unique(flows.hashes(), return_counts=True)
    again = np.isin(flows.hashes(), hashes[count > 1])
    held_back = seen_in_training(bundle, flows.identity, flows.features).held_back
    assert not held_back[parts.train].any()
    tested = parts.test[~again[parts.test]]
    assert len(tested) > 1000
    assert held_back[tested].all()


@pytest.fixture(scope="module")
def real(bundle: Bundle, real_flows: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """All real flows of the bundle's kind, and by node PyTorch's logits in float64."""
    with FlowFile(real_flows / FLOWS[bundle.name]) as file:
        raw = np.concatenate([batch.features for batch in file.batches(bundle.features)])
    exact = {}
    for node in bundle.nodes():
        network = torch_network(bundle, node.id)
        blocks = np.array_split(node.scaler.transform(raw), max(1, len(raw) // 4096))
        exact[node.id] = np.concatenate([network.exact(block.astype(np.float64)) for block in blocks])
    return raw, exact


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_gives_pytorchs_logits_on_all_real_flows(
    bundle: Bundle, backend: str, real: tuple[np.ndarray, dict[str, np.ndarray]]
) -> None:
    _skip_without(backend)
    raw, exact = real
    opener = BACKENDS[backend].opener(bundle, "fp32")
    for node in bundle.nodes():
        engine, scaled = opener(node), node.scaler.transform(raw)
        given = np.concatenate([engine.run(scaled[at : at + 4096]) for at in range(0, len(raw), 4096)])
        largest = np.abs(exact[node.id]).max(axis=1, keepdims=True)
        assert (np.abs(given - exact[node.id]) <= TOLERANCE * np.maximum(1, largest)).all()


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_labels_are_pytorchs_on_all_real_flows(
    bundle: Bundle, backend: str, real: tuple[np.ndarray, dict[str, np.ndarray]]
) -> None:
    _skip_without(backend)
    raw, exact = real
    protocols, applications = bundle.vocabulary()
    wanted = np.full((2, len(raw)), -1)
    wanted[0] = exact[bundle.root.id].argmax(axis=1)
    gap = _gap(exact[bundle.root.id])
    for label, child in bundle.root.children.items():
        reached = wanted[0] == protocols.index(label)
        places = np.array([applications.index(name) for name in child.labels])
        wanted[1, reached] = places[exact[child.id][reached].argmax(axis=1)]
        gap[reached] = np.minimum(gap[reached], _gap(exact[child.id][reached]))
    given = open_cascade(bundle, Choice(backend, "fp32", "")).run(raw).codes
    sure = gap > 1e-3
    assert sure.mean() > 0.99
    assert (given == wanted)[:, sure].all()


def _gap(logits: np.ndarray) -> np.ndarray:
    """Between the two highest."""
    second, first = np.sort(logits, axis=1)[:, -2:].T
    return first - second


@pytest.mark.parametrize(
    ("file", "chosen"),
    [
        ("cicdarknet2020-excerpt.csv", "default"),
        ("cicflowmeter-v4-short-names.csv", "default"),
        ("cicflowmeter-python-0.5-snake-case.csv", "default"),
        ("iscxtor2016-10s-28-columns.csv", "iscx-tor-vpn-15s"),
        ("iscxvpn2016-15s.arff", "iscx-tor-vpn-15s"),
    ],
)
def test_auto_finds_the_bundle_of_a_dialect(file: str, chosen: str, real_flows: Path, tmp_path: Path) -> None:
    summary = label_file(real_flows / "dialects" / file, tmp_path / "out.csv")
    assert summary.bundle == chosen
    assert summary.flows == len((tmp_path / "out.csv").read_bytes().splitlines()) - 1 > 0
    assert summary.rows["short"] == summary.rows["long"] == summary.rows["not_a_number"] == 0


def test_a_dialect_without_what_is_needed_says_so_in_one_line(real_flows: Path, tmp_path: Path) -> None:
    with pytest.raises(
        FlowsError, match=r"no shipped bundle fits this cicids2017 file: default needs src_port.*"
    ) as failed:
        label_file(real_flows / "dialects" / "cicids2017-leading-spaces.csv", tmp_path / "out.csv")
    assert "no-ports needs ip_protocol" in str(failed.value)
    assert "\n" not in str(failed.value)
    assert list(tmp_path.iterdir()) == []


def test_every_real_flow_comes_out_in_order_and_unchanged(real_flows: Path, tmp_path: Path) -> None:
    label_file(real_flows / FLOWS["default"], tmp_path / "out.csv")
    rows = (real_flows / FLOWS["default"]).read_bytes().splitlines()
    labelled = (tmp_path / "out.csv").read_bytes().splitlines()
    assert len(labelled) == len(rows) == 39_530
    assert all(after.startswith(before + b",") for before, after in zip(rows, labelled, strict=True))
    assert all(after[len(before) :].count(b",") == 4 for before, after in zip(rows, labelled, strict=True))
