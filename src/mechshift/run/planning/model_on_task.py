"""Model on a task: the batches that a stage makes of its examples, and the size of its scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mechshift.attribution import NUM_GROUPS
from mechshift.denoising.samplers import Sampler, sampler_named
from mechshift.denoising.schedule import step_sizes
from mechshift.graph import Graph
from mechshift.models import Kind, ModelShape
from mechshift.run.planning.costs import (
    DECODING_BATCH_SIZE,
    MethodPasses,
    method_passes,
    path_passes,
)
from mechshift.run.planning.memory import WIDE, MemoryModel, comparison_bytes
from mechshift.run.planning.workload import (
    Batch,
    ExampleLengths,
    Member,
    canvas_batches,
    commits,
    decoding_batches,
)
from mechshift.run.settings import RunSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelOnTask:
    """One model, one task, and how the task is run."""

    task: str
    member: Member
    shape: ModelShape
    graph: Graph
    lengths: ExampleLengths
    metric: str
    settings: RunSettings
    memory: MemoryModel
    circuit_sizes: tuple[int, ...]
    """Of all circuits that the model runs, in the pair [edges]."""
    compared_size: int
    """Of the circuits that are compared [edges]."""

    @property
    def model(self) -> str:
        """`arm`, `mdm`, or the name of a control."""
        return self.member.name

    @property
    def kind(self) -> Kind:
        return self.member.kind

    @cached_property
    def sampler(self) -> Sampler:
        return sampler_named(self.settings.pool.order)

    @cached_property
    def passes(self) -> MethodPasses:
        """Of scoring a batch."""
        return method_passes(self.settings.attribution, self.metric, self.graph)

    @cached_property
    def flow_passes(self) -> MethodPasses:
        attribution = self.settings.attribution
        return path_passes(attribution.rule or "left", attribution.ig_steps or 5, self.metric)

    def committed(self, target: int) -> tuple[int, ...]:
        """Tokens that each step of the pool's schedule commits."""
        return commits(self.sampler, target, self.settings.pool.num_steps)

    @cached_property
    def num_steps(self) -> int:
        """Denoising steps of the example that has most."""
        targets = map(int, self.lengths.target)
        return max(sum(count > 0 for count in self.committed(target)) for target in targets)

    @cached_property
    def swept(self) -> tuple[int, ...]:
        """The numbers of steps that the task is swept over (`run.step_sweep`)."""
        longest = int(self.lengths.target.max())
        if longest == 1:
            return ()
        powers = (2**power for power in range(longest.bit_length()))
        asked = self.settings.sweep.num_steps or (*powers, self.num_steps, longest)
        return tuple(sorted({steps for steps in asked if steps <= longest}))

    def has_num_steps(self, num_steps: int) -> bool:
        """Whether the pool's own schedule has so many steps, so that nothing is scored anew."""
        return all(
            sum(count > 0 for count in self.committed(target)) == min(num_steps, target)
            for target in map(int, self.lengths.target)
        )

    def discovery(self, batch_size: int, chunk_size: int | None = None) -> list[Batch]:
        """Batches of the examples that edges are scored on."""
        return self.canvases(self.settings.pool.num_examples, batch_size, chunk_size)

    def held_out(self, batch_size: int) -> list[Batch]:
        """Batches of the examples that circuits are run on."""
        return self.canvases(self.settings.pool.num_held_out, batch_size)

    def canvases(
        self,
        num_examples: int,
        batch_size: int,
        chunk_size: int | None = None,
        num_steps: int | None = None,
    ) -> list[Batch]:
        """Batches of canvases, of the pool's schedule or of one in so many steps."""

        def in_steps(target: int) -> Sequence[int]:
            return step_sizes(target, min(num_steps or target, target))

        return list(
            canvas_batches(
                self.lengths.repeated(num_examples),
                self.kind,
                self.committed if num_steps is None else in_steps,
                batch_size=batch_size,
                chunk_size=chunk_size,
            )
        )

    def decoding(self, num_examples: int, batch_size: int = DECODING_BATCH_SIZE) -> list[Batch]:
        """Every call of the decoder that answers so many examples."""
        return list(
            decoding_batches(
                self.lengths.repeated(num_examples),
                self.kind,
                self.sampler,
                self.settings.pool.num_steps,
                batch_size=batch_size,
            )
        )

    @property
    def num_ablated(self) -> int:
        """Held-out examples that ablations are measured on."""
        held_out = self.settings.pool.num_held_out
        return min(self.settings.ablation.num_examples or held_out, held_out)

    @property
    def num_rows(self) -> int:
        """Of scores: the examples, or shards of them."""
        return self.settings.pool.num_examples // self.settings.attribution.examples_per_shard

    @property
    def score_bytes(self) -> int:
        """All scores, on disk: those of a shard are as many as of an example."""
        return self.stored_numbers(self.num_steps) * self.graph.num_edges * WIDE

    def stored_numbers(self, num_steps: int) -> int:
        """Scores that are kept of each edge in so many denoising steps."""
        steps = self.settings.attribution.steps
        if steps == "summed":
            return self.num_rows
        if num_steps == 1 or steps == "each":
            return self.num_rows * num_steps
        return self.num_rows + min(NUM_GROUPS, self.num_rows) * num_steps

    @property
    def chunk_bytes(self) -> int:
        """Scores that are held in the host's memory before they are saved.

        Chunks are joined in a file, which is mapped where it is read, so no more are held at once.
        Those of single examples are held until a chunk's shards are averaged.
        """
        chunk = self.settings.attribution.examples_per_chunk
        return self.bytes_of_chunk(min(chunk, self.settings.pool.num_examples))

    def bytes_of_chunk(self, num_examples: int) -> int:
        """The same of so many examples."""
        attribution = self.settings.attribution
        per_shard = attribution.examples_per_shard
        averaged = num_examples // per_shard if per_shard > 1 else 0
        grouped = 0
        if self.num_steps > 1 and attribution.steps == "grouped":  # in float64; groups at most
            grouped = 2 * min(NUM_GROUPS, num_examples // per_shard)
        num_steps = 1 if attribution.steps == "summed" else self.num_steps
        rows = num_examples + averaged + grouped
        return rows * num_steps * self.graph.num_edges * WIDE

    @property
    def comparison_bytes(self) -> int:
        """What comparing its scores with another member's takes of the host's memory."""
        return comparison_bytes(self.graph, self.num_rows, self.settings.comparison)
