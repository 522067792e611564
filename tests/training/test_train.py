"""Training makes a whole bundle from generated flows. How accurate it is means nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captures import exchange, pcap
from click.testing import CliRunner

from etcc_edge.bundle import Bundle, load_bundle, save_bundle
from etcc_edge.bundle.seen import seen_in_training
from etcc_edge.cli import main
from etcc_edge.errors import EtccError
from etcc_edge.export import lint
from etcc_edge.flows.generated import sample_rows
from etcc_edge.flows.services import services
from etcc_edge.flows.truth import LabelledFlows, read_labelled
from etcc_edge.infer.classifier import Classifier
from etcc_edge.training import recipes
from etcc_edge.training.card import training_notes
from etcc_edge.training.fit import fit
from etcc_edge.training.plan import Plan, parts_of
from etcc_edge.training.train import train
from etcc_edge.training.unknown import conformal_threshold

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flows") / "generated.csv"
    path.write_text("".join(sample_rows(3000, seed=4)))
    return path


@pytest.fixture(scope="module")
def flows(generated: Path) -> LabelledFlows:
    return read_labelled(generated)


@pytest.fixture(scope="module", autouse=True)
def _quick() -> object:
    """Two epochs instead of all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "RECIPES", recipes.RECIPES)
        for name, recipe in list(recipes.RECIPES.items()):
            teacher = recipe.teacher and replace(recipe.teacher, rounds=3, flows=3000)
            quick = replace(recipe, epochs=2, segments={"src_port": 4}, teacher=teacher)
            patch.setitem(recipes.RECIPES, name, quick)  # type: ignore[index]
        yield


@pytest.fixture(scope="module")
def bundle(flows: LabelledFlows) -> Bundle:
    return train(flows, Plan("made", command="etcc-edge train generated.csv -o made"))


def test_the_bundle_labels_the_flows_that_it_comes_from(bundle: Bundle, generated: Path) -> None:
    batches = list(Classifier(bundle).classify(generated))
    protocols = {label for _, result in batches for label in result.labels("protocol").tolist()}
    assert sum(len(batch) for batch, _ in batches) == 3000
    assert protocols <= {"Tor", "VPN", "Non-VPN"}


def test_constant_features_are_left_out_and_recorded(bundle: Bundle) -> None:
    assert "active_mean" in bundle.training["constant_features"]
    assert not set(bundle.training["constant_features"]) & set(bundle.features)


def test_a_protocol_with_one_application_gets_no_network_and_the_card_says_so(bundle: Bundle) -> None:
    assert set(bundle.root.children) == {"VPN", "Non-VPN"}
    assert "Tor has" in bundle.model_card
    assert "no application network for it" in bundle.model_card


def test_train_rows_are_recorded_and_test_rows_are_not(bundle: Bundle, flows: LabelledFlows) -> None:
    features = flows.features[:, [flows.feature_names.index(name) for name in bundle.features]]
    held_out = seen_in_training(bundle, flows.identity, features).held_back
    assert held_out.sum() == bundle.training["split"]["test"] == bundle.metrics["test"]["flows"] == 600


def spoilt(flows: LabelledFlows, rows: np.ndarray) -> LabelledFlows:
    """With other features and other pairs of labels in some rows, as many of each pair as before."""
    rng = np.random.default_rng(8)
    features, protocol, application = flows.features.copy(), flows.protocol.copy(), flows.application.copy()
    features[rows] = rng.lognormal(10, 5, features[rows].shape)
    swapped = rng.permutation(rows)
    protocol[rows], application[rows] = flows.protocol[swapped], flows.application[swapped]
    return replace(flows, features=features, protocol=protocol, application=application)


