"""Which undefined symbols the check of the cross-built extension lets pass."""

import pytest
from check_wheel import exported_symbols, unknown_symbols

STUB = """--- !tapi-tbd
exports:
  - targets: [ arm64-macos ]
    symbols: [ _one, '_two$INODE64',
               _three ]
    objc-classes: [ Thing ]
"""


def test_symbols_of_a_stub():
    assert exported_symbols(STUB) == {"_one", "_two$INODE64", "_three", "_OBJC_CLASS_$_Thing"}


def test_symbols_that_nobody_provides():
    pytest.importorskip("ziglang")
    known = [
        "_PyList_New",
        "_MTLCreateSystemDefaultDevice",
        "_OBJC_CLASS_$_NSString",
        "_objc_retain",
        "_malloc",
    ]
    strange = ["_MTLCreateSystemDefaultDevicf", "_OBJC_CLASS_$_NSSTring", "__ZN9metalhead6DeviceC1Ev"]
    assert unknown_symbols(known + strange) == sorted(strange)
