"""In which order operators run, and what is in memory meanwhile."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from convscope.deployment.device_graph import Graph

MOST_STATES = 50_000  # sets of finished operators that are looked at, before the written order


@dataclass(frozen=True)
class Moment:
    """What is in memory while an operator runs, in bytes.

    operator: its place in the graph.
    inputs, output: what it reads and writes; an output in its input's place adds nothing.
    held: what later operators read.
    """

    operator: int
    inputs: int
    output: int
    held: int

    @property
    def total(self) -> int:
        return self.inputs + self.output + self.held


class Memory:
    """The bytes in memory as operators run one after the other.

    add_in_place: whether a sum may be written over one of its addends.
    """

    def __init__(self, graph: Graph, bits: int, add_in_place: bool = False) -> None:
        self.graph, self.add_in_place = graph, add_in_place
        self.sizes = {value: graph.bytes(value, bits) for value in graph.shapes}
        self.readers: dict[int, int] = dict.fromkeys(graph.shapes, 0)  # a bit for each operator
        makers: dict[int, int] = {}
        for i, operator in enumerate(graph.operators):
            for value in operator.inputs:
                self.readers[value] |= 1 << i
            for value in operator.outputs:
                makers[value] = i
        self.kept = set(graph.outputs)
        self.before = [
            sum(1 << maker for maker in {makers[v] for v in operator.inputs if v in makers})
            for operator in graph.operators
        ]
        # the images are there from the beginning, also where nothing reads them
        self.start = sum(self.sizes[value] for value in set(graph.inputs))

    def ends(self, value: int, i: int, done: int) -> bool:
        """Whether operator i is the last that reads a value."""
        return value not in self.kept and not self.readers[value] & ~done & ~(1 << i)

    def step(self, i: int, done: int, live: int) -> tuple[Moment, int]:
        """(while operator i runs, bytes in memory behind it); live: bytes before it."""
        operator = self.graph.operators[i]
        inputs = set(operator.inputs)
        read = sum(self.sizes[value] for value in inputs)
        written = sum(self.sizes[value] for value in operator.outputs)
        behind = live + written - sum(self.sizes[v] for v in inputs if self.ends(v, i, done))
        over = operator.over
        if over is None and self.add_in_place and operator.first_kind == "add":
            over = next((v for v in operator.inputs if self.fits(v, i, done)), None)
        fresh = written
        if over is not None and over in inputs and self.fits(over, i, done):
            fresh = written - self.sizes[over]
        return Moment(i, read, fresh, live - read), behind

    def fits(self, value: int, i: int, done: int) -> bool:
        """Whether operator i may write its output over a value that it reads."""
        written = sum(self.sizes[v] for v in self.graph.operators[i].outputs)
        return self.sizes[value] >= written and self.ends(value, i, done)

    def run(self, order: Sequence[int]) -> Iterator[Moment]:
        done, live = 0, self.start
        for i in order:
            moment, live = self.step(i, done, live)
            done |= 1 << i
            yield moment


def best_order(memory: Memory) -> list[int] | None:
    """The order whose highest moment is lowest; None where there are too many to look at.

    A shortest path, by its highest moment, through the sets of operators that can be finished
    together. Of equal orders it takes the one nearest to the written order.
    """
    operators = memory.graph.operators
    count = len(operators)
    floor = memory.start
    for operator in operators:
        floor = max(floor, sum(memory.sizes[value] for value in set(operator.inputs)))
    first = tuple(i for i in range(count) if not memory.before[i])
    heap = [(floor, 0, 0, 0, memory.start, first)]  # peak, −finished, tie, done, live, ready
    came: dict[int, tuple[int, int]] = {}
    tie, settled = 0, set[int]()
    while heap:
        peak, finished, _, done, live, ready = heapq.heappop(heap)
        if done in settled:
            continue
        settled.add(done)
        if -finished == count:
            return path_to(done, came)
        if len(settled) > MOST_STATES:
            return None
        for i in ready:
            moment, behind = memory.step(i, done, live)
            after = done | 1 << i
            if after in settled:
                continue
            left = [j for j in ready if j != i]
            left += [
                j
                for value in operators[i].outputs
                for j in bits_of(memory.readers[value])
                if not memory.before[j] & ~after and j not in left
            ]
            tie += 1
            highest = max(peak, moment.total)
            known = came.get(after)
            if known is None or highest < known[1]:
                came[after] = (i, highest)
                heapq.heappush(heap, (highest, finished - 1, tie, after, behind, tuple(left)))
    raise AssertionError("operators that wait for each other")


def path_to(done: int, came: dict[int, tuple[int, int]]) -> list[int]:
    order = []
    while done:
        i, _ = came[done]
        order.append(i)
        done &= ~(1 << i)
    return order[::-1]


def bits_of(mask: int) -> Iterator[int]:
    """The places of the ones."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
