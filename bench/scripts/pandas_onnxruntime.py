"""Labels flows the plain way: pandas reads, numpy scales, ONNX Runtime labels, pandas writes. A baseline.

python pandas_onnxruntime.py FLOWS.csv OUT.csv [--bundle NAME] [--threads N]      (CICDarknet2020's columns)
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped]

from etcc_edge.bundle import Bundle, Node, Scaler, load_bundle
from etcc_edge.engines.cascade import answer
from etcc_edge.engines.onnxruntime import silent_library
from etcc_edge.engines.result import Result
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


class Networks:
    """The networks of a bundle, each over all of its flows."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self.bundle, self.threads = bundle, threads

    def run(self, raw: F32) -> Result:
        result = Result.empty(self.bundle.levels, self.bundle.vocabulary(), len(raw))
        result.codes[1], result.confidence[1] = -1, np.nan
        result.codes[0], result.confidence[0] = label(self.bundle, self.bundle.root, raw, self.threads)
        for protocol, child in self.bundle.root.children.items():
            rows = result.codes[0] == self.bundle.root.labels.index(protocol)
            if rows.any():
                codes, result.confidence[1, rows] = label(self.bundle, child, raw[rows], self.threads)
                places = [self.bundle.vocabulary()[1].index(name) for name in child.labels]
                result.codes[1, rows] = np.array(places)[codes]
        return result


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
    # Names of services and confidences by the package's own numpy.
    result = answer(bundle, Networks(bundle, arguments.threads), raw).at_least(bundle.least_confidence)
    for level, confidence in zip(bundle.levels, result.confidence, strict=True):
        table[f"etcc_{level}"] = result.labels(level)
        table[f"etcc_{level}_confidence"] = confidence.astype(float).round(4)
    table.to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()
