"""Settings of a run: one record a stage, from which the command line is made."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from math import inf
from typing import Annotated, Any, Literal

import torch
import tyro

from mechshift.ablation import AblationSettings
from mechshift.attribution import End, Rule, check_options, method_options
from mechshift.comparison import ComparisonSettings, num_workers
from mechshift.denoising import METRICS
from mechshift.errors import ConfigError
from mechshift.evaluation import (
    DROPPED_SHARES,
    MIB_FRACTIONS,
    PENALTY_FACTORS,
    AblationName,
    circuit_sizes,
)
from mechshift.models import (
    OFFLOAD,
    PAIRS,
    Attention,
    ModelPair,
    ModelSource,
    PairEntry,
    load_controls,
    load_pair,
)
from mechshift.semantics import EndpointModel, SemanticsSettings
from mechshift.statistics import MAX_DRAWS, MIN_DRAWS
from mechshift.tasks import PoolConfig, TaskFile

DEFAULT_TASKS = {
    "tiny": ("ioi", "greater-than", "countdown-small", "infilling"),
    "smollm2": ("ioi", "greater-than"),
}
"""Tasks of a pair that can do others than the usual ones."""

Skippable = Literal["flow", "semantics", "ablation", "controls"]
"""Stages that a run can do without; the report then lacks their parts."""

Addable = Literal["sweep", "alternatives"]
"""Stages that a run does only if asked, for what they cost."""

Unprefixed = tyro.conf.arg(name="")
"""On the command line, options of this record stand without the record's name before them."""

Named = tyro.conf.arg(constructor=str)
"""On the command line a task is given by its name or file."""

USUAL_TASKS = ("ioi", "greater-than", "countdown-3", "infilling")


@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """Which two models are compared, and how they are loaded."""

    pair: str = "tiny"
    """A pair that `mechshift pairs` lists; or, with --arm and --mdm, how the report calls yours."""
    arm: str | None = None
    """Folder or hub id of your autoregressive model."""
    mdm: str | None = None
    """Folder or hub id of the diffusion model post-trained from it."""
    continued_arm: tuple[str, ...] = ()
    """Control: your ARM trained on with its own objective on the data of your MDM. Several: one a
    seed; three of them and three MDMs say what diffusion does, and not this checkpoint alone."""
    other_mdm: tuple[str, ...] = ()
    """Control: an MDM that you made as the first one, with another seed; several, as above."""
    beside: tuple[str, ...] = ()
    """Known pairs of the same ARM, whose MDMs are compared with it too, each read in its own way:
    --pair dream-7b --beside wedlm-7b."""
    arm_adapter: str | None = None
    """Folder or hub id of a LoRA adapter that is merged into --arm when it is loaded."""
    mdm_adapter: str | None = None
    """The same for --mdm."""
    continued_arm_adapter: tuple[str, ...] = ()
    """The same for --continued-arm: one for each model in their order, `none` for a model without;
    or several for one model that all of them were trained on."""
    other_mdm_adapter: tuple[str, ...] = ()
    """The same for --other-mdm."""
    tokenizer: str | None = None
    """Folder or hub id of the MDM's tokenizer, where its own needs remote code."""
    shift: bool = True
    """Whether your MDM's logits at position i predict token i + 1, as Dream's and DiffuLLaMA's."""
    attention: Attention = "full"
    """How your MDM attends: full; block-causal as block diffusion models do; causal-prefix as SDLM,
    which reads in both directions only the block that it writes; observed-first as WeDLM."""
    block_length: int | None = None
    """Positions in a block of your MDM with block-causal or causal-prefix attention."""
    mask_token_id: int | None = None
    """Your MDM's mask token; by default what its config or tokenizer says."""
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if (self.arm is None) != (self.mdm is None):
            raise ConfigError("--arm and --mdm belong together; give both, or name a --pair.")
        for name in ("arm", "mdm", "continued_arm", "other_mdm"):
            # A known pair ignores the paths of one's own, and would ignore their adapters.
            adapters = _listed(getattr(self, f"{name}_adapter"))
            if adapters and (self.arm is None or not getattr(self, name)):
                raise ConfigError(
                    f"{_flag(name)}-adapter {' '.join(adapters)} needs the model that it was"
                    f" trained on: give {_flag(name)} with --arm and --mdm."
                )
        for name in SEVERAL:
            models, adapters = getattr(self, name), getattr(self, f"{name}_adapter")
            if len(adapters) not in (0, len(models)) and len(models) != 1:
                raise ConfigError(
                    f"{_flag(name)} names {len(models)} models and {_flag(name)}-adapter"
                    f" {len(adapters)} adapters; give one adapter a model, `{NO_ADAPTER}` for one"
                    " without, or one model for all of them."
                )

        given = [f.name for f in fields(self) if getattr(self, f.name) != f.default]
        own = [name for name in given if name not in ("pair", "dtype", "beside")]
        if self.arm is None and own:
            options = ", ".join("--no-shift" if name == "shift" else _flag(name) for name in own)
            raise ConfigError(
                f"{options}: said of a model of your own, and pair '{self.pair}' has its own;"
                " give --arm and --mdm too, or leave it out."
            )

    def entry(self) -> PairEntry:
        """The catalogue's entry, or one made from two paths; with its siblings.

        Raises:
            ConfigError: no such pair, or siblings that are no pairs, or of another ARM.
        """
        entry = self._pair_entry()
        return replace(entry, siblings=tuple(_sibling(name, entry) for name in self.beside))

    def _pair_entry(self) -> PairEntry:
        if self.arm is not None and self.mdm is not None:
            return PairEntry(
                name=self.pair if self.pair not in PAIRS else "own",
                arm=ModelSource(path=self.arm, adapter=self.arm_adapter),
                mdm=ModelSource(
                    path=self.mdm, tokenizer_path=self.tokenizer, adapter=self.mdm_adapter
                ),
                continued_arms=_sources(self.continued_arm, None, self.continued_arm_adapter),
                other_mdms=_sources(self.other_mdm, self.tokenizer, self.other_mdm_adapter),
                shift=self.shift,
                attention=self.attention,
                block_length=self.block_length,
                mask_token_id=self.mask_token_id,
            )
        if self.pair not in PAIRS:
            raise ConfigError(
                f"no pair '{self.pair}'; known are {', '.join(PAIRS)}, or give --arm and --mdm."
            )
        return PAIRS[self.pair]

    def load(self, device: str = "auto", *, controls: bool = False) -> ModelPair:
        """Both models, probed, on `device`; `auto` is a GPU where there is one.

        Args:
            device: `cpu`, `cuda`, `cuda:1`, or `auto`; behind it perhaps `+offload`
                (`models.offloading`).
            controls: with every control that the pair can have.
        """
        entry = self.entry()
        pair = load_pair(entry, device=find_device(device), dtype=self.dtype)
        return replace(pair, controls=load_controls(pair, entry).models) if controls else pair

    def default_tasks(self) -> tuple[str, ...]:
        """The tasks that are compared where none are named."""
        return DEFAULT_TASKS.get(self.entry().name, USUAL_TASKS)


