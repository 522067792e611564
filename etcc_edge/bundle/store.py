"""Bundles on disk: the format of FORMAT.md, read with suspicion and written in one step."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from etcc_edge.bundle.model import (
    DERIVED_ARRAYS,
    SCALER_ARRAYS,
    VIEWS,
    Bundle,
    ConfidenceMap,
    FlowDefinition,
    Node,
    Prototypes,
    Scaler,
    TrainedFlows,
    weights_of,
)
from etcc_edge.bundle.network import classes, cost, parameter_shapes, parse_network
from etcc_edge.bundle.onnx_scan import check_same_weights, check_self_contained
from etcc_edge.bundle.onnx_weights import Weights, with_weights, without_weights
from etcc_edge.bundle.precision import FORMS
from etcc_edge.errors import BundleError, UnknownBundle
from etcc_edge.flows.features import features as feature_table
from etcc_edge.flows.identity import VERSION as IDENTITY
from etcc_edge.flows.services import ENDS, MAX_IP_PROTOCOL, MAX_PORT, Service

FORMATS = (1, 2)
"""That this version reads. It writes the last."""
MANIFEST = "bundle.json"
WEIGHTS = "weights.safetensors"
MODEL_CARD = "MODEL_CARD.md"
MAX_LABELS = 1024
"""Of a node."""

_MAX_FILE_BYTES = 64 << 20
_MAX_TOTAL_BYTES = 256 << 20
_MAX_FILES = 512
_MAX_DEPTH = 8
_MAX_NODES = 256
_MAX_FEATURES = 4096
_MAX_INPUTS = 65_536  # of a network
_MAX_NETWORK_BYTES = 1 << 30  # of its weights, and of what its layers give of so many flows at once, in float32
_FLOWS_AT_ONCE = 1024
_LEVEL = re.compile(r"[A-Za-z0-9_-]+")  # it heads columns of a labelled file
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
_NODE_ID = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_ONNX_FILE = re.compile(rf"onnx/{_NODE_ID.pattern}\.(?:{'|'.join(FORMS)})\.onnx")

T = TypeVar("T")


def shipped_bundles() -> dict[str, Path]:
    """The bundles that come with the package, in the order in which ``auto`` tries them."""
    folder = Path(__file__).with_name("shipped")
    names = sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}"))
    first = [name for name in ("default", "no-ports") if name in names]
    return {name: folder / name for name in dict.fromkeys([*first, *names])}


def find_bundle(name_or_path: str | os.PathLike[str]) -> Path:
    """A shipped bundle by name, or a path. Raises UnknownBundle naming what there is."""
    text = os.fspath(name_or_path)
    shipped = shipped_bundles()
    if text in shipped:
        return shipped[text]
    path = Path(text)
    if path.exists():
        return path
    raise UnknownBundle(f"no bundle {text!r}: neither a path nor one of {', '.join(shipped) or 'no shipped bundles'}")


def load_bundle(name_or_path: str | os.PathLike[str]) -> Bundle:
    """Reads and checks a bundle: a shipped name, a folder or a zip file.

    Raises BundleError for an unknown format, a file whose SHA-256 differs from the manifest's, a path that
    leaves the bundle, sizes beyond the caps, external ONNX data, or a manifest that does not fit together.
    """
    path = find_bundle(name_or_path)
    try:
        files = _read_zip(path) if path.is_file() else _read_folder(path)
        return _decode(files, str(path))
    except BundleError as error:
        raise BundleError(f"bundle {path}: {error}") from error
    except OSError as error:
        raise BundleError(f"bundle {path}: cannot be read: {error.strerror or error}") from error


def check_target(path: Path, *, force: bool = False) -> None:
    """Raises BundleError where a bundle cannot be written: something is there already and ``force`` is not given, or
    is no bundle, or holds more than one; or the nearest folder that exists may not be written to."""
    if path.exists() and not force:
        raise BundleError(f"{path}: exists already; use --force to replace it")
    if path.is_dir():
        if not (path / MANIFEST).is_file():
            raise BundleError(f"{path}: is a folder without {MANIFEST}, so it is not replaced")
        if stranger := next(_strangers(path), ""):
            raise BundleError(f"{path}: holds {stranger}, which is of no bundle, so it is not replaced")
    elif path.is_file() and path.stat().st_size and not _is_zipped_bundle(path):
        raise BundleError(f"{path}: is no bundle, so it is not replaced")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise BundleError(f"{path}: cannot be written: {parent} is no folder that may be written to")


def _strangers(folder: Path) -> Iterator[str]:
    """The files in a bundle's folder that `save_bundle` did not write."""
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in sorted([*names, *links]):
            file = os.path.relpath(os.path.join(place, name), folder)
            if file not in (MANIFEST, WEIGHTS, MODEL_CARD) and not _ONNX_FILE.fullmatch(file):
                yield file


