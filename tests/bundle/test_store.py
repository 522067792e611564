"""Bundles on disk: what is written is read again, and a hostile one is refused with one named error."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

from etcc_edge.bundle import Bundle, load_bundle, save_bundle, store
from etcc_edge.bundle.model import SCALER_ARRAYS, ConfidenceMap, Prototypes
from etcc_edge.bundle.network import parameter_shapes, parse_network
from etcc_edge.bundle.onnx_scan import check_same_weights, check_self_contained
from etcc_edge.errors import BundleError
from etcc_edge.export.graph import build_onnx
from etcc_edge.flows.services import Service
from etcc_edge.infer.classifier import Classifier
from making import assert_same, with_derived

Json = dict[str, Any]
FORMS = ("tiny", "tiny.zip")


@pytest.fixture
def folder(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    save_bundle(tiny_bundle, tmp_path / "tiny")
    return tmp_path / "tiny"


def rewrite_manifest(folder: Path, change: Callable[[Json], object]) -> None:
    path = folder / "bundle.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def replace_file(folder: Path, name: str, data: bytes) -> None:
    """A file with other contents whose SHA-256 the manifest vouches for."""
    (folder / name).write_bytes(data)
    rewrite_manifest(folder, lambda m: m["files"].update({name: {"sha256": hashlib.sha256(data).hexdigest()}}))


def rewrite_tensors(folder: Path, changes: dict[str, np.ndarray]) -> None:
    tensors = safetensors.numpy.load((folder / "weights.safetensors").read_bytes())
    replace_file(folder, "weights.safetensors", safetensors.numpy.save(tensors | changes))


def zipped(folder: Path) -> Path:
    """The same files as a zip, manifest first."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


# --- good bundles -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_what_is_saved_is_loaded(tiny_bundle: Bundle, tmp_path: Path, form: str) -> None:
    save_bundle(tiny_bundle, tmp_path / form)
    loaded = load_bundle(tmp_path / form)
    assert loaded.location == str(tmp_path / form)
    assert dict(loaded.onnx) == dict(tiny_bundle.onnx)
    assert loaded.weights.keys() == tiny_bundle.weights.keys()
    for name, array in tiny_bundle.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], array, strict=True)
    assert vars(loaded.trained).keys() == vars(tiny_bundle.trained).keys()
    for name, hashes in vars(tiny_bundle.trained).items():
        np.testing.assert_array_equal(getattr(loaded.trained, name), hashes, strict=True)
    for ours, theirs in zip(tiny_bundle.nodes(), loaded.nodes(), strict=True):
        assert (theirs.id, theirs.labels, theirs.network) == (ours.id, ours.labels, ours.network)
        assert theirs.temperature == ours.temperature
        assert theirs.thresholds == ours.thresholds
        assert list(theirs.children) == list(ours.children)
        for part in SCALER_ARRAYS:
            np.testing.assert_array_equal(getattr(theirs.scaler, part), getattr(ours.scaler, part), strict=True)
    apart = {"root", "weights", "onnx", "trained", "location"}
    for field in dataclasses.fields(Bundle):
        if field.name not in apart:
            assert getattr(loaded, field.name) == getattr(tiny_bundle, field.name)


def with_prototypes(bundle: Bundle) -> Bundle:
    values = np.zeros((2, 3, len(bundle.features)), np.float32)
    values[1, :, 0] = np.nan
    prototypes = Prototypes((("VPN", "Chat"), ("Tor", "")), np.array([10, 900], np.int64), values)
    return dataclasses.replace(bundle, prototypes=prototypes)


@pytest.mark.parametrize("form", FORMS)
def test_prototypes_that_are_saved_are_loaded(tiny_bundle: Bundle, tmp_path: Path, form: str) -> None:
    bundle = with_prototypes(tiny_bundle)
    save_bundle(bundle, tmp_path / form)
    loaded = load_bundle(tmp_path / form).prototypes
    assert loaded is not None
    assert loaded.labels == bundle.prototypes.labels
    np.testing.assert_array_equal(loaded.flows, bundle.prototypes.flows, strict=True)
    np.testing.assert_array_equal(loaded.values, bundle.prototypes.values, strict=True)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("prototypes.flows", np.array([10, 9], np.int64)),
        ("prototypes.flows", np.array([10], np.int64)),
        ("prototypes.values", np.zeros((2, 3, 1), np.float32)),
        ("prototypes.values", np.zeros((2, 3, 6), np.float64)),
    ],
)
def test_prototypes_that_do_not_fit_are_refused(
    tiny_bundle: Bundle, tmp_path: Path, name: str, array: np.ndarray
) -> None:
    save_bundle(with_prototypes(tiny_bundle), tmp_path / "b")
    rewrite_tensors(tmp_path / "b", {name: array})
    with pytest.raises(BundleError, match="prototype"):
        load_bundle(tmp_path / "b")


