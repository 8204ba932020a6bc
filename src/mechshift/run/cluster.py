"""Workers on the machines of a Ray cluster: actors that load the models once.

1. Every worker says which versions it has, and whether it sees the run folder; what differs from
   the process that hands out jobs ends the run in one line, before it has loaded a model.
2. Ray finds a place for each worker. There are as many as the cluster has room for, those that
   join later too, unless a number was given.
3. A worker that is killed, or whose machine is lost, is replaced, and its job done by another; a
   job that was lost `MOST_LOST` times ends the run.
4. Ray ends the workers when the process that hands out jobs ends, however it does.

What passes between the processes is Ray's (pickled), and stays within the cluster. Results go
through the run folder, on a file system that all machines share.
"""

import logging
import os
import platform
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError

from mechshift.artifacts import package_versions
from mechshift.errors import ArtifactError, ConfigError, MechshiftError
from mechshift.locks import HOLDER_NAME
from mechshift.models import OFFLOAD
from mechshift.progress import progress_bar
from mechshift.run.jobs import Job, Told, Worker, use_cores
from mechshift.run.settings import ClusterOptions, RunSettings
from mechshift.run.workers import LOOK_EVERY, Done

MOST_LOST = 3
"""Workers that may end without a word over one job, or one after the other as they start."""

FILL_UP_EVERY = 2.0
"""Seconds between two looks at how many workers the cluster has room for."""

ANSWERS_WITHIN = 10.0
"""Seconds in which an address must answer."""

WORDS = "words"
"""The thread of a worker that tells how far it is, while another one makes something."""


class Greeting(NamedTuple):
    """What a worker is, in plain values: other versions may not have our classes."""

    versions: Mapping[str, str]
    machine: str
    node: str
    """Ray's name of the machine."""
    process: int
    holder: str | None
    """Who holds the run folder, as it is written there; None: it sees no run folder."""


