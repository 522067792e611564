"""Whatever is changed in a bundle whose hashes still fit, it is refused in one way, or it is a bundle that labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etcc_edge.bundle import Bundle, load_bundle, save_bundle
from etcc_edge.errors import BackendError, BundleError
from etcc_edge.infer.classifier import Classifier

pytestmark = pytest.mark.slow

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([[], {}, [[]], {"": {}}, "dense 5", "conv 1000000000 3", "fp32", "../x", "\ud800"]),
)
SETTINGS = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def files(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole") / "tiny"
    save_bundle(tiny_bundle, folder)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def written(files: dict[str, bytes], folder: Path) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def refused_or_labels(folder: Path) -> None:
    try:
        bundle = load_bundle(folder)
    except BundleError:
        return
    flows = np.vstack([np.zeros((1, len(bundle.features)), np.float32), np.full((1, len(bundle.features)), 1e9)])
    try:
        result = Classifier(bundle).predict(flows)
    except BackendError:  # ONNX Runtime may refuse a network that the native engine does not take
        return
    assert result.codes.shape == (len(bundle.levels), 2)
    for codes, names in zip(result.codes, result.vocabulary, strict=True):
        assert ((codes >= -1) & (codes < len(names))).all()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of everything within a JSON value."""
    if path:
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else []):
        yield from places(inner, (*path, key))


@SETTINGS
@given(data=st.data())
def test_any_change_of_the_manifest(data: st.DataObject, files: dict[str, bytes], tmp_path: Path) -> None:
    manifest = json.loads(files["bundle.json"])
    for _ in range(data.draw(st.integers(1, 3))):
        *path, last = data.draw(st.sampled_from(sorted(places(manifest), key=repr)))
        inner = manifest
        for key in path:
            inner = inner[key]
        if data.draw(st.booleans()):
            inner[last] = data.draw(ODD)
        else:
            del inner[last]
    text = json.dumps(manifest).encode("utf-8", "surrogatepass")
    refused_or_labels(written({**files, "bundle.json": text}, tmp_path))


@SETTINGS
@given(data=st.data())
def test_any_bytes_in_a_file(data: st.DataObject, files: dict[str, bytes], tmp_path: Path) -> None:
    name = data.draw(st.sampled_from(sorted(set(files) - {"bundle.json", "MODEL_CARD.md"})))
    changed = bytearray(files[name])
    for _ in range(data.draw(st.integers(1, 4))):
        # Headers and lengths lie at the start, where most changes should be.
        at = data.draw(st.one_of(st.integers(0, min(400, len(changed))), st.integers(0, len(changed))))
        width = data.draw(st.integers(0, 16))
        changed[at : at + width] = data.draw(st.binary(max_size=16))
    manifest = json.loads(files["bundle.json"])
    manifest["files"][name] = {"sha256": hashlib.sha256(changed).hexdigest(), "bytes": len(changed)}
    refused_or_labels(written({**files, name: bytes(changed), "bundle.json": json.dumps(manifest).encode()}, tmp_path))
