"""Settings of a run: one record a stage, from which the command line is made."""

from dataclasses import asdict, dataclass, field
from math import inf
from typing import Annotated, Any, Literal

import tyro

from mechshift.ablation import AblationSettings
from mechshift.attribution import End, Rule, check_options, method_options
from mechshift.comparison import ComparisonSettings
from mechshift.denoising import METRICS
from mechshift.errors import ConfigError
from mechshift.evaluation import (
    DROPPED_SHARES,
    MIB_FRACTIONS,
    PENALTY_FACTORS,
    AblationName,
    circuit_sizes,
)
from mechshift.run.pair_options import PairOptions
from mechshift.semantics import EndpointModel, SemanticsSettings
from mechshift.statistics import MAX_DRAWS, MIN_DRAWS
from mechshift.tasks import PoolConfig, TaskFile

Skippable = Literal["flow", "semantics", "ablation", "controls"]
"""Stages that a run can do without; the report then lacks their parts."""

Addable = Literal["sweep", "alternatives"]
"""Stages that a run does only if asked, for what they cost."""

Unprefixed = tyro.conf.arg(name="")
"""On the command line, options of this record stand without the record's name before them."""

Named = tyro.conf.arg(constructor=str)
"""On the command line a task is given by its name or file."""

MAX_IG_STEPS = 1_000
"""Points of the path: two hundred times the default, which no score needs; a typing error."""


