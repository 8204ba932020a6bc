"""Packed examples: those of a task file, which as records would take four times its memory.

They are compressed by 500, and made again whenever they are asked for, so that whoever goes through
all holds 500 at a time.
"""

import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import overload

import msgspec

from mechshift.tasks.example import SPLITS, Example, Split

TOGETHER = 500
"""Examples that are compressed, and made again, at once."""

Numbered = tuple[int, Split, Example]
"""Line number, or place from 1 on, split and example."""

_DECODER = msgspec.msgpack.Decoder(list[Example])


class Packing:
    """Examples that are packed as they come."""

    def __init__(self) -> None:
        self.blocks: list[bytes] = []
        self._loose: list[Example] = []

    def add(self, example: Example) -> None:
        self._loose.append(example)
        if len(self._loose) == TOGETHER:
            self._close()

    def __getitem__(self, place: int) -> Example:
        """One that was added."""
        block, within = divmod(place, TOGETHER)
        return (
            _unpacked(self.blocks[block])[within]
            if block < len(self.blocks)
            else self._loose[within]
        )

    def finished(
        self, numbers: Iterable[int], splits: Iterable[Split], clusters: Iterable[str]
    ) -> "PackedExamples":
        """All of them.

        Args:
            numbers: of each example's line.
            splits: of each.
            clusters: of each; which those of the examples themselves give way to.
        """
        self._close()
        return PackedExamples(self.blocks, numbers, splits, clusters)

    def _close(self) -> None:
        if self._loose:
            self.blocks.append(zlib.compress(msgspec.msgpack.encode(self._loose), 1))
            self._loose = []


class PackedExamples(Sequence[Numbered]):
    """Examples with their numbers and splits; made by `Packing.finished`."""

    def __init__(
        self,
        blocks: Sequence[bytes],
        numbers: Iterable[int],
        splits: Iterable[Split],
        clusters: Iterable[str],
    ) -> None:
        self._blocks = tuple(blocks)
        self._numbers = array("q", numbers)
        self._splits = array("b", map(SPLITS.index, splits))
        known: dict[str, int] = {}
        self._clusters = array("q", (known.setdefault(name, len(known)) for name in clusters))
        self._names = tuple(known)

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Numbered]:
        for number in range(len(self._blocks)):
            yield from self._block(number)

    @overload
    def __getitem__(self, place: int) -> Numbered: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Numbered, ...]: ...
    def __getitem__(self, place: int | slice) -> Numbered | tuple[Numbered, ...]:
        if isinstance(place, slice):
            return tuple(self[one] for one in range(len(self))[place])
        block, within = divmod(range(len(self))[place], TOGETHER)
        return self._block(block)[within]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PackedExamples):
            return NotImplemented
        return len(self) == len(other) and all(
            one == theirs for one, theirs in zip(self, other, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"PackedExamples({len(self)} examples)"

    def _block(self, number: int) -> list[Numbered]:
        start = number * TOGETHER
        return [
            (
                self._numbers[place],
                SPLITS[self._splits[place]],
                replace(example, cluster=self._names[self._clusters[place]]),
            )
            for place, example in enumerate(_unpacked(self._blocks[number]), start)
        ]


def _unpacked(block: bytes) -> list[Example]:
    return _DECODER.decode(zlib.decompress(block))
