"""A run that is made by an array of Slurm jobs, one a task.

1. This script holds the run folder, so that no other command writes in it, and queues the jobs.
2. Every job loads the models and makes what the stages need of its task, with the worker of
   `mechshift run --devices` and `--cluster`, in a run folder of its own, RUN.parts/TASK: a stage
   asks for all tasks that a folder holds, and those of other jobs are not ready.
3. Slurm tells a job that is preempted, or at the end of its time, with a signal; submitit queues it
   again, and it goes on where it was. Start the script again after a job has failed; where it was
   killed, end its jobs first (`scancel`).
4. What was made is copied into RUN, where `mechshift run` finds all that there is of the tasks, and
   makes what speaks of all of them.

The run has the bytes of one in a single process. submitit is part of the extra `cluster`. What
stands behind `--` are the options of `mechshift run`:

    python examples/slurm_array.py /shared/runs/dream --slurm-partition gpu --gpus 1 \\
        -- --pair dream-7b --dtype bfloat16
    python examples/slurm_array.py runs/tiny --executor local -- --tasks ioi infilling
"""

import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import submitit
import tyro
from tyro.conf import Positional

from mechshift.cli.main import main as mechshift
from mechshift.locks import hold_folder
from mechshift.run import STAGES, RunSettings
from mechshift.run.analysis import store_analysis_plan
from mechshift.run.jobs import Job, Worker
from mechshift.tasks import load_tasks


@dataclass(frozen=True)
class Options:
    """How the jobs are queued."""

    run: Positional[Path]
    """The run folder, on a file system that all machines share."""
    executor: str = "slurm"
    """slurm, or local for processes of this machine, all at once."""
    slurm_partition: str | None = None
    gpus: int = 0
    """Of each job: 1, or 0 for a CPU; a worker computes on one."""
    cpus: int = 1
    """Of each job."""
    minutes: int = 24 * 60
    """After which a job is queued again and goes on."""
    most_requeued: int = 50
    """How often that may be."""
    at_once: int = 64
    """Jobs of the array that run at the same time, at most."""

    @property
    def device(self) -> str:
        return "cuda" if self.gpus else "cpu"

    @property
    def jobs(self) -> Path:
        """Where submitit keeps what it queued, and the jobs' logs."""
        return self.run.resolve().with_name(f"{self.run.name}.jobs")

    def part(self, task: str) -> Path:
        """Where the job of a task writes."""
        return self.run.resolve().with_name(f"{self.run.name}.parts") / task


class MakeTask(submitit.helpers.Checkpointable):
    """A job: all that stages make of one task, which goes on where it was when queued again."""

    def __call__(self, part: Path, settings: RunSettings, task: str, device: str) -> None:
        worker = Worker(part, settings, device, tell=lambda _: None)
        for stage in STAGES:
            if stage.is_wanted(settings) and stage.remade == "never":
                folders = worker.folders(stage.name)
                for piece in worker.do(Job(stage.name)):
                    if folders[piece].relative_to(part).parts[1] == task:
                        make(worker, Job(stage.name, piece))


def make(worker: Worker, job: Job) -> None:
    """A piece, after its chunks where it has any."""
    chunks = worker.do(job)
    for chunk in chunks:
        worker.do(job._replace(chunk=chunk))
    if chunks:
        worker.do(job)


def main(options: Options, words: list[str]) -> int:
    settings: RunSettings = tyro.cli(RunSettings, args=words)
    tasks = [task.name for task in load_tasks(settings.task_names())]
    with hold_folder(options.run):
        store_analysis_plan(options.run, settings.comparison, tuple(tasks))  # before any score
        jobs = queued(options, settings, tasks)
        failed = [task for task, job in zip(tasks, jobs, strict=True) if not ended_well(job)]
        if failed:
            print(f"failed: {', '.join(failed)}; see {options.jobs}", file=sys.stderr)
            return 2
        for task in tasks:
            gather(options.part(task), options.run)
    return mechshift(["run", str(options.run), *words, "--device", options.device])


def queued(options: Options, settings: RunSettings, tasks: list[str]) -> list[submitit.Job]:
    """One job a task: an array, on Slurm."""
    executor = submitit.AutoExecutor(
        folder=options.jobs,
        cluster=options.executor,
        slurm_max_num_timeout=options.most_requeued,
    )
    executor.update_parameters(
        timeout_min=options.minutes,
        cpus_per_task=options.cpus,
        gpus_per_node=options.gpus,
        slurm_array_parallelism=options.at_once,
        **({"slurm_partition": options.slurm_partition} if options.slurm_partition else {}),
    )
    parts, number = [options.part(task) for task in tasks], len(tasks)
    return executor.map_array(
        MakeTask(), parts, [settings] * number, tasks, [options.device] * number
    )


def ended_well(job: submitit.Job) -> bool:
    """Wait for a job."""
    while not job.done():
        time.sleep(1)
    return job.exception() is None


def gather(part: Path, run: Path) -> None:
    """Copy what a part holds of its task, stage by stage, unless it is there already."""
    for folder in sorted(path for path in part.glob("[!.]*/*/") if path.is_dir()):
        place = run / folder.relative_to(part)
        if not place.exists():
            partial = place.with_name(f".{place.name}.gathered")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(folder, partial)
            partial.rename(place)


if __name__ == "__main__":
    given = sys.argv[1:]
    own = given[: given.index("--")] if "--" in given else given
    sys.exit(main(tyro.cli(Options, args=own, description=__doc__), given[len(own) + 1 :]))