class Actor:
    """A worker in a process that Ray started."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._told: deque[Told] = deque()

    def greet(self, run: str) -> tuple[Any, ...]:
        """Say who this is, and what it sees of the run folder."""
        try:
            holder = (Path(run) / HOLDER_NAME).read_text(encoding="utf-8")
        except OSError:
            holder = None
        node = ray.get_runtime_context().get_node_id()
        return tuple(Greeting(package_versions(), platform.node(), node, os.getpid(), holder))

    def load(
        self, run: Path, settings: RunSettings, device: str, cores: range, folder: str
    ) -> None:
        """Load the models.

        Args:
            run: the run folder.
            settings: of the run.
            device: `cpu`, or `cuda` for the GPU that Ray left visible.
            cores: places of its own ones among those of the machine.
            folder: from which paths in the settings count.
        """
        with suppress(OSError):  # not everybody's paths are relative
            os.chdir(folder)
        use_cores(lambda there: [there[place % len(there)] for place in cores])
        self._worker = Worker(run, settings, device, self._told.append)

    def do(self, job: Job) -> list[int]:
        """See `Worker.do`."""
        assert self._worker is not None
        return self._worker.do(job)

    def told(self) -> list[Told]:
        """How far it is since it was asked last; answered while it does something else."""
        return [self._told.popleft() for _ in range(len(self._told))]


@dataclass(eq=False)
class _Member:
    """A worker, and what it is at."""

    actor: Any
    answer: Any
    """Reference to what it is to answer; None: it is free."""
    job: Job | None = None
    """None: it is free, or starting."""
    greeting: Greeting | None = None
    place: int | None = None
    """Its number among the workers of its machine."""
    is_loaded: bool = False
    words: Any = None
    """Reference to what it is to tell, if it was asked."""

    @property
    def name(self) -> str:
        return f"{self.greeting.node}/{self.greeting.process}" if self.greeting else ""


class Actors:
    """Workers on a Ray cluster: the engine of a run with `--cluster`."""

    def __init__(
        self,
        run: Path,
        settings: RunSettings,
        options: ClusterOptions,
        *,
        device: str = "auto",
        num_workers: int | Literal["auto"] = "auto",
        quiet: bool = False,
    ) -> None:
        """Connect to the cluster, and have Ray start workers.

        Args:
            run: the run folder, which the caller holds.
            settings: of the run.
            options: the cluster's address, and what a worker takes of it.
            device: `cpu`, `cuda`, `cuda+offload`, or `auto`.
            num_workers: how many; `auto`: as many as there is room for.
            quiet: no progress bar while they start.

        Raises:
            ConfigError: the address does not answer, or no machine has what a worker is to have.
        """
        if num_workers != "auto" and num_workers < 1:
            raise ConfigError(f"--devices {num_workers}: give 1 or more, or auto.")
        self._run, self._settings, self._quiet = run.resolve(), settings, quiet
        self._num_workers = num_workers
        self._cpus = options.cpus_per_worker or 1
        self._members: list[_Member] = []
        self._waiting: deque[Job] = deque()
        self._lost: Counter[Job | None] = Counter()
        self._filled_up = -FILL_UP_EVERY
        self._is_ours = _connect(options.address or "auto")
        try:
            self._device, self._gpus = _shares(device, options.gpus_per_worker)
            if num_workers == "auto" and not self._room():
                raise ConfigError(
                    f"no machine of the cluster has {self._wanted()} for a worker; give"
                    " --gpus-per-worker or --cpus-per-worker, or add machines."
                )
        except MechshiftError:
            self.close(at_once=True)
            raise
        self._actor = ray.remote(
            num_cpus=self._cpus, num_gpus=self._gpus, concurrency_groups={WORDS: 1}
        )(Actor)

    def load(self) -> None:
        """Wait until a worker has loaded the models; the others join it as they have."""
        with progress_bar("wait for a worker", 1, quiet=self._quiet) as advance:
            while not any(member.is_loaded for member in self._members):
                self.done()
            advance(1)

    def hand_out(self, job: Job) -> None:
        """Queue a job."""
        self._waiting.append(job)

    def done(self) -> list[Done]:
        """Jobs that were done; see `Engine`."""
        self._fill_up()
        for member in self._members:
            if member.is_loaded and member.answer is None and self._waiting:
                member.job = self._waiting.popleft()
                member.answer = member.actor.do.remote(member.job)
        at = {member.answer: member for member in self._members if member.answer is not None}
        if not at:
            time.sleep(LOOK_EVERY)
            return []
        ready, _ = ray.wait(list(at), timeout=LOOK_EVERY)
        return [done for one in ready for done in self._take(at[one])]

    def told(self) -> list[Told]:
        """What the workers that were asked have answered; all are asked anew."""
        told: list[Told] = []
        for member in [member for member in self._members if member.is_loaded]:
            if member.words is not None and ray.wait([member.words], timeout=0)[0]:
                try:
                    told += ray.get(member.words)
                except RayError:
                    if member.answer is None:  # else its answer tells that it is lost
                        self._members.remove(member)
                member.words = None
            if member.words is None:
                member.words = member.actor.told.options(concurrency_group=WORDS).remote()
        return told

    def finish(self) -> None:
        """Wait for the jobs that workers are at, and forget all others."""
        self._waiting.clear()
        running = [member.answer for member in self._members if member.job is not None]
        ray.wait(running, num_returns=len(running)) if running else None

    def close(self, *, at_once: bool) -> None:
        """End the workers, and leave the cluster if it was joined for them."""
        if not at_once:
            self.finish()
        for member in self._members:
            ray.kill(member.actor)
        self._members = []
        if self._is_ours:
            ray.shutdown()

    def _fill_up(self) -> None:
        """Ask Ray for the workers that are not there."""
        if time.monotonic() - self._filled_up < FILL_UP_EVERY:
            return
        self._filled_up = time.monotonic()
        wanted = self._room() if self._num_workers == "auto" else self._num_workers
        for _ in range(wanted - len(self._members)):
            actor = self._actor.remote()
            self._members.append(_Member(actor, actor.greet.remote(str(self._run))))

    def _room(self) -> int:
        """How many workers the machines of the cluster could hold if they had nothing else."""
        room = 0
        for node in ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                of_node = int(has.get("CPU", 0) // self._cpus)
                if self._gpus:
                    of_node = min(of_node, int(has.get("GPU", 0) / self._gpus + 1e-9))
                room += of_node
        return room

    def _wanted(self) -> str:
        gpus = f"{self._gpus:g} GPU and " if self._gpus else ""
        return f"{gpus}{self._cpus} CPU{'s' if self._cpus > 1 else ''}"

    def _take(self, member: _Member) -> Iterator[Done]:
        """Read what a worker answers."""
        try:
            answer, member.answer = ray.get(member.answer), None
        except RayTaskError as error:
            if isinstance(error.cause, MechshiftError):
                raise error.cause from None
            raise
        except RayError as error:
            self._lose(member, error)
            return
        if member.greeting is None:
            self._welcome(member, Greeting(*answer))
        elif not member.is_loaded:
            member.is_loaded = True
            self._lost[None] = 0
        else:
            assert member.job is not None
            done, member.job = Done(member.job, answer, member.name), None
            yield done

    def _welcome(self, member: _Member, greeting: Greeting) -> None:
        """Have a worker load the models, if it is of our versions and sees the run folder."""
        ours = package_versions()
        for name, version in ours.items():
            if greeting.versions.get(name) != version:
                raise ConfigError(
                    f"the worker on {greeting.machine} has {name}"
                    f" {greeting.versions.get(name, 'none')}, and this process {version}; install"
                    " the same on every machine of the cluster, and call the same again."
                )
        if greeting.holder != (self._run / HOLDER_NAME).read_text(encoding="utf-8"):
            raise ArtifactError(
                f"the worker on {greeting.machine} does not see the run folder {self._run}; put it"
                " on a file system that all machines of the cluster share."
            )
        taken = {
            one.place
            for one in self._members
            if one.greeting is not None and one.greeting.node == greeting.node
        }
        place = next(place for place in range(len(taken) + 1) if place not in taken)
        member.greeting, member.place = greeting, place
        cores = range(place * self._cpus, (place + 1) * self._cpus)
        member.answer = member.actor.load.remote(
            self._run, self._settings, self._device, cores, os.getcwd()
        )

    def _lose(self, member: _Member, error: RayError) -> None:
        """Do without a worker, and have its job done by another one."""
        self._members.remove(member)
        self._lost[member.job] += 1
        if self._lost[member.job] == MOST_LOST:
            if member.job is None:
                reason = str(error).strip().splitlines()[-1].strip()
                raise ArtifactError(
                    f"no worker starts on the cluster ({reason}); is there memory for its models,"
                    " and this version of mechshift on every machine? Then call the same again."
                )
            raise ArtifactError(
                f"{MOST_LOST} workers ended without a word over the same work, perhaps for lack of"
                " memory; what was saved is kept: call the same again, with fewer workers a"
                " machine if it happens again."
            )
        if member.job is not None:
            self._waiting.appendleft(member.job)


def _shares(device: str, gpus: float | None) -> tuple[str, float]:
    """The device of a worker, and its share of the GPUs, as the cluster and the options have it."""
    name, plus, rest = device.partition(OFFLOAD)
    if ":" in name:
        raise ConfigError(
            f"--device {device} is one device, and on a cluster Ray chooses it; give --device"
            f" {name.partition(':')[0]}."
        )
    if name == "auto":
        has_gpus = bool(ray.cluster_resources().get("GPU"))
        name = "cuda" if gpus or (gpus is None and has_gpus) else "cpu"
    if (name == "cpu") != (not gpus) and gpus is not None:
        raise ConfigError(
            f"--device {device} and --gpus-per-worker {gpus:g} contradict each other."
        )
    return name + plus + rest, (0.0 if name == "cpu" else 1.0) if gpus is None else gpus


def _connect(address: str) -> bool:
    """Join a cluster; False: this process has already joined one.

    Raises:
        ConfigError: there is none, or this machine is not one of it.
    """
    if ray.is_initialized():
        return False
    host, colon, port = address.rpartition(":")
    if colon:
        try:
            socket.create_connection((host, int(port)), timeout=ANSWERS_WITHIN).close()
        except (OSError, ValueError, OverflowError) as refusal:
            raise ConfigError(
                f"--cluster {address} does not answer ({refusal}); give the address that `ray"
                " start --head` printed, as HOST:PORT, or auto on a machine of the cluster."
            ) from None
    try:
        with _own_signals():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
            )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, RayError) as refusal:
        reason = (str(refusal).strip().splitlines() or [type(refusal).__name__])[0]
        raise ConfigError(
            f"--cluster {address}: {reason.rstrip('.')}; start Ray on this machine with `ray start"
            " --head`, or `ray start --address HOST:PORT` to join a cluster."
        ) from None
    return True


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this process does when it is asked to end, which Ray replaces."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with suppress(ValueError):  # not in the main thread, where Ray changes nothing either
            signal.signal(signal.SIGTERM, before)
