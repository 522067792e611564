"""A bundle learns an owner's flows and keeps what it knew. The flows are generated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from etcc_edge.bundle import load_bundle, save_bundle
from etcc_edge.bundle.model import ConfidenceMap, Prototypes
from etcc_edge.cli import main
from etcc_edge.errors import EtccError
from etcc_edge.flows.generated import sample_rows
from etcc_edge.flows.truth import read_labelled
from etcc_edge.training import adapt as adapting
from etcc_edge.training import recipes
from etcc_edge.training.adapt import adapt, split_kind
from etcc_edge.training.plan import Plan
from etcc_edge.training.train import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """Few epochs and flows, and few inputs for a port."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            recipes.RECIPES, "default", replace(recipes.RECIPES["default"], epochs=4, segments={"src_port": 4})
        )
        patch.setattr(adapting, "ADAPTING", replace(recipes.ADAPTING, epochs=6))
        patch.setattr(adapting, "_REPLAYED", 1000)
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Flows of the old owner, and of a new one, who calls half of the VPN chats ``Gaming`` (they have a port of their
    own) and has other ports for everything."""
    folder: Path = tmp_path_factory.mktemp("flows")
    lines = "".join(sample_rows(4000, seed=4)).splitlines()
    names = [name.strip() for name in lines[0].split(",")]
    port, size = names.index("Dst Port"), names.index("Bwd Packet Length Max")
    rows = [line.split(",") for line in lines[1:]]
    (folder / "old.csv").write_text("\n".join([lines[0], *(",".join(row) for row in rows[:3000])]) + "\n")
    for i, row in enumerate(rows[3000:]):
        row[port] = str(9000 + i % 3)
        if row[-2] == "VPN" and row[-1] == "Chat" and i % 2:
            row[-1], row[port] = "Gaming", "27015"
    assert size
    (folder / "new.csv").write_text("\n".join([lines[0], *(",".join(row) for row in rows[3000:])]) + "\n")
    return folder / "old.csv", folder / "new.csv"


@pytest.fixture(scope="module")
def bundle(files):
    return train(read_labelled(files[0]), Plan("old", command="etcc-edge train old.csv -o old"))


@pytest.fixture(scope="module")
def flows(files, bundle):
    return read_labelled(files[1], bundle.features, to_split=True)


@pytest.fixture(scope="module")
def adapted(bundle, flows):
    return adapt(bundle, flows, Plan("new", split="random", command="etcc-edge adapt old new.csv -o new"))


def test_training_keeps_prototypes_of_every_network(bundle):
    pairs = set(bundle.prototypes.labels)
    assert {protocol for protocol, _ in pairs} == set(bundle.root.labels)
    for protocol, child in bundle.root.children.items():
        assert {application for own, application in pairs if own == protocol} >= set(child.labels) - {""}
    assert bundle.prototypes.flows.min() >= Prototypes.MIN_FLOWS


def test_a_new_label_becomes_a_class_and_the_old_ones_stay_in_their_places(bundle, adapted):
    assert "Gaming" not in bundle.root.children["VPN"].labels
    old, new = bundle.root.children["VPN"].labels, adapted.bundle.root.children["VPN"].labels
    assert new == (*old, "Gaming")


def test_the_new_bundle_is_measured_beside_the_old_on_the_same_flows(adapted):
    assert adapted.before.flows == adapted.after.flows > 0
    assert adapted.after.end_to_end.strict_accuracy > adapted.before.end_to_end.strict_accuracy
    assert adapted.helped


def test_what_it_knew_is_measured_and_mostly_kept(adapted):
    assert 0.5 < adapted.kept <= 1


def test_the_new_bundle_can_be_saved_and_has_every_form(adapted, bundle, tmp_path):
    save_bundle(adapted.bundle, tmp_path / "new")
    loaded = load_bundle(tmp_path / "new")
    assert {form for _, form in loaded.onnx} == {form for _, form in bundle.onnx}
    assert loaded.training["adapted_from"]["digest"] == bundle.digest()
    assert "It is the bundle old" in loaded.model_card


def test_the_flows_that_taught_it_are_known_again(adapted, bundle, flows):
    assert len(adapted.bundle.trained.inputs) > len(bundle.trained.inputs)
    assert np.isin(bundle.trained.inputs, adapted.bundle.trained.inputs).all()


def test_flows_of_one_protocol_are_enough(bundle, flows):
    rows = np.flatnonzero(flows.protocol == "VPN")
    assert "Non-VPN" in bundle.root.children
    plan = Plan("new", split="random", command="etcc-edge adapt old new.csv -o new")
    adapted = adapt(bundle, flows.take(rows), plan)
    assert set(adapted.bundle.root.children) == set(bundle.root.children)


def test_confidences_are_fitted_on_sessions_of_the_owner(bundle, flows):
    sessions = np.char.mod("session %d", np.arange(len(flows)) % 60)
    of_sessions = replace(flows, session=sessions, flow_id=np.full(len(flows), ""))
    plan = Plan("new", split="session", command="etcc-edge adapt old new.csv -o new")
    adapted = adapt(bundle, of_sessions, plan).bundle
    assert adapted.confidence is not None
    assert "Confidences were fitted on sessions, those that validate" in adapted.model_card


def test_a_few_sessions_fit_no_temperature(bundle, flows):
    sessions = np.char.mod("session %d", np.arange(len(flows)) % 8)
    of_sessions = replace(flows, session=sessions, flow_id=np.full(len(flows), ""))
    adapted = adapt(bundle, of_sessions, Plan("new", split="session", command="adapt")).bundle
    before = {node.id: node.temperature for node in bundle.nodes()}
    assert {node.id: node.temperature for node in adapted.nodes()} == before


def test_a_map_that_empties_most_applications_is_told(bundle, flows):
    lines = np.tile(np.float32([1, -9]), (2, 1, 1))
    mapped = replace(bundle, confidence=ConfidenceMap((), lines, 0.5))
    outcome = adapt(mapped, flows, Plan("new", split="random", command="adapt"))
    assert "confidences are mapped as in old, whose networks were less often right" in outcome.timid
    assert adapt(bundle, flows, Plan("new", split="random", command="adapt")).timid == ""


def test_the_file_keeps_its_applications_beside_the_names_of_services(bundle, files):
    flows = read_labelled(files[0], bundle.features, to_split=True)
    assert (flows.service != "").any()
    parts = adapt(bundle, flows, Plan("new", split="random", command="adapt")).after.parts
    assert (parts["file"].flows, parts["file"].accuracy) != (parts["all"].flows, parts["all"].accuracy)


def test_confidences_of_the_old_bundle_are_called_so(bundle, flows):
    mapped = replace(bundle, confidence=ConfidenceMap((), np.ones((2, 1, 2), np.float32), 0.5))
    card = adapt(mapped, flows, Plan("new", split="random", command="adapt")).bundle.model_card
    assert "(random) served to fit temperatures and the threshold" in card
    assert "that map was fitted when old was made, and not anew" in card
    assert "were fitted on sessions" not in card


def test_an_adapted_bundle_can_be_adapted_again(adapted, flows):
    again = adapt(adapted.bundle, flows, Plan("again", split="random", seed=1, command="adapt"))
    assert again.bundle.root.children["VPN"].labels == adapted.bundle.root.children["VPN"].labels


def test_the_same_seed_gives_the_same_bundle(adapted, bundle, flows):
    again = adapt(bundle, flows, Plan("new", split="random", command="etcc-edge adapt old new.csv -o new"))
    assert again.bundle.digest() == adapted.bundle.digest()


def test_a_label_with_too_few_flows_gets_no_class_and_is_named(bundle, flows):
    result = adapt(bundle, flows, Plan("new", split="random", command="adapt"), min_flows=10_000)
    assert "Gaming" not in result.bundle.root.children["VPN"].labels
    assert any("Gaming has fewer than 10000 flows" in line for line in result.bundle.training["left_out"])


def test_a_bundle_without_prototypes_cannot_be_adapted(bundle, flows):
    with pytest.raises(EtccError, match="keeps no prototypes"):
        adapt(replace(bundle, prototypes=None), flows, Plan("new", command="adapt"))


def test_flows_of_another_meter_are_refused(bundle, flows):
    other = replace(flows, dialect=replace(flows.dialect, meter="ISCXFlowMeter"))
    with pytest.raises(EtccError, match="ISCXFlowMeter flows"):
        adapt(bundle, other, Plan("new", command="adapt"))


def test_the_strictest_split_that_the_flows_allow_is_taken(flows):
    assert split_kind(flows) == "flow-id"
    sessions = np.array([f"s{i % 5}" for i in range(len(flows))])
    assert split_kind(replace(flows, session=sessions)) == "session"
    assert split_kind(replace(flows, flow_id=np.full(len(flows), ""))) == "random"


def test_the_command_writes_a_bundle_and_says_what_it_gained(bundle, files, tmp_path):
    save_bundle(bundle, tmp_path / "old")
    arguments = ["adapt", str(tmp_path / "old"), str(files[1]), "-o", str(tmp_path / "new"), "--split", "random"]
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == 0, outcome.output
    assert "both labels right" in outcome.output
    assert load_bundle(tmp_path / "new").name == "new"


def test_flows_kept_out_that_taught_the_old_bundle_are_warned_of(bundle, adapted, files, tmp_path):
    assert "kept out" not in adapted.bundle.model_card
    save_bundle(bundle, tmp_path / "old")
    words = ["adapt", str(tmp_path / "old"), str(files[0]), "-o", str(tmp_path / "new"), "--split", "random", "--force"]
    outcome = CliRunner().invoke(main, [*words, "--view", "wire"])
    assert outcome.exit_code == 0, outcome.output
    new = load_bundle(tmp_path / "new")
    clause = f"{new.training['adapted_from']['seen']['flows']} of the 750 flows kept out were in old's training"
    assert f"WARNING: {clause}, so both columns flatter" in outcome.output
    assert clause in new.model_card
    assert new.training["adapted_from"]["seen"]["flows"] > 300
    assert new.flow_definition.view == "wire"


def test_the_view_stays_unless_another_is_named(bundle, flows):
    inside = replace(bundle, flow_definition=replace(bundle.flow_definition, view="inside"))
    assert adapt(inside, flows, Plan("new", split="random", command="adapt")).bundle.flow_definition.view == "inside"


def test_a_bundle_that_does_not_help_is_not_written(bundle, files, tmp_path, monkeypatch):
    monkeypatch.setattr(adapting, "ADAPTING", replace(recipes.ADAPTING, epochs=1, learning_rate=1e-12))
    save_bundle(bundle, tmp_path / "old")
    arguments = ["adapt", str(tmp_path / "old"), str(files[0]), "-o", str(tmp_path / "new"), "--min-flows", "100000"]
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == 3, outcome.output
    assert "not written" in outcome.output
    assert not (tmp_path / "new").exists()
