"""Looking into a `torch.export` archive before torch does.

`torch.export.load` runs code from an archive through many doors (read in torch 2.13, `torch/export/pt2_archive` and
`torch/_export/serde/serialize.py`): pickled members (`data/sample_inputs`, weights and constants marked `use_pickle`,
custom and opaque objects), compiled libraries (`data/aotinductor`), symbolic sizes (`sympy.sympify` evaluates them),
guards and names (both end in source code that is executed), operator names (`torch.os.system` is resolved), and tree
specs (which import modules). So only what is known to be harmless is let through, and a fresh archive is written from
it: torch then reads nothing that was not checked here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any, TypeAlias

import torch

from audit.errors import ModelError
from audit.loading.pickles import REMEDY, damaged, vet

#: torch's reader of zip archives, the one whose view of the archive counts
Read: TypeAlias = Callable[[str], bytes]

_PROGRAM = "models/model.json"
_WEIGHTS = "data/weights/"
_CONSTANTS = "data/constants/"

_NAMESPACES = "aten|prim|prims|quantized|quantized_decomposed|torchvision"
_HIGHER_ORDER = "cond|while_loop|map_impl|scan|associative_scan|wrap_with_set_grad_enabled|wrap_with_autocast"
_ARITHMETIC = (
    "getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|invert|lshift|rshift"
)
_TARGET = re.compile(
    rf"torch\.ops\.({_NAMESPACES})\.(?!from_file\b|save\b)(?!__)\w+\.\w+"
    r"|torch\.ops\.aten\.__i?(and|or|xor|lshift|rshift)__\.\w+"
    rf"|torch\.ops\.higher_order\.({_HIGHER_ORDER})"
    rf"|_operator\.({_ARITHMETIC})"
    rf"|math\.({'|'.join(n for n in dir(math) if not n.startswith('_'))})"
    r"|torch\.(_sym|sym)_\w+"
)
_FUNCTIONS = (
    "FloorDiv ModularIndexing Where PythonMod Mod CleanDiv CeilToInt FloorToInt CeilDiv LShift RShift PowByNatural "
    "FloatPow FloatTrueDiv IntTrueDiv IsNonOverlappingAndDenseIndicator TruncToFloat TruncToInt RoundToInt RoundDecimal "
    "ToFloat Identity Add Mul Pow Eq Ne Equality Unequality Lt Le Gt Ge StrictLessThan LessThan StrictGreaterThan "
    "GreaterThan And Or Not Min Max Abs Piecewise ExprCondPair Tuple floor ceiling sqrt Integer Float Rational Symbol "
    "positive nonnegative negative zero nonzero integer real finite precision True False true false oo int_oo"
)
#: numbers, known functions, symbols (s0, u3, zuf2 ..., quoted in `Symbol('s0')`), operators; a dot only in a number
_EXPRESSION = re.compile(
    rf"(\s|'(\d+(\.\d+)?|[a-z]{{1,4}}\d+)'|\d+(\.\d+)?(e[+-]?\d+)?(?![\w.])|({'|'.join(_FUNCTIONS.split())})(?!\w)"
    r"|[a-z]{1,4}\d+(?!\w)|[-+*/%(),<>=&|~])+"
)
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_WORD = re.compile(r"[\w.]*", re.ASCII)
#: string arguments ("none", "tanh", "bij,bjk->bik") and versions ("2.13.0+cpu")
_TEXT = re.compile(r"[\w.,:+\-> ]*", re.ASCII)
_TREES = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}


def sanitised(archive: bytes, source: str) -> BytesIO:
    """Return a fresh archive with what is harmless in this one; sample inputs and metadata are left out.

    Args:
        archive: a `.pt2` file.
        source: what to call it in messages.

    Raises:
        ModelError: the archive is damaged, or the model needs something that could run code.
    """
    try:
        reader = torch._C.PyTorchFileReader(BytesIO(archive))
        names = set(reader.get_all_records())
        return _rewritten(names, reader.get_record, source)
    except ModelError:
        raise
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise damaged(source, error) from None


def _rewritten(names: set[str], read: Read, source: str) -> BytesIO:
    if _PROGRAM not in names:
        if any(n.startswith("data/aotinductor/") for n in names):
            raise _refused(source, "a compiled library (AOTInductor)", "torch.export.save the program itself")
        raise ModelError(
            f"Expected {_PROGRAM} in {source}, found an archive without; try writing it with torch.export.save of "
            "torch 2.8 or newer."
        )
    program = json.loads(read(_PROGRAM))
    _clean(program, source)
    records = {"archive_format": b"pt2", "archive_version": read("archive_version")}
    records[_PROGRAM] = json.dumps(program).encode()
    records["data/sample_inputs/model.pt"] = b""  # torch takes nothing for no sample inputs
    for folder, kind in ((_WEIGHTS, "weights"), (_CONSTANTS, "constants")):
        records |= _payload(names, read, folder, kind, source)
    buffer = BytesIO()
    writer = torch._C.PyTorchFileWriter(buffer)
    for name, content in records.items():
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    buffer.seek(0)
    return buffer


def _payload(names: set[str], read: Read, folder: str, kind: str, source: str) -> dict[str, bytes]:
    """The records that hold tensors: raw bytes, or (older archives) one file by `torch.save`."""
    whole = f"{folder}model.pt"
    if whole in names:
        content = read(whole)
        vet(content, f"{source} ({whole})")
        return {whole: content}
    config = f"{folder}model_{kind}_config.json"
    document = json.loads(read(config))
    _check(document, "", source)
    records = {config: json.dumps(document).encode()}
    for entry in document["config"].values():
        name = entry["path_name"]
        # torch decides by the name, then by the flag
        if entry["use_pickle"] is not False or not re.fullmatch(r"(weight|tensor)_\d+", name):
            raise _refused(source, f"a pickled object ({folder}{name})", REMEDY)
        records[folder + name] = read(folder + name)
    return records


def _clean(program: dict[str, Any], source: str) -> None:
    """Drop what a forward pass does not need, check what it does."""
    program["guards_code"] = []
    module = program["graph_module"]
    module["metadata"] = {}
    # the first entry is the program itself; the others only serve to take it apart again
    module["module_call_graph"] = module["module_call_graph"][:1]
    _check(program, "", source)


def _check(value: Any, key: str, source: str) -> None:
    """Walk the document; every string in it must be of the harmless kind that its key asks for."""
    if isinstance(value, dict):
        value.pop("stack_trace", None)
        if "target" in value and "metadata" in value:
            value["metadata"] = {}
        for inner, item in value.items():
            if not _WORD.fullmatch(inner):
                raise _suspicious(source, "a name", inner)
            _check(item, inner, source)
    elif isinstance(value, list):
        for item in value:
            _check(item, key, source)
    elif isinstance(value, str):
        _check_string(value, key, source)


def _check_string(text: str, key: str, source: str) -> None:
    if key in ("target", "as_operator"):
        if not _TARGET.fullmatch(text):
            raise _suspicious(source, "an operation", text)
    elif key == "expr_str":
        if not _EXPRESSION.fullmatch(text):
            raise _suspicious(source, "a size", text)
    elif key in ("in_spec", "out_spec"):
        _check_tree(json.loads(text)[1], source)
    elif key in ("name", "as_name", "forward_arg_names"):
        if text and not _IDENTIFIER.fullmatch(text):
            raise _suspicious(source, "a name", text)
    elif not (_TEXT if key in ("as_string", "as_strings", "torch_version") else _WORD).fullmatch(text):
        raise _suspicious(source, "a string", text)


def _check_tree(spec: dict[str, Any], source: str) -> None:
    if spec["type"] not in _TREES:
        raise _suspicious(source, "an input or output of type", str(spec["type"]))
    context = json.loads(spec["context"]) if spec["context"] else None
    if not (context is None or (isinstance(context, list) and all(_is_key(k) for k in context))):
        raise _suspicious(source, "a tree of inputs", str(context))
    for child in spec["children_spec"]:
        _check_tree(child, source)


def _is_key(value: object) -> bool:
    return isinstance(value, str) and bool(_IDENTIFIER.fullmatch(value))


def _suspicious(source: str, what: str, text: str) -> ModelError:
    return _refused(source, f"{what} not known to be harmless, {text[:80]!r}", REMEDY)


def _refused(source: str, found: str, remedy: str) -> ModelError:
    return ModelError(
        f"Expected an exported program of tensors and torch operations, found in {source} {found}; try this: {remedy}."
    )
