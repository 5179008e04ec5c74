"""The checks must find what they are for: each test plants one mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.api_check.apple import Api, Signature, argument_types, plain_type
from tools.api_check.bindings import ROOT, check_reflection
from tools.api_check.check import declaration_problems, enum_problems, message_problems
from tools.api_check.ours import Declarations, Message

HEADER = ROOT / "metal" / "params" / "function_constants.h"
BUFFER = Signature("void", ("MTLBuffer*", "NSUInteger"))


def api() -> Api:
    return Api({"MTLComputeCommandEncoder": {"setBuffer:offset:": [BUFFER]}}, {})


def declared(selector: str, signature: Signature) -> Declarations:
    return Declarations({"MTLComputeCommandEncoder": {selector: signature}}, {}, {})


def test_types_of_both_languages_are_one() -> None:
    assert plain_type("id<MTLBuffer>  _Nullable __strong") == plain_type("const MTL::Buffer*") == "MTLBuffer*"
    assert argument_types("const NS::String* name, NS::UInteger index") == ("NSString*", "NSUInteger")


def test_agreement() -> None:
    assert declaration_problems(declared("setBuffer:offset:", BUFFER), api()) == []


@pytest.mark.parametrize(
    ("selector", "signature"),
    [
        ("setBufer:offset:", BUFFER),
        ("setBuffer:offset:", Signature("void", ("MTLBuffer*", "int"))),
        ("setBuffer:offset:", Signature("BOOL", ("MTLBuffer*", "NSUInteger"))),
        ("setBuffer:offset:", Signature("void", ("MTLBuffer*",))),
    ],
)
def test_misspelt_or_wrongly_typed_methods_are_found(selector: str, signature: Signature) -> None:
    assert len(declaration_problems(declared(selector, signature), api())) == 1


def test_sends_to_the_wrong_receiver_are_found() -> None:
    known = declared("setBuffer:offset:", BUFFER)
    assert message_problems({Message("a.mm", "MTLComputeCommandEncoder", "setBuffer:offset:")}, known) == []
    assert len(message_problems({Message("a.mm", "MTLCommandBuffer", "setBuffer:offset:")}, known)) == 1
    assert len(message_problems({Message("a.mm", "id", "commit")}, known)) == 1


def test_wrong_enum_values_are_found() -> None:
    assert enum_problems({"MTLDataTypeBool": 53}, {"MTLDataTypeBool": 53}) == []
    assert len(enum_problems({"MTLDataTypeBool": 54}, {"MTLDataTypeBool": 53})) == 1
    assert len(enum_problems({"MTLDataTypeBoool": 53}, {"MTLDataTypeBool": 53})) == 1


def reflection(index: int, type_: str, constant_index: int, constant_type: str) -> dict[str, object]:
    argument = {"name": "x", "kind": "buffer", "index": index, "type": type_}
    constant = {"name": "c", "index": constant_index, "type": constant_type}
    return {"kernels": {"k": {"arguments": [argument], "function_constants": [constant]}}}


def test_bindings_that_agree() -> None:
    assert check_reflection(reflection(0, "device const float*", 3, "bool"), HEADER) == []
    assert check_reflection(reflection(30, "constant AttentionParams&", 0, "uint"), HEADER) == []


@pytest.mark.parametrize(
    ("index", "type_", "constant_index", "constant_type"),
    [
        (20, "device const float*", 3, "bool"),
        (30, "device const float*", 3, "bool"),
        (0, "device const float*", 3, "uint"),
        (0, "device const float*", 0, "bool"),
        (0, "device const float*", 31, "bool"),
    ],
)
def test_bindings_that_disagree_are_found(
    index: int, type_: str, constant_index: int, constant_type: str
) -> None:
    assert len(check_reflection(reflection(index, type_, constant_index, constant_type), Path(HEADER))) == 1