@pytest.mark.parametrize("form", FORMS)
def test_services_confidences_and_the_view_are_kept(tiny_bundle: Bundle, tmp_path: Path, form: str) -> None:
    lines = np.array([[[0.5, 0.25], [1, 0]], [[0.125, -1], [2, 3]]], np.float32)
    features = ("ip_protocol", *tiny_bundle.features[1:])
    bundle = dataclasses.replace(
        tiny_bundle,
        features=features,
        units=("number", *tiny_bundle.units[1:]),
        flow_definition=dataclasses.replace(tiny_bundle.flow_definition, view="inside"),
        services=(Service("ICMP", (1, 58), ()),),
        confidence=ConfidenceMap((10,), lines, 0.75),
    )
    save_bundle(bundle, tmp_path / form)
    loaded = load_bundle(tmp_path / form)
    assert (loaded.services, loaded.flow_definition) == (bundle.services, bundle.flow_definition)
    assert loaded.vocabulary()[1][-1] == "ICMP"
    assert loaded.confidence is not None
    assert (loaded.confidence.packets, loaded.confidence.least) == ((10,), 0.75)
    np.testing.assert_array_equal(loaded.confidence.lines, lines, strict=True)
    assert len({b.digest() for b in (bundle, loaded, dataclasses.replace(bundle, services=()))}) == 2


def test_equal_bundles_are_equal_zip_files(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_bundle(tiny_bundle, tmp_path / "first.zip")
    monkeypatch.setattr("time.time", lambda: 1e9)
    save_bundle(load_bundle(tmp_path / "first.zip"), tmp_path / "again.zip")
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "again.zip").read_bytes()


def test_any_zip_of_the_folder_is_the_bundle(folder: Path, tiny_bundle: Bundle) -> None:
    assert dict(load_bundle(zipped(folder)).onnx) == dict(tiny_bundle.onnx)


