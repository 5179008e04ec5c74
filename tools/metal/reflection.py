"""What a shader offers to the host: kernels, their arguments, and function constants."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

# Attribute of a kernel argument -> name in the SIMT runtime's C interface.
POSITIONS = {
    "thread_position_in_grid": "kSimtThreadPositionInGrid",
    "thread_position_in_threadgroup": "kSimtThreadPositionInThreadgroup",
    "thread_index_in_threadgroup": "kSimtThreadIndexInThreadgroup",
    "threadgroup_position_in_grid": "kSimtThreadgroupPositionInGrid",
    "threads_per_threadgroup": "kSimtThreadsPerThreadgroup",
    "dispatch_threads_per_threadgroup": "kSimtThreadsPerThreadgroup",
    "threads_per_grid": "kSimtThreadsPerGrid",
    "threadgroups_per_grid": "kSimtThreadgroupsPerGrid",
    "thread_index_in_simdgroup": "kSimtThreadIndexInSimdgroup",
    "simdgroup_index_in_threadgroup": "kSimtSimdgroupIndexInThreadgroup",
    "simdgroups_per_threadgroup": "kSimtSimdgroupsPerThreadgroup",
    "dispatch_simdgroups_per_threadgroup": "kSimtSimdgroupsPerThreadgroup",
    "threads_per_simdgroup": "kSimtThreadsPerSimdgroup",
    "thread_execution_width": "kSimtThreadsPerSimdgroup",
    "thread_index_in_quadgroup": "kSimtThreadIndexInQuadgroup",
    "quadgroup_index_in_threadgroup": "kSimtQuadgroupIndexInThreadgroup",
    "quadgroups_per_threadgroup": "kSimtQuadgroupsPerThreadgroup",
}
MAX_BUFFERS = 31


@dataclass
class Argument:
    """A kernel argument: ``kind`` is buffer, threadgroup or position."""

    name: str
    type: str
    kind: str
    index: int
    access: str
    condition: str | None
    attribute: str


@dataclass
class Constant:
    """A function constant; optional if the shader asks is_function_constant_defined about it."""

    index: int
    name: str
    type: str
    optional: bool


@dataclass
class Kernel:
    """A kernel function (or template) with its arguments and the names under which the host finds it."""

    name: str
    file: str
    line: int
    template_parameters: list[str]
    arguments: list[Argument]
    max_threads_per_threadgroup: int
    threadgroup_variables: list[str]
    host_names: dict[str, str] = field(default_factory=dict)


@dataclass
class Reflection:
    """Everything that one .metal file declares for the host."""

    kernels: list[Kernel]
    constants: list[Constant]

    def to_json(self) -> dict[str, Any]:
        """Return plain data: host name -> arguments and constants, as the host-side checks read it."""
        constants = [asdict(constant) for constant in self.constants]
        table: dict[str, Any] = {}
        for kernel in self.kernels:
            entry = asdict(kernel)
            names = entry.pop("host_names")
            for host_name, target in names.items():
                table[host_name] = {**entry, "target": target, "function_constants": constants}
        return {"kernels": table, "function_constants": constants}
