"""A run whose tasks are made by an array of Slurm jobs, one a task, and then put together.

1. Every job of the array makes all stages of one task, in a run folder of its own, RUN.parts/TASK.
2. Slurm tells a job that is preempted, or at the end of its time, with a signal; submitit queues it
   again, and it goes on where it was: `mechshift run` always does. Start the script again after a
   job has failed.
3. What was made of each task is copied into RUN, where the same command with all tasks finds it:
   only the numbers that speak of all tasks, and the report, are left to make.

RUN holds the bytes of a run in one process. submitit is part of the extra `cluster`. What stands
behind `--` goes to `mechshift run`:

    python examples/slurm_array.py runs/dream --slurm-partition gpu --gpus 1 \\
        -- --pair dream-7b --dtype bfloat16 --tasks ioi greater-than countdown-3 infilling
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


@dataclass(frozen=True)
class Options:
    """How the jobs are queued."""

    run: Positional[Path]
    """The run folder, on a file system that all machines share."""
    executor: str = "slurm"
    """slurm, or local for processes of this machine, all at once."""
    slurm_partition: str | None = None
    gpus: int = 0
    """Of each job; more than one is `--devices auto` for its task."""
    cpus: int = 1
    """Of each job."""
    minutes: int = 24 * 60
    """After which a job is queued again and goes on."""
    most_requeued: int = 50
    """How often that may be."""
    at_once: int = 64
    """Jobs of the array that run at the same time, at most."""


class MakeRun(submitit.helpers.Checkpointable):
    """A job: `mechshift run`, which goes on where it was when it is queued again."""

    def __call__(self, folder: str, words: list[str]) -> None:
        status = mechshift(["run", folder, *words])
        if status:
            raise SystemExit(status)


def main(options: Options, words: list[str]) -> int:
    tasks, rest = split_tasks(words)
    parts = {task: parts_of(options.run) / Path(task).stem for task in tasks}
    jobs = queued(options, [(str(parts[task]), [*rest, "--tasks", task]) for task in tasks])
    failed = [task for task, job in zip(tasks, jobs, strict=True) if not ended_well(job)]
    if failed:
        logs = parts_of(options.run) / "jobs"
        print(f"failed: {', '.join(failed)}; see {logs}, and start this again.", file=sys.stderr)
        return 2
    for part in parts.values():
        gather(part, options.run)
    return mechshift(["run", str(options.run), *rest, "--tasks", *tasks])


def queued(options: Options, calls: list[tuple[str, list[str]]]) -> list[submitit.Job]:
    """One job a call: an array, on Slurm."""
    executor = submitit.AutoExecutor(
        folder=parts_of(options.run) / "jobs",
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
    devices = ["--devices", "auto"] if options.gpus > 1 else []
    folders, words = zip(*calls, strict=True)
    return executor.map_array(MakeRun(), folders, [[*one, *devices] for one in words])


def ended_well(job: submitit.Job) -> bool:
    """Wait for a job."""
    while not job.done():
        time.sleep(1)
    return job.exception() is None


def gather(part: Path, run: Path) -> None:
    """Copy what a part holds of its task, by stage, unless it is there already."""
    for folder in sorted(path for path in part.glob("[!.]*/*/") if path.is_dir()):
        place = run / folder.relative_to(part)
        if folder.parent.name not in ("analysis", "report") and not place.exists():
            partial = place.with_name(f".{place.name}.gathered")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(folder, partial)
            partial.rename(place)


def split_tasks(words: list[str]) -> tuple[list[str], list[str]]:
    """The values of --tasks, and all other words."""
    if "--tasks" not in words:
        raise SystemExit("name the --tasks behind `--`: each is a job.")
    start = words.index("--tasks")
    end = next((n for n in range(start + 1, len(words)) if words[n].startswith("-")), len(words))
    return words[start + 1 : end], [*words[:start], *words[end:]]


def parts_of(run: Path) -> Path:
    """Where the jobs write."""
    return run.with_name(f"{run.name}.parts")


if __name__ == "__main__":
    given = sys.argv[1:]
    own = given[: given.index("--")] if "--" in given else given
    sys.exit(main(tyro.cli(Options, args=own, description=__doc__), given[len(own) + 1 :]))
