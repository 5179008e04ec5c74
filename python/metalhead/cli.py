"""The `metalhead` command: prints what this installation can do."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from . import info


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="metalhead", description="Describe this installation of metalhead.")
    parser.add_argument("--json", action="store_true", help="print the description as JSON")
    options = parser.parse_args(arguments)
    facts = info()
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    for name, value in facts.items():
        if not isinstance(value, dict):
            print(f"{name:16} {value}")
    for device, description in facts["devices"].items():
        print(f"\ndevice {device}")
        for name, value in description.items():
            print(f"  {name:22} {value}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
