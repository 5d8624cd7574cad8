"""All faults."""

from __future__ import annotations

from faults import apart, files, harness, honest, network, resources, run, structure, values
from faults.kit import Fault

FAMILIES = (harness, apart, values, structure, resources, files, network, run, honest)
FAULTS: dict[str, Fault] = {fault.name: fault for family in FAMILIES for fault in family.FAULTS}
assert len(FAULTS) == sum(len(family.FAULTS) for family in FAMILIES), "a name stands twice"
ROWS = 54  # of the first list of faults
