"""Labels flows the plain way: pandas reads, numpy scales, ONNX Runtime labels, pandas writes. A baseline.

python pandas_onnxruntime.py FLOWS.csv OUT.csv [--bundle NAME] [--threads N]      (CICDarknet2020's columns)
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped]

from etcc_edge.bundle import Bundle, Node, Scaler, load_bundle
from etcc_edge.engines.onnxruntime import silent_library
from etcc_edge.flows.features import dialect_named

ort = silent_library()
F32 = npt.NDArray[np.float32]
BATCH = 128  # the fastest of 32 to 4096


def scale(scaler: Scaler, raw: F32) -> F32:
    out = np.empty((len(raw), scaler.inputs), np.float32)
    for i in range(scaler.inputs):
        value = scaler.value(i, raw.T)
        knots = slice(scaler.starts[i], scaler.starts[i + 1])
        out[:, i] = np.interp(value, scaler.x[knots], scaler.y[knots])
        out[np.isnan(value), i] = scaler.missing[i]
    return out


def label(bundle: Bundle, node: Node, raw: F32, threads: int) -> tuple[npt.NDArray[np.int64], F32]:
    """Label codes of one network and their confidences."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(bundle.onnx[node.id, "fp32"], options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    scaled = scale(node.scaler, raw)
    parts = [session.run(None, {name: scaled[i : i + BATCH]})[0] for i in range(0, len(raw), BATCH)]
    logits = np.concatenate(parts) / np.float32(node.temperature)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return logits.argmax(axis=1), weights.max(axis=1) / weights.sum(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("flows")
    parser.add_argument("out")
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    names = dialect_named("cicdarknet2020").columns

    table = pd.read_csv(arguments.flows)
    by_key = {column.lower(): column for column in table.columns}
    raw = table[[by_key[names[feature][0]] for feature in bundle.features]].to_numpy(np.float32)
    raw[~np.isfinite(raw)] = np.nan
    codes, confidence = label(bundle, bundle.root, raw, arguments.threads)
    table["etcc_protocol"] = np.array(bundle.root.labels)[codes]
    table["etcc_protocol_confidence"] = confidence.astype(float).round(4)
    table["etcc_application"] = ""
    table["etcc_application_confidence"] = np.nan
    for protocol, child in bundle.root.children.items():
        rows = table["etcc_protocol"] == protocol
        if rows.any():
            codes, confidence = label(bundle, child, raw[rows], arguments.threads)
            table.loc[rows, "etcc_application"] = np.array(child.labels)[codes]
            table.loc[rows, "etcc_application_confidence"] = confidence.astype(float).round(4)
    table.to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()
