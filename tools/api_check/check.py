"""Command line: `python -m tools.api_check.check`; prints every disagreement and fails if there is one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from .apple import Api, Signature, read_enum_values, read_metal_cpp
from .ours import Declarations, Message, read_declarations, read_messages
from .wheels import ROOT, WheelUnavailableError, metal_cpp, pyobjc_metadata

BACKEND = ROOT / "cpp" / "devices" / "metal"

# Foundation methods that metal-cpp has no use for; their declarations were taken from Apple's documentation.
NOT_IN_METAL_CPP = {
    ("NSString", "stringWithUTF8String:"),
    ("NSArray", "objectAtIndexedSubscript:"),
    ("NSURL", "path"),
}
# Root class methods, which metal-cpp sends through templates.
ROOT_SELECTORS = {"alloc", "new", "init", "class", "copy", "dealloc", "respondsToSelector:"}
# The same type under two names.
SAME_TYPES = {
    "BOOL": "bool",
    "NSErrorDomain": "NSString*",
    "ObjectType": "_Object*",
    "ObjectType*": "Object**",
    "MTLAutoreleasedComputePipelineReflection*": "MTLComputePipelineReflection**",
}


def same_type(ours: str, apples: str) -> bool:
    """Tell whether two short types mean the same to the callee."""
    ours, apples = SAME_TYPES.get(ours, ours), SAME_TYPES.get(apples, apples)
    if ours == apples or (ours in ("id", "instancetype") and apples.endswith("*")):
        return True
    return ours == "MTLCommandBufferHandler" and "HandlerBlock" in apples


def same_signature(ours: Signature, apples: Signature) -> bool:
    """Tell whether result and all arguments agree."""
    if len(ours.arguments) != len(apples.arguments) or not same_type(ours.result, apples.result):
        return False
    return all(same_type(a, b) for a, b in zip(ours.arguments, apples.arguments, strict=True))


def declaration_problems(declarations: Declarations, api: Api) -> list[str]:
    """Return methods of the look-alike that Apple does not have, or has with other types."""
    problems = []
    for name, methods in declarations.methods.items():
        for selector, ours in methods.items():
            if selector in ROOT_SELECTORS or (name, selector) in NOT_IN_METAL_CPP:
                continue
            candidates = api.find(name, selector)
            if not candidates:
                problems.append(f"[{name} {selector}] is not in metal-cpp")
            elif not any(same_signature(ours, apples) for apples in candidates):
                problems.append(f"[{name} {selector}] is declared {ours}, metal-cpp has {candidates}")
    return problems


def message_problems(messages: set[Message], declarations: Declarations) -> list[str]:
    """Return sends to receivers that do not declare the selector."""
    return [
        f"{message.file}: [{message.receiver} {message.selector}] is not declared"
        for message in sorted(messages, key=str)
        if message.selector not in ROOT_SELECTORS and not declarations.has(message.receiver, message.selector)
    ]


def enum_problems(declared: Mapping[str, int], apples: Mapping[str, int]) -> list[str]:
    """Return constants whose value is not Apple's."""
    return [
        f"{name} is {value}, Apple's is {apples.get(name, 'absent')}"
        for name, value in declared.items()
        if name.startswith("MTL") and apples.get(name) != value
    ]


def main() -> int:
    """Return 0 if everything agrees or the wheels cannot be had, 1 if something does not."""
    try:
        headers: Path = metal_cpp()
        metadata: Path = pyobjc_metadata()
    except WheelUnavailableError as error:
        print(f"api_check: SKIPPED, nothing was checked: {error}")
        return 0
    api = read_metal_cpp(sorted(headers.glob("Metal/*.hpp")) + sorted(headers.glob("Foundation/*.hpp")))
    declarations = read_declarations()
    sources = sorted(BACKEND.glob("*.mm"))
    messages = set().union(*(read_messages(source) for source in sources))
    problems = declaration_problems(declarations, api)
    problems += message_problems(messages, declarations)
    problems += enum_problems(declarations.enum_values, read_enum_values(metadata))
    for problem in problems:
        print(f"api_check: {problem}")
    count = sum(len(methods) for methods in declarations.methods.values())
    print(
        f"api_check: {len(messages)} message sends in {len(sources)} files, {count} declared methods, "
        f"{len(declarations.enum_values)} enum values: {len(problems)} disagreements"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
