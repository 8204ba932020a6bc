"""Machine that is planned for: free memory, and operations per second.

Of the machine at hand they are measured; another one is described by its data sheet. A measured
product is a guess at what whole passes reach; a measured batch (`--measure`) is no guess, but loads
the models.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Literal

import torch

from mechshift.errors import ConfigError
from mechshift.models.offloading import SHARE_FOR_WEIGHTS, split_place
from mechshift.run.planning.costs import Work

GIGA, TERA = 1e9, 1e12

SHARE_OF_PEAK = 0.4
"""Of a data sheet's peak that whole passes are taken to reach: a guess, not measured by us."""

SHARE_OF_MEASURED = 0.8
"""Of the rate of one large measured product that whole passes reach: 0.78 to 0.90 in EAP-IG on a
Qwen2 of 25 M parameters and one core (`benchmarks/plan.py`)."""

FLOAT32_SLOWDOWN = 16
"""bfloat16 over float32 peak of data-centre GPUs without TF32: A100 312 and 19.5, H100 989 and 67
TFLOP/s."""

BROUGHT_BYTES, READ_BYTES = 25e9, 1e9
"""Of weights that are brought to a GPU in a second, over PCIe 4 with 16 lanes; and of what is read
from a disk, weights or scores: a guess for one that is not slow."""

MEASURED_SIZE, MEASURED_SECONDS = 1024, 0.3
"""Of the product that is timed on a CPU, and for how long; on a GPU it is eight times as wide."""


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """The machine to plan for; by default the one at hand."""

    device: str = "auto"
    """cpu, cuda, cuda:1; auto takes a GPU where there is one, or where --memory-gb is given. With
    +offload, or +offload=20, as `mechshift run` takes it."""
    memory_gb: float | None = None
    """Free memory of the device [10^9 bytes]; given, the machine is not the one at hand."""
    host_memory_gb: float | None = None
    """Free memory of the host [10^9 bytes], where scores are joined."""
    matmul_tflops: float | None = None
    """Peak of matrix products in the model's dtype, as the data sheet says [TFLOP/s]."""
    float32_tflops: float | None = None
    """The same in float32, in which scores are computed; by default a 16th of a bfloat16 peak."""
    share_of_peak: float | None = None
    """Of that peak that is reached; by default 0.4 of a data sheet's, 0.8 of a measured one."""
    share_of_memory: float = 0.8
    """Of the free memory that is filled: allocators round up and fragment."""
    measure: bool = False
    """Load the ARM and score one batch, whose time is then what operations are taken to cost."""

    def __post_init__(self) -> None:
        for name in ("memory_gb", "host_memory_gb", "matmul_tflops", "float32_tflops"):
            value: float | None = getattr(self, name)
            if value is not None and not 0 < value < inf:
                raise ConfigError(f"{name} must be above 0 and finite, not {value}.")
        for name in ("share_of_peak", "share_of_memory"):
            share: float | None = getattr(self, name)
            if share is not None and not 0 < share <= 1:
                raise ConfigError(f"{name} lies in (0, 1], not {share}.")
        if self.measure and (self.memory_gb, self.matmul_tflops) != (None, None):
            raise ConfigError(
                "--measure runs a batch on the machine at hand, and --memory-gb and --matmul-tflops"
                " describe another; give one or the other."
            )
        if self.memory_gb is not None and self.matmul_tflops is None:
            raise ConfigError(
                "--memory-gb describes another machine, so its speed cannot be measured; give its"
                " --matmul-tflops too, such as 990 for an H100 in bfloat16."
            )


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Machine that a plan fits into, and its speed."""

    device: str
    memory: int
    """Of the device, free before anything is loaded [bytes]."""
    host_memory: int | None
    """Of the host [bytes]; None: not known, so not checked."""
    shared: bool
    """Whether the device computes in the host's memory."""
    flops: float
    """Reached in the model's dtype [1/s]."""
    float32_flops: float
    """Reached in float32 [1/s]."""
    share_of_memory: float
    note: str
    """How the speed is known, in one line."""
    offloads: bool = False
    """Whether weights that do not fit lie elsewhere."""
    weights_limit: int | None = None
    """Of each model's, what the device may hold [bytes]; None: by its free memory."""

    def held_weights(self, sizes: Sequence[int]) -> list[int]:
        """What the device holds of models' weights, loaded one after the other [bytes]."""
        if not self.offloads:
            return list(sizes)
        free, held = self.memory, []
        for size in sizes:
            limit = self.weights_limit
            held.append(min(size, int(SHARE_FOR_WEIGHTS * free) if limit is None else limit))
            free -= held[-1]
        return held

    def budget(self, of: Literal["device", "host"]) -> float:
        """Bytes that a plan may fill; infinity: not known."""
        memory = self.host_memory if of == "host" else self.memory
        return inf if memory is None else self.share_of_memory * memory

    def seconds(self, work: Work, brought: int = 0) -> float:
        """How long matrix products take, and what the host does; nothing else is counted.

        Args:
            work: what is done.
            brought: weights that lie elsewhere, and are brought for every pass [bytes].
        """
        on_device = work.flops / self.flops + work.float32_flops / self.float32_flops
        passes = work.forward_passes + work.backward_passes + work.circuit_runs
        bringing = passes * brought / (READ_BYTES if self.shared else BROUGHT_BYTES)
        return on_device + bringing + work.host_seconds

    def as_measured(self, work: Work, seconds: float) -> "Machine":
        """The same machine, at whose speed this work takes so long."""
        factor = self.seconds(work) / seconds
        reached = (work.flops + work.float32_flops) / seconds / TERA
        return replace(
            self,
            flops=self.flops * factor,
            float32_flops=self.float32_flops * factor,
            note=f"one batch of scores took {seconds:.2f} s, {reached:.3g} TFLOP/s",
        )


