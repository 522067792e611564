"""The stub says what the compiled module holds."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import etcc_edge
import etcc_edge._native as _native

STUB = Path(etcc_edge.__file__).with_name("_native.pyi")
BODY = ast.parse(STUB.read_text(encoding="utf-8")).body
ARRAYS = {"float32": "F32", "int32": "I32", "int64": "I64", "bool": "npt.NDArray[np.bool_]"}
# What the stub names, and the module gives without a name.
TYPES = {("RowParser.parse", "dict"): "RowsDict", ("Flows.cells", "tuple"): "tuple[bytes, I64]"}


def written(function: ast.FunctionDef) -> tuple[str, str]:
    """Arguments and result as text."""
    return ast.unparse(function.args), ast.unparse(function.returns)


def of_stub() -> dict[str, tuple[str, str]]:
    """Signatures of functions, methods and properties by dotted name."""
    signatures = {}
    for node in BODY:
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for function in node.body if prefix else [node]:
            if isinstance(function, ast.FunctionDef):
                signatures[prefix + function.name] = written(function)
    return signatures


def signature_of(name: str, member: object) -> tuple[str, str]:
    """What nanobind knows of a function, in the words of the stub."""
    function = member.fget if isinstance(member, property) else member
    [(text, _, defaults)] = function.__nb_signature__
    for i, value in enumerate(defaults or ()):
        text = text.replace(f"\\{i}", repr(value))
    text = text.replace("collections.abc.", "").replace("etcc_edge._native.", "")
    text = re.sub(r"(numpy\.)?ndarray\[dtype=(\w+)[^]]*\]", lambda m: ARRAYS.get(m[2], f"npt.NDArray[np.{m[2]}]"), text)
    text = re.sub(r"(numpy\.)?ndarray\[shape=[^]]*\]", "npt.NDArray[Any]", text)  # of any type
    if isinstance(member, property):
        text = text.replace("def (", "def value(")
    arguments, returns = written(ast.parse(text + ": ...").body[0])
    return arguments, TYPES.get((name, returns), returns)


def of_module() -> dict[str, tuple[str, str]]:
    members = {}
    for name, value in vars(_native).items():
        if isinstance(value, type) and not issubclass(value, Exception):
            members |= {f"{name}.{inner}": member for inner, member in vars(value).items()}
        else:
            members[name] = value
    return {
        name: signature_of(name, member)
        for name, member in members.items()
        if hasattr(member, "__nb_signature__") or isinstance(member, property)
    }


def test_every_function_has_the_names_types_and_defaults_of_the_stub() -> None:
    assert of_module() == of_stub()


def test_every_public_name_is_in_both() -> None:
    names = {node.name for node in BODY if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    names |= {node.target.id for node in BODY if isinstance(node, ast.AnnAssign)}
    assert names - {"RowsDict"} == {name for name in vars(_native) if not name.startswith("_")}


def test_parsed_rows_have_the_columns_of_the_stub() -> None:
    rows = _native.RowParser(1, [], [], b"").parse(b"1\n", True)
    [stub] = [node for node in BODY if getattr(node, "name", "") == "RowsDict"]
    assert list(rows) == [column.target.id for column in stub.body]