def _is_zipped_bundle(path: Path) -> bool:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return MANIFEST in archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError):
        return False


def save_bundle(bundle: Bundle, path: Path, *, force: bool = False) -> None:
    """Writes a folder, or a zip file where the name ends in ``.zip``; nothing stays behind on failure.

    Raises BundleError where `check_target` does, where `load_bundle` would refuse what is written, and where writing
    fails.
    """
    import tempfile

    check_target(path, force=force)
    files = _encode(bundle)
    try:
        _check_sizes({name: len(data) for name, data in files.items()})
        _decode(files, str(path))
    except BundleError as error:
        raise BundleError(f"{path}: is not written, since it could not be loaded: {error}") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
            staged = Path(scratch) / path.name
            if path.suffix == ".zip":
                _write_zip(files, staged)
            else:
                for name, data in files.items():
                    target = staged / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(data)
            if path.is_dir():
                os.replace(path, Path(scratch) / "replaced")
            try:
                os.replace(staged, path)
            except OSError:
                if (replaced := Path(scratch) / "replaced").exists():
                    os.replace(replaced, path)
                raise
    except OSError as error:
        raise BundleError(f"{path}: cannot be written: {error.strerror or error}") from error


# --- files ---------------------------------------------------------------------------------------------------


def _read_zip(path: Path) -> dict[str, bytes]:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
            names = [entry.filename for entry in entries]
            if len(names) != len(set(names)):
                raise BundleError("the zip file holds a name twice")
            if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
                raise BundleError("the zip file is compressed by another method than deflate")
            _check_sizes({entry.filename: entry.file_size for entry in entries})
            return {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, ValueError, LookupError, RuntimeError, EOFError) as error:
        raise BundleError(f"is no readable zip file ({error})") from error


def _write_zip(files: Mapping[str, bytes], path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)  # a fixed date: equal bundles are equal files
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, data)


def _read_folder(path: Path) -> dict[str, bytes]:
    manifest = path / MANIFEST
    if not manifest.is_file():
        raise BundleError(f"has no {MANIFEST}, so it is no bundle")
    _check_sizes({MANIFEST: manifest.stat().st_size})
    listed = [MANIFEST, *_listed_files(_parse_manifest(manifest.read_bytes()))]
    for name in listed:
        if not (path / name).is_file():
            raise BundleError(f"{name} is missing")
        if not (path / name).resolve().is_relative_to(path.resolve()):
            raise BundleError(f"{name} leads out of the bundle")
    _check_sizes({name: (path / name).stat().st_size for name in listed})
    return {name: (path / name).read_bytes() for name in listed}


def _check_sizes(sizes: Mapping[str, int]) -> None:
    if len(sizes) > _MAX_FILES:
        raise BundleError(f"holds {len(sizes)} files, more than {_MAX_FILES}")
    for name, size in sizes.items():
        if not _FILE_NAME.fullmatch(name):
            raise BundleError(f"{name!r} is no name for a bundle's file")
        if size > _MAX_FILE_BYTES:
            raise BundleError(f"{name} has {size} bytes, more than {_MAX_FILE_BYTES}")
    if sum(sizes.values()) > _MAX_TOTAL_BYTES:
        raise BundleError(f"holds more than {_MAX_TOTAL_BYTES} bytes")


# --- manifest ------------------------------------------------------------------------------------------------