def find_machine(options: MachineOptions, dtype: torch.dtype) -> Machine:
    """The machine that the options describe, measured where they do not say.

    Raises:
        ConfigError: a CUDA device that is not there.
    """
    _, offloads, limit = split_place(options.device)
    device, here = _device(options), options.memory_gb is None
    memory = _bytes(options.memory_gb) or _free_memory(device)
    host = memory if device.type == "cpu" else _free_memory(torch.device("cpu")) if here else None
    if options.matmul_tflops is None:
        how, default_share = "a measured product's", SHARE_OF_MEASURED
        peak = measured_flops(device, dtype)
        wide = peak if dtype == torch.float32 else measured_flops(device, torch.float32)
    else:
        how, default_share = "the given peak of", SHARE_OF_PEAK
        peak = options.matmul_tflops * TERA
        wide = peak if dtype == torch.float32 else peak / FLOAT32_SLOWDOWN
        if options.float32_tflops is not None:
            wide = options.float32_tflops * TERA
    share = options.share_of_peak or default_share
    return Machine(
        device=_device_name(device) if here else f"a {device.type} device as given",
        memory=memory,
        host_memory=_bytes(options.host_memory_gb) or host,
        shared=device.type == "cpu",
        flops=share * peak,
        float32_flops=share * wide,
        share_of_memory=options.share_of_memory,
        note=f"{share:.0%} of {how} {peak / TERA:.3g} TFLOP/s, {wide / TERA:.3g} in float32",
        offloads=offloads,
        weights_limit=_bytes(limit),
    )


def _device(options: MachineOptions) -> torch.device:
    (name, *_), here = split_place(options.device), options.memory_gb is None
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() or not here else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device '{name}'; use cpu or cuda.") from None
    if here and device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"there is no device '{name}' here; to plan for one, give its --memory-gb and"
            " --matmul-tflops."
        )
    return device


@torch.no_grad()
def measured_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product, timed for a fraction of a second."""
    size = MEASURED_SIZE if device.type == "cpu" else 8 * MEASURED_SIZE
    matrix = torch.ones(size, size, device=device, dtype=dtype)
    return 2.0 * size**3 / timed(lambda: matrix @ matrix, device)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that some work takes once it is warm, on average over a fraction of a second."""

    def finish() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    finish()  # the first time also loads kernels
    times, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < MEASURED_SECONDS or not times:
        finish()
        times += 1
    return elapsed / times


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return 1024 * int(lines["MemAvailable"].split()[0])
    # Where the system does not tell what is free: all that there is.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"cpu with {torch.get_num_threads()} threads"


def _bytes(gigabytes: float | None) -> int | None:
    return None if gigabytes is None else int(gigabytes * GIGA)