def _sibling(name: str, entry: PairEntry) -> PairEntry:
    """A known pair of the same ARM; whether a folder of one's own holds that ARM is not known."""
    if name not in PAIRS or name == entry.name:
        raise ConfigError(
            f"--beside {name}: name another known pair than the one that is compared; known are"
            f" {', '.join(PAIRS)}."
        )
    if entry.name in PAIRS and PAIRS[name].arm.path != entry.arm.path:
        same = [one.name for one in PAIRS.values() if one.arm.path == entry.arm.path]
        others = ", ".join(one for one in same if one != entry.name) or "no known pair"
        raise ConfigError(
            f"--beside {name}: its MDM was made from {PAIRS[name].arm.path} and that of"
            f" {entry.name} from {entry.arm.path}; of the same ARM: {others}."
        )
    return PAIRS[name]


SEVERAL = ("continued_arm", "other_mdm")
"""Options of which there may be several models, one a training."""

NO_ADAPTER = "none"
"""What stands in a list of adapters for a model without one."""


def _flag(name: str) -> str:
    """An option as it is written on the command line."""
    return f"--{name.replace('_', '-')}"


def _listed(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """None, one or several values as a tuple."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


MAX_IG_STEPS = 1_000
"""Points of the path: two hundred times the default, which no score needs; a typing error."""


@dataclass(frozen=True, kw_only=True)
class AttributionSettings:
    """How edges are scored."""

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
    """How circuits are tested, on held-out examples."""

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
    """How other circuits of each model are looked for that are as faithful as its own."""

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
    """Which text model is asked for sentences on neurons, and on how many; no part of a run."""

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
    """What nodes are looked at besides heads and MLPs."""

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
    """Ray cluster whose machines do the work: HOST:PORT, or auto for the one that this machine is
    of. All see the run folder under the same path. Needs `pip install 'mechshift[cluster]'`."""
    gpus_per_worker: float | None = None
    """GPUs that a worker takes: 1, or 0.5 where two share one; by default 1, or 0 in a cluster
    without any and with --device cpu."""
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


def find_device(device: str) -> str:
    """A device by its name; `auto` is a GPU where there is one."""
    name, plus, rest = device.partition(OFFLOAD)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return name + plus + rest


def find_devices(device: str, devices: int | Literal["auto"]) -> tuple[str, ...]:
    """The device of every worker of a run.

    Args:
        device: see `find_device`.
        devices: how many; `auto`: every GPU, or one process on a CPU, which uses all its cores.

    Raises:
        ConfigError: there are not so many, or one is named and several are wanted.
    """
    found = find_device(device)
    if OFFLOAD in found:
        if devices not in (1, "auto"):
            raise ConfigError(
                f"--device {device} uses one device and the host's memory, and --devices {devices}"
                " asks for several; leave out one of the two."
            )
        return (found,)
    kind, _, index = found.partition(":")
    if devices == 1 or (devices == "auto" and (index or kind != "cuda")):
        return (found,)
    if index:
        raise ConfigError(
            f"--device {device} is one device, and --devices {devices} asks for several; give"
            f" --device {kind}."
        )
    there = torch.cuda.device_count() if kind == "cuda" else num_workers()
    wanted = there if devices == "auto" else devices
    if not 1 <= wanted <= there:
        what = "CUDA devices" if kind == "cuda" else "CPU cores, each of which can be one"
        raise ConfigError(
            f"--devices {devices}: there are {there} {what}; give a number from 1 to {there}."
        )
    return (
        tuple(f"cuda:{place}" for place in range(wanted)) if kind == "cuda" else ("cpu",) * wanted
    )


def _sources(
    paths: Sequence[str], tokenizer: str | None, adapters: Sequence[str]
) -> tuple[ModelSource, ...]:
    """One a training; a single path is the base of all adapters."""
    if adapters and len(paths) == 1:
        paths = [paths[0]] * len(adapters)
    return tuple(
        ModelSource(
            path=path,
            tokenizer_path=tokenizer,
            adapter=None if adapter == NO_ADAPTER else adapter,
        )
        for path, adapter in zip(paths, adapters or [NO_ADAPTER] * len(paths), strict=True)
    )


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