@dataclass(frozen=True, kw_only=True)
class AttributionSettings:
    """Settings of the scores of edges."""

    method: str = "eap-ig"
    """eap-ig, eap (one gradient in place of several), or exact (a run for each edge: slow)."""
    metric: str | None = None
    """What is explained: logit_diff, prob_diff, log_prob, kl; by default the task's own metric."""
    ig_steps: int | None = None
    """Of eap-ig: points on the path from the corrupted to the clean embeddings; by default 5."""
    rule: Rule | None = None
    """Of eap-ig: where the points lie; by default left, from the corrupted end on, as published."""
    gradient_at: End | None = None
    """Of eap: the prompt at which the gradient is taken; by default clean."""
    gim: bool = False
    """Of eap-ig and eap: gradients of attention follow GIM's rules against self-repair."""
    edges_per_pass: int | None = None
    """Of exact: edges in a forward pass; changes time and memory, not scores; by default 16."""
    grouped: bool = False
    """One k and one v destination per KV head instead of one per query head."""
    steps: Literal["grouped", "each", "summed"] = "grouped"
    """What is kept of denoising steps. Scores summed over them are kept for every example; those at
    each step, of the ARM and the MDM, as sums over at most 24 groups of examples, which curves over
    steps rest on; of controls no stage reads a single step, and none is kept. `each`: every step of
    every example, which takes as many times the disk as there are steps. `summed`: the sum alone,
    for which an ARM takes one backward pass in place of one a step."""
    batch_size: int = 32
    """Canvases per forward pass; changes time and memory, not scores."""
    chunk_size: int = 50
    """Examples after which scores are saved; a killed run loses at most these. Rounded up to whole
    shards."""
    examples_per_shard: int = 1
    """Consecutive examples over which scores are averaged before they are stored: takes so many
    times less disk and memory, and leaves so many times fewer units to resample, 10 at least. 1:
    every example by itself."""

    def __post_init__(self) -> None:
        if self.metric is not None and self.metric not in METRICS:
            raise ConfigError(f"no metric '{self.metric}'; known are {', '.join(METRICS)}.")
        check_options(self.method, self.options())
        counts = ("ig_steps", "edges_per_pass", "batch_size", "chunk_size", "examples_per_shard")
        for name in counts:
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ConfigError(f"attribution setting {name} must be at least 1, not {count}.")
        if self.ig_steps is not None and self.ig_steps > MAX_IG_STEPS:
            raise ConfigError(
                f"attribution setting ig_steps must be at most {MAX_IG_STEPS:,}, not"
                f" {self.ig_steps:,}."
            )

    @property
    def examples_per_chunk(self) -> int:
        """The chunk size, rounded up to whole shards."""
        return -(-self.chunk_size // self.examples_per_shard) * self.examples_per_shard

    def options(self) -> dict[str, Any]:
        """The method's own options, as far as they are set; it knows the others' defaults."""
        own = {
            "ig_steps": self.ig_steps,
            "rule": self.rule,
            "gradient_at": self.gradient_at,
            "gim": self.gim or None,
            "edges_per_pass": self.edges_per_pass,
        }
        return {name: value for name, value in own.items() if value is not None}

    def manifest_config(self) -> dict[str, Any]:
        """What can change a score: an option that is not set stands with its default."""
        shared = {
            "method": self.method,
            "metric": self.metric,
            "grouped": self.grouped,
            "steps": self.steps,
            "examples_per_shard": self.examples_per_shard,
        }
        resolved = method_options(self.method) | self.options()
        return shared | _without(resolved, "edges_per_pass")


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """Settings of the tests of circuits, on held-out examples."""

    fractions: tuple[float, ...] = MIB_FRACTIONS
    """Circuit sizes as shares of all edges; MIB's. The circuit size that is compared is added."""
    ablation: AblationName = "resample"
    """What edges outside a circuit carry: their source's output on the corrupted prompt, its mean
    output at that position over the discovery examples, or zero."""
    num_random: int = MIN_DRAWS
    """Random circuits, matched by layers and edge types, that each model's own is held against.
    Fewer than 20 have a mean and no interval."""
    baseline_sizes: Literal["compared", "all"] = "compared"
    """Sizes at which random circuits, and circuits by activation, are run: the circuit size that is
    compared, or all, which takes a run for each of them at each size."""
    rediscover: bool = True
    """Whether circuits are also chosen without each eighth, and on each half, of the discovery
    examples, and run at the size that is compared: 18 runs more. Without them an interval of how
    the other model's circuit serves leaves out the noise of discovery, and decides nothing."""
    seed: int = 0
    """Of the random circuits and of the parts of the discovery examples."""
    batch_size: int = 64
    """Canvases per forward pass; changes time and memory, not results."""

    def __post_init__(self) -> None:
        if not self.fractions or not all(0 < fraction <= 1 for fraction in self.fractions):
            raise ConfigError(f"fractions must lie in (0, 1], not {self.fractions}.")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, not {self.batch_size}.")
        if min(self.num_random, self.seed) < 0 or self.num_random > MAX_DRAWS:
            raise ConfigError(
                f"num_random and the seed must be at least 0, and num_random at most {MAX_DRAWS:,},"
                f" not {self.num_random:,} and {self.seed}."
            )

    def sizes(self, num_edges: int, circuit_size: int) -> list[int]:
        """Edges of the circuits to test in a graph of that many edges, ascending."""
        return sorted({*circuit_sizes(num_edges, self.fractions).tolist(), circuit_size})

    def manifest_config(self) -> dict[str, Any]:
        """What can change a result, besides the sizes, which depend on the graph."""
        return _without(asdict(self), "fractions", "batch_size")


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """With which numbers of denoising steps the MDM is scored anew."""

    num_steps: tuple[int, ...] = ()
    """Numbers of steps S; by default 1, 2, 4, ..., the pool's own and the longest target's tokens.
    Each must be possible on one task at least; the others leave it out."""
    batch_size: int = 32
    """Canvases per forward pass; changes time and memory, not scores."""
    chunk_size: int = 50
    """Examples after which scores are saved; a killed run loses at most these."""

    def __post_init__(self) -> None:
        if min(self.num_steps, default=1) < 1:
            raise ConfigError(f"a number of steps must be at least 1, not {min(self.num_steps)}.")
        for name in ("batch_size", "chunk_size"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"sweep setting {name} must be at least 1, not {getattr(self, name)}."
                )


@dataclass(frozen=True, kw_only=True)
class AlternativesSettings:
    """Settings of the search for other circuits of each model, as faithful as its own."""

    factors: tuple[float, ...] = PENALTY_FACTORS
    """By which |score| of the circuit's edges is multiplied before as many edges are selected anew,
    each from 0 to below 1: the smaller, the fewer edges are shared. Each takes a run of a circuit,
    on the examples of both splits, as do the next."""
    shares: tuple[float, ...] = DROPPED_SHARES
    """Shares of the circuit's edges that are dropped before the same, each in (0, 1]: all that a
    component writes, or reads, at once, the weakest first."""
    batch_size: int = 64
    """Canvases per forward pass; changes time and memory, not results."""

    def __post_init__(self) -> None:
        if not self.factors or not all(0 <= factor < 1 for factor in self.factors):
            raise ConfigError(
                f"factors of alternatives must lie in [0, 1), one at least, not {self.factors}."
            )
        if not all(0 < share <= 1 for share in self.shares):
            raise ConfigError(f"shares of alternatives must lie in (0, 1], not {self.shares}.")
        if self.batch_size < 1:
            raise ConfigError(
                f"alternatives setting batch_size must be at least 1, not {self.batch_size}."
            )


@dataclass(frozen=True, kw_only=True)
class ExplanationSettings:
    """Text model that is asked for sentences on neurons, and on how many; no part of a run."""

    endpoint: str | None = None
    """OpenAI-compatible address, up to its version: http://localhost:8000/v1."""
    model: str | None = None
    """The name by which the endpoint knows its model."""
    local: str | None = None
    """Instead of an endpoint: folder or hub id of a stock transformers model, which is run here."""
    num_neurons: int = 8
    """Neurons explained of each model on each task, most attributed first; the page shows 8."""
    api_key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the endpoint's key. The key itself is no option, and is
    stored nowhere."""
    max_tokens: int = 512
    """Longest reply [tokens]."""
    timeout: float = 60.0
    """How long one reply of the endpoint may take [seconds]."""

    def __post_init__(self) -> None:
        if (self.endpoint is None) == (self.local is None):
            raise ConfigError("give either --endpoint with --model, or --local, to explain with.")
        if (self.endpoint is None) != (self.model is None):
            raise ConfigError("--endpoint and --model belong together.")
        for name in ("num_neurons", "max_tokens", "timeout"):
            if not 0 < getattr(self, name) < inf:
                raise ConfigError(
                    f"explanation setting {name} must be above 0 and finite, not"
                    f" {getattr(self, name)}."
                )
        self.endpoint_model()

    def endpoint_model(self) -> EndpointModel | None:
        """What is asked, where an endpoint is.

        Raises:
            SemanticsError: its address is none.
        """
        if self.endpoint is None or self.model is None:
            return None
        return EndpointModel(
            base_url=self.endpoint,
            model=self.model,
            api_key_variable=self.api_key_variable,
            max_tokens=self.max_tokens,
            timeout=self.timeout,
        )


@dataclass(frozen=True, kw_only=True)
class GraphSettings:
    """Nodes that are looked at besides heads and MLPs."""

    experts: bool = False
    """Score each expert of a mixture of experts as a node too, and show the share of each in its
    layer. Edges and circuits still take a mixture as one node."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Everything that `mechshift run` does, stage by stage."""

    models: Annotated[PairOptions, Unprefixed] = field(default_factory=PairOptions)
    """Which two models."""
    tasks: tuple[Annotated[str | TaskFile, Named], ...] = ()
    """Names that `mechshift tasks` lists, or .jsonl files; by default the pair's own."""
    pool: PoolConfig = field(default_factory=PoolConfig)
    """Which examples."""
    graph: GraphSettings = field(default_factory=GraphSettings)
    """Which nodes there are."""
    attribution: AttributionSettings = field(default_factory=AttributionSettings)
    """How edges are scored."""
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    """How circuits are tested."""
    comparison: ComparisonSettings = field(default_factory=ComparisonSettings)
    """What is compared, and how uncertain it is."""
    semantics: SemanticsSettings = field(default_factory=SemanticsSettings)
    """How components are read."""
    ablation: AblationSettings = field(default_factory=AblationSettings)
    """What is ablated, how, and on how many examples."""
    skip: tuple[Skippable, ...] = ()
    """Stages to leave out; the report then lacks their parts."""
    also: tuple[Addable, ...] = ()
    """Stages that are left out unless they are named here."""
    sweep: SweepSettings = field(default_factory=SweepSettings)
    """With which other numbers of denoising steps the models are compared."""
    alternatives: AlternativesSettings = field(default_factory=AlternativesSettings)
    """How other circuits of each model are looked for that are as faithful as its own."""

    def __post_init__(self) -> None:
        if self.graph.experts and "semantics" in self.skip:
            raise ConfigError(
                "--graph.experts scores experts in the stage semantics, which --skip leaves out;"
                " drop one of the two."
            )

    def task_names(self) -> tuple[str | TaskFile, ...]:
        """The tasks to compare, in order: names, files, and tasks that were made in Python."""
        return self.tasks or self.models.default_tasks()


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """On which Ray cluster the workers of a run are, and what each takes of it."""

    address: Annotated[str | None, tyro.conf.arg(name="cluster")] = None
    """Ray cluster that does the work: HOST:PORT, or auto for the one of this machine. All of
    its machines see the run folder. Needs `pip install 'mechshift[cluster]'`."""
    gpus_per_worker: float | None = None
    """GPUs that a worker takes, 0 to 1; by default 1, where there are any."""
    cpus_per_worker: int | None = None
    """CPUs that a worker takes, and threads that it has; by default 1."""

    def __post_init__(self) -> None:
        gpus, cpus = self.gpus_per_worker, self.cpus_per_worker
        if self.address is None and (gpus is not None or cpus is not None):
            raise ConfigError(
                "--gpus-per-worker and --cpus-per-worker say what a worker takes of a cluster;"
                " give --cluster too, or leave them out."
            )
        if gpus is not None and not 0 <= gpus <= 1:
            raise ConfigError(
                f"--gpus-per-worker must lie between 0 and 1, not {gpus:g}: a worker computes on"
                " one GPU, and what it does not hold there goes with --device cuda+offload."
            )
        if cpus is not None and cpus < 1:
            raise ConfigError(f"--cpus-per-worker must be at least 1, not {cpus}.")
        if self.address is not None and ("://" in self.address or not self.address):
            raise ConfigError(
                f"--cluster {self.address} is no HOST:PORT of a Ray cluster, and not auto; run"
                " mechshift on a machine of the cluster, which sees the run folder."
            )


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