def _parse_manifest(data: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{MANIFEST} is no JSON ({error})") from error
    if not isinstance(manifest, dict):
        raise BundleError(f"{MANIFEST} is no JSON object")
    version = manifest.get("format")
    if version not in FORMATS or isinstance(version, bool):
        known = " and ".join(map(str, FORMATS))
        raise BundleError(f"has format {version!r}, and this etcc-edge reads {known}; update the older of them")
    return manifest


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


def _listed_files(manifest: dict[str, Any]) -> dict[str, str]:
    """SHA-256 by file name."""
    files = _take(manifest, "files", dict)
    _check_sizes(dict.fromkeys(files, 0))
    return {name: _take(_is(entry, dict, name), "sha256", str) for name, entry in files.items()}


def _is(value: Any, kind: type[T], where: str) -> T:
    wanted = (int, float) if kind is float else kind
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise BundleError(f"{MANIFEST}: {where} is no {kind.__name__}")
    if isinstance(value, str) and not value.isprintable():
        raise BundleError(f"{MANIFEST}: {where} holds a character that cannot be printed")
    return value  # type: ignore[return-value]


def _take(table: dict[str, Any], key: str, kind: type[T]) -> T:
    if key not in table:
        raise BundleError(f"{MANIFEST}: {key} is missing")
    return _is(table[key], kind, key)


def _texts(table: dict[str, Any], key: str, most: int) -> tuple[str, ...]:
    values = tuple(_is(value, str, key) for value in _take(table, key, list))
    if not values or len(values) > most or len(set(values)) != len(values):
        raise BundleError(f"{MANIFEST}: {key} must hold 1 to {most} different texts")
    return values


def _decode(files: dict[str, bytes], location: str) -> Bundle:
    if MANIFEST not in files:
        raise BundleError(f"has no {MANIFEST}, so it is no bundle")
    manifest = _parse_manifest(files[MANIFEST])
    listed = _listed_files(manifest)
    for name, digest in listed.items():
        if name not in files:
            raise BundleError(f"{name} is missing")
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise BundleError(f"{name} is damaged: its SHA-256 is not the manifest's; copy or train the bundle again")
    tensors = _tensors(files.get(WEIGHTS) if WEIGHTS in listed else None)
    features = [_is(entry, dict, "features") for entry in _take(manifest, "features", list)]
    names = _texts({"features": [_take(entry, "name", str) for entry in features]}, "features", _MAX_FEATURES)
    units = tuple(_take(entry, "unit", str) for entry in features)
    _check_units(names, units)
    levels = _texts(manifest, "levels", _MAX_DEPTH)
    for level in levels:
        if not _LEVEL.fullmatch(level):
            raise BundleError(
                f"{MANIFEST}: level {level!r} heads columns, so it may hold letters, digits, _ and - only"
            )
    _check_count(_take(manifest, "root", dict))
    root = _decode_node(_take(manifest, "root", dict), tensors, len(names), len(levels))
    nodes = [node for _, node in root.walk()]
    services, confidence = _services(manifest, names), _confidence(manifest, len(levels))
    if manifest["format"] == 1 and (services or confidence or any(node.scaler.operations.size for node in nodes)):
        raise BundleError(f"{MANIFEST}: format 1 knows no derived inputs, services and confidence, and it has some")
    if len({node.id for node in nodes}) != len(nodes):
        raise BundleError(f"{MANIFEST}: two nodes have one id")
    for node in nodes:
        _check_weights(node, tensors)
    weights = {name: array for name, array in tensors.items() if "/scaler." not in name and "/" in name}
    onnx = _onnx_files(files, listed, {node.id for node in nodes})
    if manifest["format"] > 1:
        onnx = _filled(onnx, nodes, weights)
    for node in nodes:
        if (node.id, "fp32") in onnx:
            try:
                check_same_weights(onnx[node.id, "fp32"], node.network, weights_of(node.id, weights))
            except BundleError as error:
                raise BundleError(f"onnx/{node.id}.fp32.onnx {error}") from error
    definition = _take(manifest, "flow_definition", dict)
    return Bundle(
        name=_take(manifest, "name", str),
        levels=levels,
        features=names,
        units=units,
        flow_definition=FlowDefinition(
            _take(definition, "meter", str),
            _take(definition, "timeout_s", float),
            _take(definition, "description", str),
            _is(definition.get("profile", ""), str, "profile"),
            _view(definition),
        ),
        root=root,
        weights=weights,
        onnx=onnx,
        trained=_trained_flows(manifest, tensors),
        training=_take(manifest, "training", dict),
        metrics=_take(manifest, "metrics", dict),
        citations=tuple(_is(text, str, "citations") for text in _take(manifest, "citations", list)),
        license=_take(manifest, "license", str),
        model_card=files[MODEL_CARD].decode("utf-8", "replace") if MODEL_CARD in listed else "",
        confidence=confidence,
        services=services,
        location=location,
        prototypes=_prototypes(manifest, tensors, len(names)),
    )


def _tensors(data: bytes | None) -> dict[str, Any]:
    if data is None:
        raise BundleError(f"{WEIGHTS} is missing")
    import safetensors.numpy

    try:
        return safetensors.numpy.load(data)
    except Exception as error:  # the library names no narrower family for a malformed file
        raise BundleError(f"{WEIGHTS} is no safetensors file ({error})") from error


def _check_weights(node: Node, tensors: dict[str, Any]) -> None:
    for name, shape in parameter_shapes(node.network, node.scaler.inputs).items():
        array = tensors.get(f"{node.id}/{name}")
        if array is None or array.dtype != np.float32 or array.shape != shape:
            raise BundleError(f"node {node.id}: weight {name} is missing or no float32 {list(shape)}")
        if not np.isfinite(array).all():
            raise BundleError(f"node {node.id}: weight {name} is not finite")


def _check_units(names: tuple[str, ...], units: tuple[str, ...]) -> None:
    """A feature that the table does not know may be of a later version."""
    table = feature_table()
    for name, unit in zip(names, units, strict=True):
        if name in table and unit != table[name].unit:
            raise BundleError(f"{MANIFEST}: feature {name} is in {unit!r}, but flows have it in {table[name].unit!r}")


def _trained_flows(manifest: dict[str, Any], tensors: dict[str, Any]) -> TrainedFlows | None:
    """None for hashes by another rule than this version's; the first bundles hashed rows as bytes."""
    if "identity" not in manifest or _take(manifest, "identity", int) != IDENTITY:
        return None
    arrays = []
    for name, dtype in (("trained_flows", np.uint64), ("trained_inputs", np.uint32)):
        array = tensors.get(name)
        if array is None or array.dtype != dtype or array.ndim != 1:
            raise BundleError(f"{name} is missing or no {np.dtype(dtype)} list")
        arrays.append(array)
    return TrainedFlows(*arrays)


def _prototypes(manifest: dict[str, Any], tensors: dict[str, Any], features: int) -> Prototypes | None:
    if "prototypes" not in manifest:
        return None
    labels = []
    for entry in _take(manifest, "prototypes", list):
        pair = [_is(text, str, "prototypes") for text in _is(entry, list, "prototypes")]
        if len(pair) != 2:
            raise BundleError(f"{MANIFEST}: prototypes must be pairs of a protocol and an application")
        labels.append((pair[0], pair[1]))
    flows, values = tensors.get("prototypes.flows"), tensors.get("prototypes.values")
    if flows is None or flows.dtype != np.int64 or flows.shape != (len(labels),):
        raise BundleError(f"prototypes.flows is missing or no int64 list of {len(labels)}")
    if (flows < Prototypes.MIN_FLOWS).any():
        raise BundleError(f"a prototype is of fewer than {Prototypes.MIN_FLOWS} flows")
    shape = (len(labels), len(Prototypes.PERCENTILES), features)
    if values is None or values.dtype != np.float32 or values.shape != shape or np.isinf(values).any():
        raise BundleError(f"prototypes.values is missing or no finite float32 {list(shape)}")
    return Prototypes(tuple(labels), flows, values)


def _view(definition: dict[str, Any]) -> str:
    view = _is(definition.get("view", ""), str, "view")
    if view and view not in VIEWS:
        raise BundleError(f"{MANIFEST}: view {view!r} is none of {', '.join(VIEWS)}")
    return view


def _confidence(manifest: dict[str, Any], levels: int) -> ConfidenceMap | None:
    if "confidence" not in manifest:
        return None
    table = _take(manifest, "confidence", dict)
    packets = tuple(_is(number, int, "packets") for number in _take(table, "packets", list))
    try:
        lines = np.array(_take(table, "lines", list), np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise BundleError(f"{MANIFEST}: the lines of confidence are no numbers") from error
    least = _take(table, "least", float)
    if list(packets) != sorted(set(packets)) or len(packets) >= MAX_LABELS or any(not 0 < p < 1 << 53 for p in packets):
        raise BundleError(f"{MANIFEST}: the packets of confidence do not rise from 1")
    if lines.shape != (levels, len(packets) + 1, 2) or not np.isfinite(lines).all() or (lines[..., 0] <= 0).any():
        raise BundleError(f"{MANIFEST}: confidence needs a slope above 0 and an offset for each level and size")
    if not 0 <= least <= 1:
        raise BundleError(f"{MANIFEST}: the least confidence lies outside 0 to 1")
    return ConfidenceMap(packets, lines, float(least))


def _services(manifest: dict[str, Any], features: tuple[str, ...]) -> tuple[Service, ...]:
    services: list[Service] = []
    for entry in _is(manifest.get("services", []), list, "services"):
        table = _is(entry, dict, "services")
        name = _take(table, "name", str)
        numbers = {
            key: tuple(_is(number, int, key) for number in _take(table, key, list)) for key in ("ip_protocols", "ports")
        }
        if not name or any(service.name == name for service in services):
            raise BundleError(f"{MANIFEST}: services must have different names")
        for (key, values), (least, most) in zip(numbers.items(), ((0, MAX_IP_PROTOCOL), (1, MAX_PORT)), strict=True):
            if not all(least <= value <= most for value in values):
                raise BundleError(f"{MANIFEST}: service {name}: {key} must lie in {least} to {most}")
        if lack := [end for end in (ENDS if numbers["ports"] else ENDS[:1]) if end not in features]:
            raise BundleError(f"{MANIFEST}: service {name} is told by {', '.join(lack)}, which is no feature here")
        services.append(Service(name, numbers["ip_protocols"], numbers["ports"]))
    if len(services) > MAX_LABELS:
        raise BundleError(f"{MANIFEST}: more than {MAX_LABELS} services")
    return tuple(services)


def _onnx_files(files: dict[str, bytes], listed: Mapping[str, str], ids: set[str]) -> dict[tuple[str, str], bytes]:
    models = {}
    for name in listed:
        match = re.fullmatch(r"onnx/(.+)\.([a-z0-9-]+)\.onnx", name)
        if match is None:
            continue
        if match[1] not in ids:
            raise BundleError(f"{name} belongs to no node")
        try:
            check_self_contained(files[name])
        except BundleError as error:
            raise BundleError(f"{name} {error}") from error
        models[match[1], match[2]] = files[name]
    return models


def _filled(
    onnx: Mapping[tuple[str, str], bytes], nodes: Sequence[Node], weights: Mapping[str, Any]
) -> dict[tuple[str, str], bytes]:
    """The ONNX files with their weights."""
    filled: dict[tuple[str, str], bytes] = {}
    left = _MAX_TOTAL_BYTES
    for node in nodes:
        own = Weights(node.network, weights_of(node.id, weights))
        for (node_id, form), stub in onnx.items():
            if node_id != node.id:
                continue
            try:
                model = with_weights(stub, own, min(left, _MAX_FILE_BYTES))
            except BundleError as error:
                raise BundleError(f"onnx/{node_id}.{form}.onnx {error}") from error
            filled[node_id, form] = model
            left -= len(model)
    return filled


def _check_count(root: dict[str, Any]) -> None:
    """Raises BundleError for a tree of more than `_MAX_NODES` nodes."""
    tables, nodes = [root], 0
    while tables:
        nodes += 1
        if nodes > _MAX_NODES:
            raise BundleError(f"{MANIFEST}: more than {_MAX_NODES} nodes")
        children = tables.pop().get("children")
        tables += [
            child for child in (children.values() if isinstance(children, dict) else ()) if isinstance(child, dict)
        ]


def _decode_node(table: dict[str, Any], tensors: dict[str, Any], features: int, levels: int) -> Node:
    node_id = _take(table, "id", str)
    if not _NODE_ID.fullmatch(node_id):
        raise BundleError(f"{MANIFEST}: {node_id!r} is no node id")
    if levels < 1:
        raise BundleError(f"{MANIFEST}: node {node_id} lies deeper than the levels")
    labels = _texts(table, "labels", MAX_LABELS)
    network = parse_network(_is(line, str, "network") for line in _take(table, "network", list))
    scaler = _decode_scaler(node_id, tensors, features)
    if classes(network, scaler.inputs) != len(labels):
        raise BundleError(f"node {node_id}: the network has not one logit a label")
    work = cost(network, scaler.inputs)
    if (needed := 4 * (work.parameters + _FLOWS_AT_ONCE * work.activations)) > _MAX_NETWORK_BYTES:
        raise BundleError(f"node {node_id}: its layers need {needed} bytes of memory, more than {_MAX_NETWORK_BYTES}")
    temperature = _take(table, "temperature", float)
    # Engines divide by it as float32, in which the smallest float64 values are 0.
    if not 0 < temperature < 1e6 or np.float32(temperature) == 0:
        raise BundleError(f"node {node_id}: the temperature lies outside 0 to 1e6 as float32")
    children = _take(table, "children", dict)
    if unknown := set(children) - set(labels):
        raise BundleError(f"node {node_id}: children {sorted(unknown)} are not among its labels")
    return Node(
        id=node_id,
        labels=labels,
        network=network,
        scaler=scaler,
        temperature=float(temperature),
        thresholds=_thresholds(node_id, table),
        children={
            label: _decode_node(_is(child, dict, "children"), tensors, features, levels - 1)
            for label, child in children.items()
        },
    )


def _thresholds(node_id: str, table: dict[str, Any]) -> dict[str, float]:
    thresholds = _is(table.get("thresholds", {}), dict, "thresholds")
    if not all(type(value) in (float, int) and abs(value) < 1e6 for value in thresholds.values()):
        raise BundleError(f"node {node_id}: a threshold is no number within ±1e6")
    return {precision: float(value) for precision, value in thresholds.items()}


def _decode_scaler(node_id: str, tensors: dict[str, Any], features: int) -> Scaler:
    parts = {}
    derived = any(f"{node_id}/scaler.{part}" in tensors for part in DERIVED_ARRAYS)
    for part, dtype in SCALER_ARRAYS.items():
        if part in DERIVED_ARRAYS and not derived:
            continue
        array = tensors.get(f"{node_id}/scaler.{part}")
        if array is None or array.dtype != dtype or array.ndim != 1:
            raise BundleError(f"node {node_id}: scaler.{part} is missing or of another type")
        parts[part] = array
    if parts["sources"].size > _MAX_INPUTS:
        raise BundleError(f"node {node_id}: the scaler has more than {_MAX_INPUTS} inputs")
    read = np.concatenate([parts["sources"], parts.get("second", parts["sources"])])
    if parts["sources"].size == 0 or read.max() >= features:
        raise BundleError(f"node {node_id}: the scaler reads beyond the {features} features")
    scaler = Scaler(**parts)
    try:
        scaler.check()
    except ValueError as error:
        raise BundleError(f"node {node_id}: {error}") from error
    return scaler


def _encode(bundle: Bundle) -> dict[str, bytes]:
    import safetensors.numpy

    tensors: dict[str, npt.NDArray[Any]] = dict(bundle.weights)
    for node in bundle.nodes():
        for part in SCALER_ARRAYS:
            if part not in DERIVED_ARRAYS or node.scaler.operations.size:
                tensors[f"{node.id}/scaler.{part}"] = getattr(node.scaler, part)
    if bundle.trained is not None:
        tensors |= {"trained_flows": bundle.trained.identities, "trained_inputs": bundle.trained.inputs}
    if bundle.prototypes is not None:
        tensors |= {"prototypes.flows": bundle.prototypes.flows, "prototypes.values": bundle.prototypes.values}
    files: dict[str, bytes] = {WEIGHTS: safetensors.numpy.save(tensors), MODEL_CARD: bundle.model_card.encode()}
    exported = {node.id: Weights(node.network, bundle.weights_of(node)) for node in bundle.nodes()}
    for (node_id, form), data in sorted(bundle.onnx.items()):
        if node_id in exported:
            data = without_weights(data, exported[node_id])
        files[f"onnx/{node_id}.{form}.onnx"] = data
    manifest = {
        "format": FORMATS[-1],
        "name": bundle.name,
        "levels": bundle.levels,
        "features": [{"name": n, "unit": u} for n, u in zip(bundle.features, bundle.units, strict=True)],
        "flow_definition": {k: v for k, v in vars(bundle.flow_definition).items() if v or k != "profile"},
        "root": _encode_node(bundle.root),
        **({} if bundle.confidence is None else {"confidence": _encode_confidence(bundle.confidence)}),
        **({"services": [vars(service) for service in bundle.services]} if bundle.services else {}),
        **({} if bundle.trained is None else {"identity": IDENTITY}),
        **({} if bundle.prototypes is None else {"prototypes": bundle.prototypes.labels}),
        "training": bundle.training,
        "metrics": bundle.metrics,
        "citations": bundle.citations,
        "license": bundle.license,
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()
        },
    }
    text = json.dumps(manifest, ensure_ascii=False, allow_nan=False)
    return {MANIFEST: text.encode() + b"\n", **files}


def _encode_confidence(confidence: ConfidenceMap) -> dict[str, Any]:
    return {"packets": confidence.packets, "lines": confidence.lines.tolist(), "least": confidence.least}


def _encode_node(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "labels": node.labels,
        "network": [str(layer) for layer in node.network],
        "temperature": node.temperature,
        "thresholds": dict(node.thresholds),
        "children": {label: _encode_node(child) for label, child in node.children.items()},
    }
