"""Fuzz targets: what reads the bytes of strangers in Python. Each takes any bytes and says whether they were
accepted; only an error that breaks a promise leaves it.

``nox -s fuzz`` runs them by coverage (``run.py``), the tests on a few inputs. The C++ core has its own in
``tests/native/``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from etcc_edge.bundle import load_bundle
from etcc_edge.engines.gpu.cache import EngineCache, recipe_key
from etcc_edge.errors import BackendError, BundleError, EtccError
from etcc_edge.flows.open import open_flows
from etcc_edge.infer.classifier import Classifier

DATA = Path(__file__).parents[1] / "data"
_MEMORY = "/dev/shm"
_SCRATCH = tempfile.TemporaryDirectory(prefix="etcc-edge-fuzz-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
FOLDER = Path(_SCRATCH.name)  # of the input at hand
ENGINE, RECIPE = b"an engine", {"precision": "fp16", "onnx": "a hash"}


def flows(data: bytes) -> bool:
    """A file of flows, in whatever form its first bytes say: header, rows, packing, Arrow's and Parquet's schemas."""
    path = FOLDER / "flows"
    path.write_bytes(data)
    try:
        with open_flows(path) as file:
            for batch in file.batches(list(file.reading.columns)):
                assert batch.features.shape == (len(batch), len(file.reading.columns))
    except EtccError as error:
        assert_one_line(error)
        return False
    return True


@cache
def bundle_files() -> dict[str, bytes]:
    """Of a small bundle."""
    with zipfile.ZipFile(DATA / "untrained-bundle-format-1.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _is_bundle(files: dict[str, bytes]) -> bool:
    path = FOLDER / "bundle"
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    try:
        bundle = load_bundle(path)
        if sum(array.size for array in bundle.weights.values()) < 1 << 20:
            result = Classifier(bundle, threads=1).predict(np.zeros((2, len(bundle.features)), np.float32))
            assert result.codes.shape == (len(bundle.levels), 2)
    except (
        BundleError,
        BackendError,
    ) as error:  # ONNX Runtime may refuse a network that the native engine does not take
        assert_one_line(error)
        return False
    return True


def manifest(data: bytes) -> bool:
    """A bundle's bundle.json."""
    return _is_bundle({**bundle_files(), "bundle.json": data})


def weights(data: bytes) -> bool:
    """A bundle's weights.safetensors, whose hash the manifest vouches for."""
    files = bundle_files()
    table = json.loads(files["bundle.json"])
    table["files"]["weights.safetensors"] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return _is_bundle({**files, "weights.safetensors": data, "bundle.json": json.dumps(table).encode()})


def cache_manifest(data: bytes) -> bool:
    """What the cache of engines says of one of them; what it does not vouch for is built anew."""
    engines = EngineCache(FOLDER / "engines")
    engines.folder.mkdir(mode=0o700, exist_ok=True)
    for path, content in zip(engines._paths(recipe_key(RECIPE)), (ENGINE, data), strict=True):
        path.write_bytes(content)
        path.chmod(0o600)
    engine = engines.get(RECIPE, lambda: b"built")
    assert engine.data == (b"built" if engine.built else ENGINE)
    return not engine.built


def assert_one_line(error: EtccError) -> None:
    assert str(error)
    assert "\n" not in str(error)


TARGETS: dict[str, Callable[[bytes], bool]] = {
    "flows": flows,
    "manifest": manifest,
    "weights": weights,
    "cache_manifest": cache_manifest,
}


def seeds(target: str) -> list[bytes]:
    """Inputs that the target reads, made anew."""
    if target == "flows":
        start = b"".join((DATA / "generated-flows.csv").read_bytes().splitlines(keepends=True)[:4])
        return [start, *_tables(start)]
    if target == "cache_manifest":
        engines = EngineCache(FOLDER / "engines")
        engines.get(RECIPE, lambda: ENGINE)
        return [engines._paths(recipe_key(RECIPE))[1].read_bytes()]
    return [bundle_files()[{"manifest": "bundle.json", "weights": "weights.safetensors"}[target]]]


def _tables(csv: bytes) -> list[bytes]:
    """The same flows as Arrow IPC and Parquet."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    table = pyarrow.csv.read_csv(io.BytesIO(csv))
    ipc, parquet = io.BytesIO(), io.BytesIO()
    with pa.ipc.new_file(ipc, table.schema) as writer:
        writer.write_table(table)
    pyarrow.parquet.write_table(table, parquet)
    return [ipc.getvalue(), parquet.getvalue()]
