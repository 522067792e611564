"""What this machine has, and what to do about what it lacks."""

from __future__ import annotations

import json

import numpy as np
from click.testing import CliRunner

from etcc_edge.cli import doctor, main
from etcc_edge.infer.classifier import Classifier


def findings(*arguments):
    outcome = CliRunner().invoke(main, ["doctor", "--json", *arguments])
    return outcome.exit_code, {finding["what"]: finding for finding in json.loads(outcome.stdout)}


def test_an_installed_package_is_whole():
    status, by_name = findings()
    assert status == 0
    assert {by_name[name]["state"] for name in ("etcc-edge", "bundle default", "labels", "backend native")} == {"ok"}


def test_what_is_absent_has_its_remedy_and_is_no_failure(monkeypatch):
    monkeypatch.setattr(doctor, "_is_installed", lambda package: False)
    status, by_name = findings()
    assert status == 0
    assert by_name["extra train"]["state"] == "absent"
    assert by_name["extra train"]["remedy"] == "pip install 'etcc-edge[train]'"


def test_a_damaged_bundle_is_broken(monkeypatch, tmp_path):
    (tmp_path / "bundle.json").write_text("{}")
    monkeypatch.setattr(doctor, "shipped_bundles", lambda: {"default": tmp_path})
    status, by_name = findings()
    assert status == 3
    assert by_name["bundle default"]["state"] == "broken"


def test_a_forced_instruction_set_that_the_cpu_lacks_is_broken(monkeypatch):
    monkeypatch.setenv("ETCC_EDGE_INSTRUCTION_SET", "abacus")
    status, by_name = findings()
    assert status == 3
    assert "abacus" in by_name["instruction set"]["detail"]


def test_backends_that_disagree_are_broken(monkeypatch):
    predict = Classifier.predict

    def wrong(self, rows):
        result = predict(self, rows)
        return result if self.choice.backend == "native" else result.without(np.ones(len(result), bool))

    monkeypatch.setattr(Classifier, "predict", wrong)
    status, by_name = findings()
    assert status == 3
    assert by_name["labels"]["state"] == "broken"


def test_a_cache_that_cannot_be_written_costs_only_engines(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ETCC_EDGE_CACHE", str(tmp_path / "file" / "cache"))
    status, by_name = findings()
    assert (status, by_name["cache"]["state"]) == (0, "absent")


def test_people_get_a_table_with_what_to_do_and_a_verdict(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_is_installed", lambda package: False)
    outcome = CliRunner().invoke(main, ["doctor"])
    assert "pip install 'etcc-edge[train]'" in outcome.stdout
    assert "bundle default" in outcome.stdout
    assert outcome.stdout.endswith("labelling works here and nothing is broken; what is absent is optional\n")
    assert outcome.stderr == ""
    (tmp_path / "bundle.json").write_text("{}")
    monkeypatch.setattr(doctor, "shipped_bundles", lambda: {"default": tmp_path})
    assert "\nbroken: bundle default; " in CliRunner().invoke(main, ["doctor"]).stdout