def test_files_that_the_manifest_does_not_list_are_left_alone(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    assert load_bundle(folder).name == "tiny"
    assert load_bundle(zipped(folder)).name == "tiny"


def test_a_label_may_be_any_text(tiny_bundle: Bundle, tmp_path: Path) -> None:
    names = ("Ünïcode, 'quoted'", "☎", "VPN")
    root = dataclasses.replace(tiny_bundle.root, labels=names, children={"VPN": tiny_bundle.root.children["VPN"]})
    onnx_files = {key: data for key, data in tiny_bundle.onnx.items() if key[0] != "stage2.non-vpn"}
    save_bundle(dataclasses.replace(tiny_bundle, root=root, onnx=onnx_files), tmp_path / "b")
    assert load_bundle(tmp_path / "b").root.labels == names


def test_a_name_that_is_neither_shipped_nor_a_path_is_named() -> None:
    with pytest.raises(BundleError, match=r"no bundle 'no-such-bundle': neither a path nor one of"):
        store.find_bundle("no-such-bundle")


# --- saving -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_an_existing_path_is_replaced_only_by_force(tiny_bundle: Bundle, tmp_path: Path, form: str) -> None:
    save_bundle(tiny_bundle, tmp_path / form)
    other = dataclasses.replace(tiny_bundle, name="other", onnx={})
    with pytest.raises(BundleError, match="exists already; use --force"):
        save_bundle(other, tmp_path / form)
    assert load_bundle(tmp_path / form).name == "tiny"
    save_bundle(other, tmp_path / form, force=True)
    assert load_bundle(tmp_path / form).name == "other"
    assert not (tmp_path / form / "onnx").exists()
    assert os.listdir(tmp_path) == [form]


def test_force_does_not_replace_a_folder_that_is_no_bundle(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with pytest.raises(BundleError, match=r"without bundle\.json, so it is not replaced"):
        save_bundle(tiny_bundle, tmp_path / "thesis", force=True)
    assert os.listdir(tmp_path / "thesis") == ["chapter1.tex"]
    assert os.listdir(tmp_path) == ["thesis"]


@pytest.mark.parametrize("stranger", ["thesis.txt", "onnx/notes.md", "onnx/stage1.onnx", ".git/HEAD"])
def test_force_does_not_replace_a_bundle_with_files_of_others(folder: Path, tiny_bundle: Bundle, stranger: str) -> None:
    (folder / stranger).parent.mkdir(exist_ok=True)
    (folder / stranger).write_text("years of work")
    with pytest.raises(BundleError, match=f"holds {re.escape(stranger)}, which is of no bundle, so it is not replaced"):
        save_bundle(tiny_bundle, folder, force=True)
    assert (folder / stranger).read_text() == "years of work"


def test_force_does_not_replace_a_file_that_is_no_bundle(tiny_bundle: Bundle, tmp_path: Path) -> None:
    for name in ("flows.csv", "flows.zip"):
        (tmp_path / name).write_text("years of work")
        with pytest.raises(BundleError, match="is no bundle, so it is not replaced"):
            save_bundle(tiny_bundle, tmp_path / name, force=True)
    with zipfile.ZipFile(tmp_path / "flows.zip", "w") as archive:
        archive.writestr("flows.csv", "years of work")
    with pytest.raises(BundleError, match="is no bundle, so it is not replaced"):
        save_bundle(tiny_bundle, tmp_path / "flows.zip", force=True)
    (tmp_path / "empty.zip").touch()
    save_bundle(tiny_bundle, tmp_path / "empty.zip", force=True)
    assert load_bundle(tmp_path / "empty.zip").name == "tiny"


@pytest.mark.parametrize("form", FORMS)
def test_a_failure_to_write_leaves_nothing_behind(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(BundleError, match=f"{form}: cannot be written: No space left on device"):
        save_bundle(tiny_bundle, tmp_path / form)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("form", FORMS)
def test_a_failure_to_replace_keeps_the_old_bundle(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    save_bundle(tiny_bundle, tmp_path / form)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full_disk)
        with pytest.raises(BundleError, match="cannot be written"):
            save_bundle(dataclasses.replace(tiny_bundle, name="other"), tmp_path / form, force=True)
    assert load_bundle(tmp_path / form).name == "tiny"


@pytest.mark.parametrize("form", FORMS)
def test_what_could_not_be_loaded_is_not_written(tiny_bundle: Bundle, tmp_path: Path, form: str) -> None:
    broken = dataclasses.replace(tiny_bundle, license="two\nlines")
    with pytest.raises(BundleError, match=r"is not written, since it could not be loaded: .*license holds a character"):
        save_bundle(broken, tmp_path / form)
    assert os.listdir(tmp_path) == []


def test_a_bundle_below_a_file_cannot_be_written(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot be written"):
        save_bundle(tiny_bundle, tmp_path / "file" / "tiny")


# --- damage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["weights.safetensors", "MODEL_CARD.md", "onnx/stage1.fp32.onnx"])
def test_a_flipped_byte_is_found_by_its_sha256(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    for path in (folder, zipped(folder)):
        with pytest.raises(BundleError, match=f"{name} is damaged: its SHA-256"):
            load_bundle(path)


@pytest.mark.parametrize("name", ["weights.safetensors", "MODEL_CARD.md", "onnx/stage1.fp32.onnx"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    for path in (folder, zipped(folder)):
        with pytest.raises(BundleError, match=f"{name} is missing"):
            load_bundle(path)


def test_a_bundle_without_weights_is_refused(folder: Path) -> None:
    rewrite_manifest(folder, lambda m: m["files"].pop("weights.safetensors"))
    for path in (folder, zipped(folder)):
        with pytest.raises(BundleError, match=r"weights\.safetensors is missing"):
            load_bundle(path)


def test_no_manifest_no_bundle(folder: Path) -> None:
    (folder / "bundle.json").unlink()
    for path in (folder, zipped(folder)):
        with pytest.raises(BundleError, match=r"has no bundle.json, so it is no bundle"):
            load_bundle(path)


def test_the_error_names_the_bundle(folder: Path) -> None:
    (folder / "bundle.json").unlink()
    with pytest.raises(BundleError, match=f"^bundle {folder}: "):
        load_bundle(folder)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_zip_is_refused(tiny_bundle: Bundle, tmp_path: Path, share: float) -> None:
    path = tmp_path / "tiny.zip"
    save_bundle(tiny_bundle, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BundleError, match="is no readable zip file"):
        load_bundle(path)


def test_a_flipped_byte_anywhere_in_a_zip_is_found_or_harmless(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Harmless: in what nothing reads, such as dates."""
    path = tmp_path / "tiny.zip"
    save_bundle(tiny_bundle, path)
    data = path.read_bytes()
    refused = 0
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0xA5]) + data[at + 1 :])
        try:
            assert load_bundle(path).weights.keys() == tiny_bundle.weights.keys()
        except BundleError:
            refused += 1
    assert refused > len(data) / 7 / 2


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
def test_damage_in_any_compression_is_found(folder: Path, method: int) -> None:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.write(folder / "bundle.json", "bundle.json")
    data = bytearray(path.read_bytes())
    data[60:90] = b"\xff" * 30
    path.write_bytes(data)
    with pytest.raises(BundleError):
        load_bundle(path)


# --- paths and sizes ----------------------------------------------------------------------------------------

WICKED_NAMES = (
    "../weights.safetensors",
    "onnx/../../weights.safetensors",
    "/etc/passwd",
    "onnx\\stage1.fp32.onnx",
    "C:weights.safetensors",
    "onnx//stage1.fp32.onnx",
    "a/b/c",
    ".hidden",
    "./MODEL_CARD.md",
    "",
    "name\n",
    "nul\0",
)


@pytest.mark.parametrize("name", WICKED_NAMES)
def test_a_path_in_the_manifest_stays_in_the_bundle(folder: Path, name: str) -> None:
    archive = zipped(folder)
    rewrite_manifest(folder, lambda m: m["files"].update({name: m["files"]["weights.safetensors"]}))
    with pytest.raises(BundleError, match="is no name for a bundle's file"):
        load_bundle(folder)
    with zipfile.ZipFile(archive, "a") as opened, pytest.warns(UserWarning, match="Duplicate name"):
        opened.writestr("bundle.json", (folder / "bundle.json").read_bytes())
    with pytest.raises(BundleError):
        load_bundle(archive)


@pytest.mark.parametrize("name", [name for name in WICKED_NAMES if "\0" not in name])
def test_a_path_in_the_zip_stays_in_the_bundle(folder: Path, name: str) -> None:
    path = zipped(folder)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"")
    with pytest.raises(BundleError, match="is no name for a bundle's file"):
        load_bundle(path)


@pytest.mark.parametrize("name", ["bundle.json", "weights.safetensors", "onnx/stage1.fp32.onnx"])
def test_a_symlink_out_of_the_folder_is_not_followed(folder: Path, name: str) -> None:
    outside = folder.parent / "outside"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    with pytest.raises(BundleError, match=f"{name} leads out of the bundle"):
        load_bundle(folder)


def test_a_symlinked_subfolder_is_not_followed(folder: Path) -> None:
    (folder / "onnx").rename(folder.parent / "elsewhere")
    (folder / "onnx").symlink_to(folder.parent / "elsewhere")
    with pytest.raises(BundleError, match="leads out of the bundle"):
        load_bundle(folder)


def test_a_symlink_to_a_bundle_is_one(folder: Path) -> None:
    (folder.parent / "latest").symlink_to(folder)
    assert load_bundle(folder.parent / "latest").name == "tiny"


def test_a_pipe_is_no_file_of_a_bundle(folder: Path) -> None:
    (folder / "MODEL_CARD.md").unlink()
    os.mkfifo(folder / "MODEL_CARD.md")
    with pytest.raises(BundleError, match=r"MODEL_CARD\.md is missing"):
        load_bundle(folder)


def test_a_name_twice_in_a_zip_is_refused(folder: Path) -> None:
    path = zipped(folder)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("weights.safetensors", b"other weights")
    with pytest.raises(BundleError, match="holds a name twice"):
        load_bundle(path)


@pytest.mark.parametrize(
    ("cap", "value", "complaint"),
    [
        ("_MAX_FILE_BYTES", 900, "bytes, more than 900"),
        ("_MAX_TOTAL_BYTES", 5000, "holds more than 5000 bytes"),
        ("_MAX_FILES", 3, "files, more than 3"),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_sizes_are_capped(
    tiny_bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    cap: str,
    value: int,
    complaint: str,
) -> None:
    save_bundle(tiny_bundle, tmp_path / form)
    monkeypatch.setattr(store, cap, value)
    with pytest.raises(BundleError, match=complaint):
        load_bundle(tmp_path / form)


def test_a_zip_bomb_is_not_inflated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(folder)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", b"\0" * (8 << 20))
    monkeypatch.setattr(store, "_MAX_FILE_BYTES", 1 << 20)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("was inflated"))
    with pytest.raises(BundleError, match="bomb has 8388608 bytes"):
        load_bundle(path)


# --- manifest -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "is no JSON"),
        (b"{", "is no JSON"),
        (b"\xff\xfe\xff", "is no JSON"),
        (b"[" * 200_000, "is no JSON"),
        (b'{"a":' * 200_000, "is no JSON"),
        (b'{"format": ' + b"1" * 10_000 + b"}", "is no JSON"),
        (b"[]", "is no JSON object"),
        (b"null", "is no JSON object"),
        (b"{}", "has format None"),
        (b'{"format": 3}', "has format 3, and this etcc-edge reads 1 and 2; update the older"),
        (b'{"format": true}', "has format True"),
        (b'{"format": "1"}', "has format '1'"),
        (b'{"format": [1]}', r"has format \[1\]"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_manifest_is_a_json_object_of_a_known_format(folder: Path, text: bytes, complaint: str) -> None:
    (folder / "bundle.json").write_bytes(text)
    for path in (folder, zipped(folder)):
        with pytest.raises(BundleError, match=complaint):
            load_bundle(path)


TOP = (
    "levels",
    "features",
    "flow_definition",
    "root",
    "files",
    "name",
    "training",
    "metrics",
    "citations",
    "license",
)
IN_NODE = ("id", "labels", "network", "temperature", "children")


@pytest.mark.parametrize("key", TOP)
def test_no_key_of_the_manifest_may_be_missing(folder: Path, key: str) -> None:
    rewrite_manifest(folder, lambda m: m.pop(key))
    with pytest.raises(BundleError, match=f"{key} is missing"):
        load_bundle(folder)


@pytest.mark.parametrize("key", IN_NODE)
def test_no_key_of_a_node_may_be_missing(folder: Path, key: str) -> None:
    rewrite_manifest(folder, lambda m: m["root"]["children"]["VPN"].pop(key))
    with pytest.raises(BundleError, match=f"{key} is missing"):
        load_bundle(folder)


@pytest.mark.parametrize("key", ["meter", "timeout_s", "description"])
def test_no_key_of_the_flow_definition_may_be_missing(folder: Path, key: str) -> None:
    rewrite_manifest(folder, lambda m: m["flow_definition"].pop(key))
    with pytest.raises(BundleError, match=f"{key} is missing"):
        load_bundle(folder)


# Every value of a kind of its own: none of them is a text, an object, an array or a number where it stands.
OTHER_KINDS = {
    str: (None, 3, ["x"], {}),
    dict: (None, 3, "x", []),
    list: (None, 3, "x", {}),
    float: (None, "1", [], True),
}


@pytest.mark.parametrize("key", ["format", *TOP])
@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_a_value_of_the_wrong_kind_is_refused(folder: Path, key: str, kind: int) -> None:
    def change(manifest: Json) -> None:
        of = {int: float}.get(type(manifest[key]), type(manifest[key]))
        manifest[key] = OTHER_KINDS[of][kind]

    rewrite_manifest(folder, change)
    with pytest.raises(BundleError):
        load_bundle(folder)


@pytest.mark.parametrize("key", IN_NODE)
@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_a_value_of_the_wrong_kind_in_a_node_is_refused(folder: Path, key: str, kind: int) -> None:
    rewrite_manifest(folder, lambda m: m["root"].update({key: OTHER_KINDS[type(m["root"][key])][kind]}))
    with pytest.raises(BundleError):
        load_bundle(folder)


def _root(**changes: Any) -> Callable[[Json], None]:
    return lambda m: m["root"].update(changes)


def _child(**changes: Any) -> Callable[[Json], None]:
    return lambda m: m["root"]["children"]["VPN"].update(changes)


def _deeper(manifest: Json) -> None:
    vpn = manifest["root"]["children"]["VPN"]
    vpn["children"] = {"Chat": {**vpn, "id": "stage3"}}


def _services(*services: Json) -> Callable[[Json], None]:
    entries = [{"name": "ICMP", "ip_protocols": [1], "ports": [], **own} for own in services]
    return lambda m: m.update(services=entries)


def _confidence(version: int = 2, **changes: Any) -> Callable[[Json], None]:
    lines = [[[1.0, 0.0], [1.0, 0.0]]] * 2
    return lambda m: m.update(format=version, confidence={"packets": [10], "lines": lines, "least": 0.5, **changes})


MUTATIONS: dict[str, tuple[Callable[[Json], object], str]] = {
    "a feature that is no object": (lambda m: m["features"].append("flow_duration"), "features is no dict"),
    "a feature without unit": (lambda m: m["features"][0].pop("unit"), "unit is missing"),
    "a feature twice": (
        lambda m: m["features"].append(m["features"][0]),
        "features must hold 1 to .* different",
    ),
    "no features": (lambda m: m["features"].clear(), "features must hold"),
    "fewer features than the scaler reads": (lambda m: m["features"].pop(), "reads beyond the 5 features"),
    "no levels": (lambda m: m["levels"].clear(), "levels must hold"),
    "a level twice": (lambda m: m["levels"].append("protocol"), "levels must hold"),
    "a level that starts another column": (lambda m: m.update(levels=["protocol", "a,b"]), "level 'a,b' heads columns"),
    "a level with a quote": (lambda m: m.update(levels=['"', "application"]), "heads columns, so it may hold letters"),
    "an empty level": (lambda m: m.update(levels=["", "application"]), "level '' heads columns"),
    "a time in seconds": (
        lambda m: m["features"][0].update(unit="s"),
        "feature flow_duration is in 's', but flows have it in 'us'",
    ),
    "a temperature that is 0 as float32": (_root(temperature=1e-50), "temperature lies outside 0 to 1e6 as float32"),
    "too many levels": (lambda m: m["levels"].extend("abcdefgh"), "levels must hold 1 to 8"),
    "a level that is no text": (lambda m: m["levels"].append(3), "levels is no str"),
    "a citation that is no text": (lambda m: m["citations"].append(3), "citations is no str"),
    "a timeout that is text": (
        lambda m: m["flow_definition"].update(timeout_s="15"),
        "timeout_s is no float",
    ),
    "a file without SHA-256": (lambda m: m["files"].update({"MODEL_CARD.md": {}}), "sha256 is missing"),
    "a file that is no object": (
        lambda m: m["files"].update({"MODEL_CARD.md": "00"}),
        "MODEL_CARD.md is no dict",
    ),
    "a SHA-256 that is a number": (
        lambda m: m["files"]["MODEL_CARD.md"].update(sha256=0),
        "sha256 is no str",
    ),
    "no labels": (_root(labels=[]), "labels must hold"),
    "a label twice": (_root(labels=["VPN", "VPN", "Tor"]), "labels must hold 1 to 1024 different"),
    "a label that is no text": (_root(labels=["VPN", None, "Tor"]), "labels is no str"),
    "more labels than logits": (
        _root(labels=["Non-VPN", "Tor", "VPN", "Proxy"]),
        "has not one logit a label",
    ),
    "fewer labels than logits": (
        _child(labels=["Chat"]),
        "stage2.vpn: the network has not one logit a label",
    ),
    "children of an unknown label": (
        lambda m: m["root"]["children"].update(Proxy={}),
        r"children \['Proxy'\] are not",
    ),
    "a child that is no object": (lambda m: m["root"]["children"].update(Tor=[]), "children is no dict"),
    "a node deeper than the levels": (_deeper, "node stage3 lies deeper than the levels"),
    "levels fewer than nodes": (lambda m: m["levels"].pop(), "lies deeper than the levels"),
    "one id for two nodes": (
        lambda m: m["root"]["children"].update(Tor=m["root"]["children"]["VPN"]),
        "have one id",
    ),
    "an id that is a path": (_child(id="../stage2"), "is no node id"),
    "an empty id": (_child(id=""), "is no node id"),
    "an id without scaler": (_child(id="stage9"), "node stage9: scaler.sources is missing"),
    "a service told by no feature": (_services({}), "service ICMP is told by ip_protocol, which is no feature here"),
    "a service told by ports that are no feature": (_services({"ports": [53]}), "told by ip_protocol, src_port"),
    "a service without name": (_services({"name": ""}), "services must have different names"),
    "a service beyond all ports": (_services({"ports": [0]}), "ports must lie in 1 to 65535"),
    "a service of no IP protocol": (_services({"ip_protocols": [255]}), "ip_protocols must lie in 0 to 254"),
    "a service whose ports are texts": (_services({"ports": ["53"]}), "ports is no int"),
    "confidence in format 1": (_confidence(version=1), "format 1 knows no derived inputs, services and confidence"),
    "services that are no list": (lambda m: m.update(services={}), "services is no list"),
    "confidence that is no object": (lambda m: m.update(confidence=1), "confidence is no dict"),
    "confidence for other sizes": (_confidence(packets=[10, 100]), "needs a slope above 0 and an offset for each"),
    "confidence for sizes that fall": (_confidence(packets=[0]), "packets of confidence do not rise from 1"),
    "confidence that falls": (_confidence(lines=[[[-1, 0], [1, 0]]] * 2), "needs a slope above 0"),
    "confidence of uneven lines": (_confidence(lines=[[[1, 0]], [[1], [2, 3]]]), "lines of confidence are no numbers"),
    "confidence of texts": (_confidence(lines="lines"), "lines is no list"),
    "a least confidence above 1": (_confidence(least=1.5), "least confidence lies outside 0 to 1"),
    "a view of another name": (lambda m: m["flow_definition"].update(view="above"), "'above' is none of inside, wire"),
    "a temperature of 0": (_root(temperature=0), "temperature lies outside 0 to 1e6"),
    "a negative temperature": (_root(temperature=-1.0), "temperature lies outside"),
    "a temperature of NaN": (_root(temperature=float("nan")), "temperature lies outside|JSON"),
    "an infinite temperature": (_root(temperature=float("inf")), "temperature lies outside|JSON"),
    "a threshold that is no number": (_root(thresholds={"fp32": "high"}), "a threshold is no number"),
    "thresholds that are no object": (_root(thresholds=[1.0]), "thresholds is no dict"),
    "an infinite threshold": (_root(thresholds={"fp32": float("inf")}), "a threshold is no number|JSON"),
    "a temperature beyond float64": (_root(temperature=10**400), "temperature lies outside"),
    "an unknown layer": (_root(network=["gru 3"]), "unknown layer 'gru 3'; a newer etcc-edge may know it"),
    "a layer that is no text": (_root(network=[["dense", 3]]), "network is no str"),
    "an empty layer": (_root(network=["flatten", "", "dense 3"]), "layer"),
    "no layers": (_root(network=[]), "does not end in dense or lstm"),
    "layers that do not fit": (
        _root(network=["conv 4 9", "flatten", "dense 3"]),
        "wider than the 6 positions",
    ),
    "an infinite timeout": (lambda m: m["flow_definition"].update(timeout_s=float("inf")), "timeout_s|JSON"),
    "a text that is no Unicode": (_root(labels=["VPN", "\ud800", "Non-VPN"]), "labels|JSON"),
}


@pytest.mark.parametrize("what", MUTATIONS)
def test_a_manifest_that_does_not_fit_together_is_refused(folder: Path, what: str) -> None:
    change, complaint = MUTATIONS[what]
    rewrite_manifest(folder, change)
    for path in (folder, zipped(folder)):
        with pytest.raises(BundleError, match=complaint):
            load_bundle(path)


def test_too_many_nodes_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_MAX_NODES", 2)
    with pytest.raises(BundleError, match="more than 2 nodes"):
        load_bundle(folder)


# --- tensors and networks -----------------------------------------------------------------------------------


def _scaler(**changes: np.ndarray) -> dict[str, np.ndarray]:
    return {f"stage2.vpn/scaler.{part}": array for part, array in changes.items()}


TILED = np.tile(np.array([0, 1000], np.float32), 6)
TENSORS: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "knots that do not rise": (_scaler(x=TILED[::-1].copy()), "stage2.vpn: scaler knots do not rise"),
    "equal knots": (_scaler(x=TILED * 0), "scaler knots do not rise"),
    "a knot of NaN": (_scaler(x=TILED * np.float32("nan")), "scaler value is not finite"),
    "values that fall": (_scaler(y=TILED[::-1].copy()), "scaler values fall"),
    "infinite missing values": (
        _scaler(missing=np.full(6, np.inf, np.float32)),
        "scaler value is not finite",
    ),
    "knots in float64": (_scaler(x=TILED.astype(np.float64)), "scaler.x is missing or of another type"),
    "starts in int32": (
        _scaler(starts=np.arange(0, 13, 2, dtype=np.int32)),
        "scaler.starts is missing or of another",
    ),
    "knots in a matrix": (_scaler(x=TILED.reshape(6, 2)), "scaler.x is missing or of another type"),
    "starts beyond the knots": (
        _scaler(starts=np.array([0, 2, 4, 6, 8, 10, 99])),
        "starts do not span the knots",
    ),
    "starts that fall": (_scaler(starts=np.array([0, 2, 1, 6, 8, 10, 12])), "scaler input has no knots"),
    "a source beyond the features": (
        _scaler(sources=np.array([0, 1, 2, 3, 4, 6])),
        "reads beyond the 6 features",
    ),
    "a negative source": (_scaler(sources=np.array([0, 1, 2, 3, 4, -1])), "scaler source is negative"),
    "no sources": (_scaler(sources=np.zeros(0, np.int64)), "stage2.vpn: the scaler reads"),
    "one input fewer": (_scaler(sources=np.arange(5)), "one missing value an input"),
    "a second feature beyond the features": (
        _scaler(operations=np.array([0, 0, 0, 0, 0, 1]), second=np.array([-1, -1, -1, -1, -1, 6])),
        "reads beyond the 6 features",
    ),
    "an operation without its second feature": (_scaler(operations=np.ones(6, np.int64)), "scaler.second is missing"),
    "a second feature without its operation": (_scaler(second=np.ones(6, np.int64)), "scaler.operations is missing"),
    "an unknown operation": (
        _scaler(operations=np.full(6, 4), second=np.zeros(6, np.int64)),
        "operation is none of 0 to 3",
    ),
    "hashes in float64": ({"trained_flows": np.zeros(3)}, "trained_flows"),
    "hashes in a matrix": ({"trained_inputs": np.zeros((2, 2), np.uint32)}, "trained_inputs"),
}


@pytest.mark.parametrize("what", TENSORS)
def test_tensors_that_do_not_fit_are_refused(folder: Path, what: str) -> None:
    changes, complaint = TENSORS[what]
    rewrite_tensors(folder, changes)
    with pytest.raises(BundleError, match=complaint):
        load_bundle(folder)


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, (1 << 40).to_bytes(8, "little") + b"{}"])
def test_weights_that_are_no_safetensors_are_refused(folder: Path, data: bytes) -> None:
    replace_file(folder, "weights.safetensors", data)
    with pytest.raises(BundleError, match=r"weights\.safetensors is no safetensors file"):
        load_bundle(folder)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path, str]]:
        return Path.write_text, (self.mark, "went off")


@pytest.mark.parametrize("name", ["weights.safetensors", "bundle.json", "onnx/stage1.fp32.onnx"])
def test_pickle_is_never_used(folder: Path, name: str) -> None:
    data = pickle.dumps(Bomb(folder / "mark"))
    (folder / name).write_bytes(data) if name == "bundle.json" else replace_file(folder, name, data)
    with pytest.raises(BundleError):
        load_bundle(folder)
    assert not (folder / "mark").exists()


def test_an_onnx_file_belongs_to_a_node(folder: Path) -> None:
    replace_file(folder, "onnx/stage9.fp32.onnx", b"")
    with pytest.raises(BundleError, match=r"onnx/stage9.fp32.onnx belongs to no node"):
        load_bundle(folder)


def test_onnx_data_outside_the_file_is_refused(folder: Path) -> None:
    weight = numpy_helper.from_array(np.ones((6, 3), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["scaled", "w"], ["logits"])],
        "network",
        [helper.make_tensor_value_info("scaled", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [weight],
    )
    path = folder.parent / "external.onnx"
    onnx.save(
        helper.make_model(graph),
        path,
        save_as_external_data=True,
        location="secret.bin",
        size_threshold=0,
    )
    replace_file(folder, "onnx/stage1.fp32.onnx", path.read_bytes())
    with pytest.raises(BundleError, match=r"onnx/stage1.fp32.onnx points at data outside the file"):
        load_bundle(folder)


def test_onnx_data_outside_the_file_is_refused_however_it_is_encoded(folder: Path) -> None:
    tensor = numpy_helper.from_array(np.ones((6, 3), np.float32), "w")
    tensor.ClearField("raw_data")
    entry = b"\x0a\x88\x00location\x12\x0asecret.bin"  # the key's length in two bytes instead of one
    hidden = tensor.SerializeToString() + b"\x6a" + bytes([len(entry)]) + entry
    graph = b"\x2a" + bytes([len(hidden)]) + hidden
    replace_file(folder, "onnx/stage1.fp32.onnx", b"\x3a" + bytes([len(graph)]) + graph)
    with pytest.raises(BundleError, match="points at data outside the file"):
        load_bundle(folder)


def test_onnx_data_outside_the_file_is_found_in_subgraphs_too() -> None:
    tensor = numpy_helper.from_array(np.ones(2, np.float32), "w")
    tensor.data_location = TensorProto.EXTERNAL
    inner = helper.make_graph([], "inner", [], [], [tensor])
    outer = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=inner)], "outer", [], [])
    with pytest.raises(BundleError, match="points at data outside the file"):
        check_self_contained(helper.make_model(outer).SerializeToString())


@pytest.mark.parametrize("data", [b"\xff" * 20, b"\x3a\x7f", b"\x3a\x02\x2a\x05", b"\x0f"])
def test_what_is_no_protobuf_message_is_no_onnx_file(data: bytes) -> None:
    with pytest.raises(BundleError, match="is no ONNX file"):
        check_self_contained(data)


def test_the_exported_networks_are_self_contained(tiny_bundle: Bundle) -> None:
    for model in tiny_bundle.onnx.values():
        check_self_contained(model)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_by_another_method_than_deflate_is_refused_unread(tmp_path: Path, method: int) -> None:
    # Python bounds what it unpacks of deflate only: a kilobyte of the others can fill the memory.
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", method) as archive:
        archive.writestr("bundle.json", b" " * (1 << 20))
    with pytest.raises(BundleError, match="compressed by another method than deflate"):
        load_bundle(tmp_path / "bomb.zip")


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((5, 1, 1, 2), np.float32), np.zeros((5, 1, 1, 3)), np.full((5, 1, 1, 3), np.nan, np.float32)],
    ids=["shape", "dtype", "NaN"],
)
def test_weights_fit_their_network(folder: Path, wrong: np.ndarray) -> None:
    rewrite_tensors(folder, {"stage1/0.weight": wrong})
    with pytest.raises(BundleError, match=r"node stage1: weight 0\.weight is"):
        load_bundle(folder)


def test_layers_that_need_too_much_memory_are_refused(folder: Path) -> None:
    # Few weights, but a quarter of a million values a flow.
    layers = ["conv 65536 1", "flatten", "dense 3"]
    rewrite_manifest(folder, lambda m: m["root"].update(network=layers))
    with pytest.raises(BundleError, match=r"node stage1: its layers need \d+ bytes of memory, more than 1073741824"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["0.weight", "0.bias", "3.weight", "3.bias"])
def test_weights_and_the_fp32_file_are_one_network(folder: Path, tiny_bundle: Bundle, name: str) -> None:
    replace_file(folder, "onnx/stage1.fp32.onnx", tiny_bundle.onnx["stage1", "fp32"])
    changed = tiny_bundle.weights[f"stage1/{name}"].copy()
    changed.flat[-1] += 1
    rewrite_tensors(folder, {f"stage1/{name}": changed})
    op = {"0": "conv_0", "3": "dense_3"}[name[0]]
    with pytest.raises(
        BundleError, match=rf"onnx/stage1\.fp32\.onnx holds another network .*{op}_{name[2:]}"
    ) as caught:
        load_bundle(folder)
    assert "\n" not in str(caught.value)


def test_the_fp32_file_of_another_node_is_refused(folder: Path) -> None:
    replace_file(folder, "onnx/stage1.fp32.onnx", (folder / "onnx" / "stage2.vpn.fp32.onnx").read_bytes())
    with pytest.raises(BundleError, match=r"onnx/stage1\.fp32\.onnx holds another network"):
        load_bundle(folder)


@pytest.mark.parametrize("text", ["lstm 5, lstm 4, dense 3", "tent 4, conv 4 6, flatten, dense 3"])
def test_every_export_holds_the_weights_that_it_came_from(text: str) -> None:
    network = parse_network(text.split(", "))
    rng = np.random.default_rng(3)
    shapes = parameter_shapes(network, 6)
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    model = build_onnx(network, 6, weights).SerializeToString()
    check_same_weights(model, network, weights)
    for name, array in weights.items():
        with pytest.raises(BundleError, match="holds another network"):
            check_same_weights(model, network, {**weights, name: array + 1})


def test_a_scaler_with_more_inputs_than_any_network_has_is_refused_at_once(folder: Path) -> None:
    n = 70_000
    rewrite_tensors(
        folder,
        {
            "stage1/scaler.sources": np.zeros(n, np.int64),
            "stage1/scaler.starts": np.arange(n + 1),
            "stage1/scaler.x": np.zeros(n, np.float32),
            "stage1/scaler.y": np.zeros(n, np.float32),
            "stage1/scaler.missing": np.zeros(n, np.float32),
        },
    )
    with pytest.raises(BundleError, match="more than 65536 inputs"):
        load_bundle(folder)


def test_derived_inputs_are_kept_and_format_1_has_none(tiny_bundle: Bundle, tmp_path: Path) -> None:
    scaler = with_derived(tiny_bundle.root.scaler, [0, 1, 2, 3, 0, 2], [0, 0, 3, 5, 0, 5])
    bundle = dataclasses.replace(tiny_bundle, root=dataclasses.replace(tiny_bundle.root, scaler=scaler))
    save_bundle(bundle, tmp_path / "derived")
    loaded = load_bundle(tmp_path / "derived")
    raw = np.random.default_rng(0).uniform(0, 1000, (20, 6)).astype(np.float32)
    assert_same(Classifier(loaded).predict(raw), Classifier(bundle).predict(raw))
    assert (Classifier(loaded).predict(raw).energy[0] != Classifier(tiny_bundle).predict(raw).energy[0]).any()
    assert loaded.digest() == bundle.digest() != tiny_bundle.digest()
    rewrite_manifest(tmp_path / "derived", lambda m: m.update(format=1))
    with pytest.raises(BundleError, match="format 1 knows no derived inputs"):
        load_bundle(tmp_path / "derived")


def test_a_bundle_of_format_1_reads_as_it_always_did() -> None:
    # Kept as it was written; a later format must still read it.
    kept = load_bundle(Path(__file__).parents[1] / "data" / "untrained-bundle-format-1.zip")
    assert (kept.name, kept.levels, kept.root.labels) == (
        "tiny",
        ("protocol", "application"),
        ("Non-VPN", "Tor", "VPN"),
    )
    assert kept.root.children["Non-VPN"].labels == ("Chat", "Email", "FTP")
    assert kept.trained is None  # it hashed rows as bytes, which are not compared any more
    result = Classifier(kept).predict(np.full((1, 6), 250, np.float32))
    assert result.codes.tolist() == [[2], [0]]
    assert result.confidence.ravel().tolist() == pytest.approx([0.45999, 0.71034], rel=1e-4)