def test_test_rows_decide_their_figures_and_nothing_else(
    bundle: Bundle, flows: LabelledFlows, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = parts_of(flows, Plan("made"))
    monkeypatch.setattr("etcc_edge.training.plan.split", lambda *_: parts)
    from_spoilt = train(spoilt(flows, parts.test), Plan("made", leave_one_out=True))
    plain = train(flows, Plan("made", leave_one_out=True))
    assert from_spoilt.features == bundle.features
    for node, same in zip(from_spoilt.nodes(), bundle.nodes(), strict=True):
        assert (node.id, node.labels, node.temperature) == (same.id, same.labels, same.temperature)
        assert from_spoilt.onnx[node.id, "fp32"] == bundle.onnx[node.id, "fp32"]
        np.testing.assert_array_equal(node.scaler.x, same.scaler.x)
    assert from_spoilt.root.thresholds["fp32"] == bundle.root.thresholds["fp32"]
    assert from_spoilt.metrics["test"]["protocol"]["accuracy"] != bundle.metrics["test"]["protocol"]["accuracy"]
    for protocol, figures in from_spoilt.metrics["test"]["leave_one_out"].items():
        assert figures["false_rejection"] != plain.metrics["test"]["leave_one_out"][protocol]["false_rejection"]


def test_validation_rows_fit_thresholds_and_no_weights(
    bundle: Bundle, flows: LabelledFlows, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = parts_of(flows, Plan("made"))
    monkeypatch.setattr("etcc_edge.training.plan.split", lambda *_: parts)
    from_spoilt = train(spoilt(flows, parts.validation), Plan("made"))
    assert from_spoilt.features == bundle.features
    for node, same in zip(from_spoilt.nodes(), bundle.nodes(), strict=True):
        np.testing.assert_array_equal(node.scaler.x, same.scaler.x)
        np.testing.assert_array_equal(node.scaler.missing, same.scaler.missing)
    for name, array in bundle.weights.items():
        np.testing.assert_array_equal(from_spoilt.weights[name], array)
    assert from_spoilt.root.thresholds["fp32"] != bundle.root.thresholds["fp32"]


def test_few_flows_make_no_class_and_no_network(flows: LabelledFlows) -> None:
    rare = np.flatnonzero(flows.protocol == "VPN")[99:]
    fewer = flows.take(np.setdiff1d(np.arange(len(flows)), rare))
    bundle = train(fewer, Plan("made"))
    assert bundle.root.labels == ("Non-VPN", "Tor")
    assert "VPN has fewer than 100 flows (99): no class for it" in bundle.training["left_out"]
    chats = np.flatnonzero((flows.protocol == "VPN") & (flows.application == "Chat"))[9:]
    bundle = train(flows.take(np.setdiff1d(np.arange(len(flows)), chats)), Plan("made"))
    assert "Chat" not in bundle.root.children["VPN"].labels


def test_protocols_whose_names_have_no_latin_letters_get_networks_of_their_own(
    flows: LabelledFlows, tmp_path: Path
) -> None:
    names = {"VPN": "代理", "Non-VPN": "直连", "Tor": "Tor"}
    foreign = replace(flows, protocol=np.array([names[name] for name in flows.protocol.tolist()]))
    bundle = train(foreign, Plan("made"))
    ids = [node.id for node in bundle.nodes()]
    assert len(ids) == len(set(ids)) == 3
    save_bundle(bundle, tmp_path / "made")
    assert set(load_bundle(tmp_path / "made").root.children) == {"代理", "直连"}


@pytest.mark.parametrize(("column", "label"), [("protocol", "VPN"), ("application", "Chat")])
def test_a_label_that_no_bundle_can_hold_is_named_before_training(
    flows: LabelledFlows, column: str, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etcc_edge.training.train.fit_stage", lambda *_: pytest.fail("was trained"))
    labels = getattr(flows, column)
    hostile = replace(flows, **{column: np.where(labels == label, f"{label}\nx", labels)})
    with pytest.raises(EtccError, match=rf"label '{label}\\nx' holds a character that cannot be printed") as caught:
        train(hostile, Plan("made", applications="all"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("texts", [{"name": "a\tb"}, {"license": "two\nlines"}, {"citations": ("a\x00",)}])
def test_a_text_that_no_bundle_can_hold_is_named_before_training(
    flows: LabelledFlows, texts: dict[str, object]
) -> None:
    with pytest.raises(EtccError, match="holds a character that cannot be printed"):
        train(flows, replace(Plan("made"), **texts))


def test_features_that_do_not_vary_teach_nothing(flows: LabelledFlows) -> None:
    with pytest.raises(EtccError, match="no feature varies among the training flows"):
        train(replace(flows, features=np.full_like(flows.features, np.nan)), Plan("made"))


def test_ports_alone_train_too(flows: LabelledFlows) -> None:
    at = [flows.feature_names.index(name) for name in ("src_port", "dst_port")]
    ports = replace(flows, features=flows.features[:, at].copy(), feature_names=("src_port", "dst_port"))
    assert train(ports, Plan("made")).training["repeated_share"] == 1


def test_the_scaler_sees_training_rows_only(flows: LabelledFlows) -> None:
    parts = parts_of(flows, Plan("made"))
    spoilt = flows.features.copy()
    duration = flows.feature_names.index("flow_duration")
    spoilt[parts.test, duration] = 9e9
    bundle = train(replace(flows, features=spoilt), Plan("made"))
    assert bundle.root.scaler.x.max() < 9e9


def test_a_protocol_from_one_session_gets_no_class(flows: LabelledFlows) -> None:
    session = np.where(flows.protocol == "Tor", "only", np.arange(len(flows)) % 7)
    bundle = train(replace(flows, session=session), Plan("made"))
    assert bundle.root.labels == ("Non-VPN", "VPN")
    assert any("come from one session" in line for line in bundle.training["left_out"])


def test_the_threshold_is_that_of_the_validation_flows(bundle: Bundle, flows: LabelledFlows) -> None:
    validation = parts_of(flows, Plan("made")).validation
    columns = [flows.feature_names.index(name) for name in bundle.features]
    energy = Classifier(bundle).predict(flows.features[validation][:, columns]).energy[0]
    assert bundle.root.thresholds["fp32"] == pytest.approx(conformal_threshold(energy), abs=1e-4)
    assert bundle.metrics["test"]["known"]["threshold"] == bundle.root.thresholds["fp32"]


def test_every_precision_comes_with_its_threshold_and_its_drift(bundle: Bundle) -> None:
    precisions = {precision for _, precision in bundle.onnx}
    assert {"fp32", "fp16"} <= precisions
    assert set(bundle.root.thresholds) == precisions & {"fp32", "fp16", "int8"}
    assert bundle.root.thresholds["fp16"] == pytest.approx(bundle.root.thresholds["fp32"], abs=0.02)
    assert set(bundle.metrics["drift"]) == precisions - {"fp32"}
    assert bundle.metrics["drift"]["fp16"]["end_to_end"]["agreement"] > 0.98
    assert all(notes["calibration_fingerprint"] for notes in bundle.training["quantization"].values())


def test_a_form_that_its_target_would_refuse_is_an_error_that_names_node_and_rule(
    flows: LabelledFlows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lint, "OPERATORS", lint.OPERATORS - {"HardSigmoid"})
    refusal = (
        r"exported stage1 \(fp32\) would be refused by tensorrt-8: tent_0: HardSigmoid is outside .* \(operators\)"
    )
    with pytest.raises(EtccError, match=refusal):
        train(flows, Plan("made"))


def test_trees_may_teach_and_each_protocol_may_be_left_out(flows: LabelledFlows) -> None:
    bundle = train(flows, Plan("made", recipe="distilled", validation="flow-id", leave_one_out=True))
    left_out = bundle.metrics["test"]["leave_one_out"]
    assert set(left_out) == set(bundle.root.labels)
    for protocol, figures in left_out.items():
        assert figures["known"] + figures["unknown"] == bundle.training["split"]["test"]
        assert f"| {protocol} | {figures['unknown']} | {figures['auroc']:.3f} |" in bundle.model_card


def test_leaving_out_needs_validation_flows(flows: LabelledFlows) -> None:
    with pytest.raises(EtccError, match="recipe paper keeps no validation flows"):
        train(flows, Plan("made", recipe="paper", leave_one_out=True))
    with pytest.raises(EtccError, match="which could be split off in another way"):
        train(flows, Plan("made", recipe="paper", validation="flow-id"))


def only_in(part: str, flows: LabelledFlows, monkeypatch: pytest.MonkeyPatch) -> LabelledFlows:
    """The flows with all VPN flows on one side of the split: elsewhere they are called Non-VPN."""
    parts = parts_of(flows, Plan("made"))
    monkeypatch.setattr("etcc_edge.training.plan.split", lambda *_: parts)
    protocol = np.where(flows.protocol == "VPN", "Non-VPN", flows.protocol)
    protocol[getattr(parts, part)] = flows.protocol[getattr(parts, part)]
    return replace(flows, protocol=protocol)


def test_a_protocol_without_test_flows_has_no_figure(flows: LabelledFlows, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = train(only_in("train", flows, monkeypatch), Plan("made", leave_one_out=True))
    assert bundle.metrics["test"]["leave_one_out"]["VPN"]["auroc"] is None
    assert "| VPN | 0 | none |" in bundle.model_card


def test_a_protocol_without_training_flows_has_no_class(flows: LabelledFlows, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = train(only_in("test", flows, monkeypatch), Plan("made"))
    assert bundle.root.labels == ("Non-VPN", "Tor")
    assert "VPN has no flow among the training rows: no class for it" in bundle.training["left_out"]


def test_one_protocol_is_not_enough(flows: LabelledFlows) -> None:
    with pytest.raises(EtccError, match=r"can be taught \(one label\); take 100 flows or more of each of two"):
        train(replace(flows, protocol=np.full(len(flows), "VPN")), Plan("made"))


def test_all_applications_are_taught_unless_the_papers_are_asked_for(flows: LabelledFlows) -> None:
    application = np.where(flows.application == "Chat", "VOIP", flows.application)
    other = replace(flows, application=application)
    paper = train(other, Plan("made", applications="paper"))
    assert (paper.services, "VOIP" in paper.root.children["VPN"].labels) == ((), False)
    assert "VOIP" in train(other, Plan("made", applications="all")).root.children["VPN"].labels


def test_services_are_named_by_rule_and_teach_no_application(bundle: Bundle, flows: LabelledFlows) -> None:
    assert bundle.services == services()
    assert {"DNS", "LLMNR"} <= set(bundle.training["services"])
    foreground = parts_of(flows, Plan("made")).train
    foreground = foreground[flows.service[foreground] == ""]
    for name, child in bundle.root.children.items():
        assert bundle.training["stages"][child.id]["flows"] == np.sum(flows.protocol[foreground] == name)
    result = Classifier(bundle).predict(flows.features[:, [flows.feature_names.index(n) for n in bundle.features]])
    dns = flows.service == "DNS"
    assert (result.labels("application")[dns] == "DNS").all()
    assert (result.labels("application")[flows.service == ""] != "DNS").all()
    assert bundle.metrics["test"]["parts"]["foreground"]["flows"] < bundle.metrics["test"]["parts"]["all"]["flows"]


def test_without_ports_services_are_one_application_that_networks_learn(flows: LabelledFlows) -> None:
    kept = [i for i, name in enumerate(flows.feature_names) if name not in ("src_port", "dst_port")]
    names = tuple(flows.feature_names[i] for i in kept)
    bundle = train(replace(flows, features=flows.features[:, kept].copy(), feature_names=names), Plan("made"))
    assert "Background" in bundle.root.children["Non-VPN"].labels
    assert "DNS" not in bundle.vocabulary()[1]
    assert {service.name for service in bundle.services} == {"ICMP", "IGMP", "ICMPv6", "ICMP/other"}


def test_confidences_are_fitted_where_sessions_validate(flows: LabelledFlows) -> None:
    sessions = replace(flows, session=np.char.mod("session %d", np.arange(len(flows)) % 60))
    bundle = train(sessions, Plan("made", split="session"))
    assert bundle.confidence is not None
    assert bundle.metrics["test"]["bootstrap"]["unit"] == "session"
    assert bundle.metrics["test"]["least_confidence"] == bundle.confidence.least
    assert "There are 60 sessions" in bundle.model_card
    assert train(sessions, Plan("made", validation="flow-id")).confidence is None


def test_a_recipe_without_a_kind_of_network_says_so(flows: LabelledFlows) -> None:
    with pytest.raises(EtccError, match="recipe default has no lstm networks, only cnn"):
        train(flows, Plan("made", network="lstm"))


def test_the_command_writes_a_bundle_and_its_figures(generated: Path, tmp_path: Path) -> None:
    target = tmp_path / "made.zip"
    done = CliRunner().invoke(main, ["train", str(generated), "-o", str(target), "--split", "flow-id", "--seed", "3"])
    assert done.exit_code == 0, done.output
    assert "end to end" in done.stdout
    bundle = load_bundle(target)
    assert (bundle.name, bundle.training["split"]["kind"], bundle.training["split"]["seed"]) == ("made", "flow-id", 3)
    again = CliRunner().invoke(main, ["train", str(generated), "-o", str(target)])
    assert again.exit_code == 2
    assert "exists already" in again.output
    (tmp_path / "folder").mkdir()
    failed = CliRunner().invoke(main, ["train", "no such file", "-o", str(tmp_path / "folder"), "--force"])
    assert failed.exit_code == 1
    assert "is a folder without bundle.json" in failed.output


def test_the_record_names_no_folder_and_holds_the_citations(
    generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cited = tmp_path / "cited.txt"
    cited.write_text("Someone: Some flows. 2020.\n\n")
    words = ["train", str(generated), f"--citations={cited}", "--license", "CC0-1.0", "-o", str(tmp_path / "b")]
    monkeypatch.setattr("sys.argv", ["etcc-edge", *words])
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    bundle = load_bundle(tmp_path / "b")
    assert (bundle.citations, bundle.license) == (("Someone: Some flows. 2020.",), "CC0-1.0")
    assert bundle.training["command"].startswith(f"etcc-edge train {generated.parent.name}/generated.csv --citations=")
    assert str(tmp_path.parent) not in bundle.training["command"]
    assert "Someone: Some flows. 2020." in bundle.model_card


def test_names_that_are_not_utf8_are_recorded_as_valid_text(generated: Path, tmp_path: Path) -> None:
    flows, target = tmp_path / os.fsdecode(b"b\xff.csv"), tmp_path / os.fsdecode(b"made\xff")
    flows.write_bytes(generated.read_bytes())
    done = CliRunner().invoke(main, ["train", str(flows), "-o", str(target)])
    assert done.exit_code == 0, done.output
    bundle = load_bundle(target)
    assert (bundle.name, bundle.training["file"]) == (r"made\xff", rf"{tmp_path.name}/b\xff.csv")


def test_features_come_from_a_file_too(generated: Path, tmp_path: Path) -> None:
    names = tmp_path / "features.txt"
    names.write_text("flow_duration\nfwd_packets\nflow_iat_mean\nbwd_packet_length_mean\n")
    done = CliRunner().invoke(main, ["train", str(generated), "-o", str(tmp_path / "b"), "--features", str(names)])
    assert done.exit_code == 0, done.output
    assert load_bundle(tmp_path / "b").features == tuple(names.read_text().split())
    names.write_text("flow_durations\n")
    failed = CliRunner().invoke(main, ["train", str(generated), "-o", str(tmp_path / "c"), "--features", str(names)])
    assert failed.exit_code == 1
    assert "'flow_durations' is no feature" in failed.output


@pytest.fixture(scope="module")
def iscx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled time flows as ISCX 2016 wrote them: two protocols, three applications, one of them not the paper's."""
    header, *rows = (DATA / "generated-flows-iscx.csv").read_text().splitlines()
    path = tmp_path_factory.mktemp("iscx") / "time.csv"
    at = [header.split(",").index(name) for name in ("protocol", "application")]
    lines = []
    for i in range(900):
        cells = rows[i % len(rows)].split(",")
        cells[at[0]], cells[at[1]] = ("VPN", "Non-VPN")[i % 2], ("Chat", "Email", "Browsing")[i % 3]
        cells[0] = str(int(cells[0]) + i)
        lines.append(",".join(cells))
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def trained(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["train", *words])
    return done.exit_code, done.output


def test_an_iscx_time_file_needs_no_further_options(iscx: Path, tmp_path: Path) -> None:
    status, output = trained(str(iscx), "-o", str(tmp_path / "b"), "--recipe", "distilled", "--force")
    assert status == 0, output
    bundle = load_bundle(tmp_path / "b")
    assert bundle.flow_definition.timeout_s == 15
    assert (bundle.training["applications"], bundle.services) == ("services", ())
    assert "Browsing" in bundle.root.children["VPN"].labels
    assert "iscx2016-time flows, so --features time --timeout 15 unless you say otherwise" in output


def test_what_is_given_wins_and_what_it_leaves_out_is_said(iscx: Path, tmp_path: Path) -> None:
    words = ["--timeout", "60", "--applications", "paper", "--features", "all", "--force"]
    status, output = trained(str(iscx), "-o", str(tmp_path / "b"), *words)
    assert status == 0, output
    bundle = load_bundle(tmp_path / "b")
    assert (bundle.flow_definition.timeout_s, bundle.training["applications"]) == (60, "paper")
    assert "Browsing" not in bundle.root.children["VPN"].labels
    assert "--applications paper leaves out Browsing (300 flows)" in output
    assert "unless you say otherwise" not in output


def test_networks_wider_than_the_features_are_refused_before_reading(
    generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etcc_edge.flows.truth.read_labelled_files", lambda *_, **__: pytest.fail("was read"))
    names = tmp_path / "features.txt"
    names.write_text("flow_duration\nfwd_packets\nflow_iat_mean\n")
    words = ["--recipe", "paper", "--features", str(names)]
    status, output = trained(str(generated), "-o", str(tmp_path / "b"), *words)
    assert status == 1
    assert "recipe paper with cnn networks needs at least 8 features that vary, and there are 3" in output


def test_features_that_do_not_vary_do_not_count_for_the_papers_networks(flows: LabelledFlows) -> None:
    features = flows.features.copy()
    features[:, 4:] = 0
    with pytest.raises(EtccError, match="needs at least 8 features that vary, and there are 4"):
        train(replace(flows, features=features), Plan("made", recipe="paper"))


def test_a_bundle_that_collapsed_is_written_with_a_warning_and_exit_3_unless_forced(
    generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit_one_label(*arguments: Any) -> Any:
        fitted = fit(*arguments)
        with torch.no_grad():
            [*fitted.network.parameters()][-1][0] += 100  # the first label's bias
        return fitted

    monkeypatch.setattr("etcc_edge.training.stage.fit", fit_one_label)
    status, output = trained(str(generated), "-o", str(tmp_path / "b"))
    assert status == 3, output
    assert "WARNING: Protocol: nearly all flows get Non-VPN, whatever they are" in output
    assert "has learnt nothing" in load_bundle(tmp_path / "b").model_card
    assert trained(str(generated), "-o", str(tmp_path / "b"), "--force")[0] == 0


def test_a_network_worse_than_its_most_frequent_label_is_warned_of(
    generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit_the_contrary(*arguments: Any) -> Any:
        fitted = fit(*arguments)
        with torch.no_grad():
            for parameter in [*fitted.network.parameters()][-2:]:
                parameter.neg_()
        return fitted

    monkeypatch.setattr("etcc_edge.training.stage.fit", fit_the_contrary)
    status, output = trained(str(generated), "-o", str(tmp_path / "b"))
    assert status == 0, output
    (line,) = [line for line in output.splitlines() if line.startswith("WARNING: Protocol: ")]
    assert "of the test flows are right; always saying VPN would be right for" in line
    assert "More captures of each pair of labels may help" in line
    assert line.removeprefix("WARNING: ").partition(". More")[0] in load_bundle(tmp_path / "b").model_card


def test_the_command_says_what_it_read_and_what_is_not_tested(generated: Path, tmp_path: Path) -> None:
    lines = generated.read_text().splitlines()[1:]
    names = ["only" if line.endswith("VPN,Chat") else f"capture {i % 40}" for i, line in enumerate(lines)]
    groups, target = tmp_path / "groups.txt", tmp_path / "a b"
    groups.write_text("\n".join(names) + "\n")
    words = ["--groups", str(groups), "--split", "session"]
    status, output = trained(str(generated), "-o", str(target), *words)
    assert status == 0, output
    assert "generated.csv: flows: 3000, without label or unreadable: 0; captures: 41, sessions: " in output
    notes = training_notes(load_bundle(target))
    assert any(line.startswith("not tested, as they come from a single session: ") for line in notes)
    assert all(line in output.splitlines() for line in notes)
    assert f"its figures: etcc-edge info '{target}' --card" in output


def test_a_folder_of_captures_trains_a_bundle_that_cuts_captures_as_it_was_taught(tmp_path: Path) -> None:
    """The flows are generated: of as many packets as their application has, at its port."""
    lines = ["capture,protocol,application"]
    rng = np.random.default_rng(3)
    for protocol, server in (("VPN", "10.8.0.1"), ("Non-VPN", "192.0.2.1")):
        for application, port, packets in (("Chat", 5222, 4), ("Email", 993, 12)):
            for day in range(3):
                name = f"{protocol}-{application}-{day}.pcap"
                lines.append(f"{name},{protocol},{application}")
                packets_of_flows = (
                    exchange(
                        "10.0.0.1",
                        int(rng.integers(40_000, 60_000)),
                        server,
                        port,
                        start=1e6 * day + 10 * i,
                        packets=packets + int(rng.integers(0, 4)),
                    )
                    for i in range(60)
                )
                (tmp_path / name).write_bytes(pcap(packet for flow in packets_of_flows for packet in flow))
    table, made = tmp_path / "captures.csv", tmp_path / "made"
    table.write_text("\n".join(lines))
    runner = CliRunner()
    options = ["--captures", str(table), "--profile", "iscx-15s", "--split", "session"]
    done = runner.invoke(main, ["train", *options, "-o", str(made), "--force"])
    assert done.exit_code == 0, done.output
    definition = load_bundle(made).flow_definition
    assert (definition.profile, definition.timeout_s) == ("iscx-15s", 15)
    assert definition.description == "trained on captures"

    capture = str(tmp_path / "VPN-Chat-0.pcap")
    done = runner.invoke(main, ["infer", capture, "--bundle", str(made)])
    assert done.exit_code == 0, done.output
    assert "iscx-15s flows; bundle made" in done.stderr
    assert "profile iscx-15s is unproven" in done.stderr
    assert "expect wrong labels" not in done.stderr
    done = runner.invoke(main, ["infer", capture, "--bundle", str(made), "--profile", "darknet2020", "--force"])
    assert "was trained on flows of iscx-15s, these are cut as darknet2020 does" in done.stderr

    done = runner.invoke(main, ["evaluate", "--captures", str(table), "--bundle", str(made), "--json"])
    assert done.exit_code == 0, done.output
    assert '"flows": 720,' in done.stdout
    assert "flows_trained_on" in done.stdout
    done = runner.invoke(
        main, ["evaluate", "--captures", str(table), "--bundle", str(made), "--bundle", "default", "--json"]
    )
    assert done.exit_code == 1
    assert "trained on flows cut in different ways; evaluate them apart" in done.stderr

    adapted = str(tmp_path / "adapted")
    done = runner.invoke(main, ["adapt", str(made), "--captures", str(table), "-o", adapted])
    assert done.exit_code == 1
    assert "Error: bundle made keeps no prototypes of its flows" in done.stderr
    done = runner.invoke(main, ["adapt", "default", "--captures", str(table), "-o", adapted])
    assert done.exit_code == 0, done.output
    assert runner.invoke(main, ["infer", capture, "--bundle", adapted, "--force"]).exit_code == 0


@pytest.mark.parametrize("command", [["train", "-o", "made"], ["adapt", "default", "-o", "made"], ["evaluate"]])
def test_flows_come_from_files_or_from_captures(command: list[str]) -> None:
    both = [*command, "flows.csv", "--captures", "captures.csv"]
    labels = [*command, "--captures", "captures.csv", "--protocol-column", "Label"]
    for words in (command, both, labels):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 2, done.output
        assert "--captures" in done.stderr
