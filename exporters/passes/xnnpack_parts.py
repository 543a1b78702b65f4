"""Which operators of a program XNNPACK computes, and in how few parts."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from torch.fx.passes.infra.partitioner import Partition


class XnnpackParts(XnnpackPartitioner):  # type: ignore[misc]  # its package has no types
    """One part for all operators of XNNPACK between which nothing else has to be computed.

    Its own way compares every two parts, for minutes, and can give parts of which each waits for
    the other.
    """

    def generate_partitions(self, program: Any) -> list[Partition]:
        groups = self.get_matched_nodes_from_configs(program)
        group_of = {node: group for group in groups for node in group}
        # How often a value has come back to XNNPACK. A group waits for the last of what it needs.
        stage: dict[Any, int] = defaultdict(int)
        waiting = True
        while waiting:
            waiting = False
            for node in program.graph_module.graph.nodes:
                needed = [
                    stage[source] + (node in group_of and source not in group_of)
                    for source in node.all_input_nodes
                    if source.op == "call_function"
                ]
                latest = max([stage[node], *needed])
                for each in group_of.get(node, [node]):
                    waiting |= stage[each] != latest
                    stage[each] = latest
        parts = defaultdict(list)
        for node in group_of:
            parts[stage[node]].append(node)
        return [Partition(id=number, nodes=parts[number]) for number in sorted(parts)]
