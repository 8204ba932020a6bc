"""Options of a pair: which two models, with which controls, and on which devices they compute."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch

from mechshift.comparison import num_workers
from mechshift.errors import ConfigError
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

DEFAULT_TASKS = {
    "tiny": ("ioi", "greater-than", "countdown-small", "infilling"),
    "smollm2": ("ioi", "greater-than"),
}
"""Tasks of a pair that can do others than the usual ones."""

USUAL_TASKS = ("ioi", "greater-than", "countdown-3", "infilling")

SEVERAL = ("continued_arm", "other_mdm")
"""Options of which there may be several models, one a training."""

NO_ADAPTER = "none"
"""Word in a list of adapters for a model without one."""


@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """Options of the two models that are compared, and of how they are loaded."""

    pair: str = "tiny"
    """A pair that `mechshift pairs` lists; or, with --arm and --mdm, how the report calls yours."""
    arm: str | None = None
    """Folder or hub id of your autoregressive model."""
    mdm: str | None = None
    """Folder or hub id of the diffusion model post-trained from it."""
    continued_arm: tuple[str, ...] = ()
    """Control: your ARM trained on with its own objective on your MDM's data. Several: one a
    seed; three of them and three MDMs say what diffusion does, not this checkpoint alone."""
    other_mdm: tuple[str, ...] = ()
    """Control: an MDM that you made as the first one, with another seed; several, as above."""
    beside: tuple[str, ...] = ()
    """Known pairs of the same ARM, each read in its own way, compared too: wedlm-7b."""
    arm_adapter: str | None = None
    """Folder or hub id of a LoRA adapter that is merged into --arm when it is loaded."""
    mdm_adapter: str | None = None
    """The same for --mdm."""
    continued_arm_adapter: tuple[str, ...] = ()
    """The same for --continued-arm: one a model in their order (`none`: without), or several
    for one model that all of them were trained on."""
    other_mdm_adapter: tuple[str, ...] = ()
    """The same for --other-mdm."""
    tokenizer: str | None = None
    """Folder or hub id of the MDM's tokenizer, where its own needs remote code."""
    shift: bool = True
    """Whether your MDM's logits at position i predict token i + 1, as Dream's and DiffuLLaMA's."""
    attention: Attention = "full"
    """How your MDM attends: block-causal as block diffusion models do; causal-prefix as SDLM,
    both ways only in the block that it writes; observed-first as WeDLM."""
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


def _flag(name: str) -> str:
    """An option as it is written on the command line."""
    return f"--{name.replace('_', '-')}"


def _listed(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """None, one or several values as a tuple."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


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
