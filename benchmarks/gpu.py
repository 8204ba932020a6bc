"""How long does each stage take on a GPU at a 7B model's full shape, and does the plan say so?

A random pair, made on the device and downloaded from nowhere: on a GPU Qwen2.5-7B's layers, heads,
widths and vocabulary in bfloat16, elsewhere the same layers and heads at a width of 112.

1. pair: writes its task, of examples that both models solve, its configurations and tokenizers.
2. plan: what `mechshift plan` says of the stages below, and the batch sizes that it chooses.
3. pool, scores, flow, faithfulness, ablation, comparison: each as a run does it, its time and the
   peak of memory beside the plan's: torch's own on a GPU, on a CPU what the process grew by.
4. eap-ig: EAP-IG beside the passes that it needs, on the pair's ARM (`attribution`).
5. devices: a small model's scores on the GPU beside the CPU's; without a GPU, those of a batch
   beside those of one example at a time.

Each step leaves its result in FOLDER/results/STEP.json, and one whose result is there is skipped,
so a second call does what the first did not. A step that fails, or takes longer than
`--step-seconds`, is named in the table, and the next one begins. The table is FOLDER/gpu.md; the
status is 1 if a step has no result. benchmarks/gpu.sh sets up an environment and a limit for all.

    python benchmarks/gpu.py --help
"""

import gc
import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from measuring import resident_bytes, spent_on
from random_pair import PairShape, StoredPair, random_modules, write_beside_weights
from random_problem import Problem
from scipy.stats import spearmanr
from transformers import PreTrainedModel

import attribution
from mechshift.attribution import eap_ig
from mechshift.comparison import ComparisonSettings
from mechshift.models import Attention, Kind, LanguageModel, ModelPair
from mechshift.models.language_model import probe_attention
from mechshift.models.tokenizers import read_tokenizer
from mechshift.run import RunSettings
from mechshift.run.analysis import store_analysis_plan
from mechshift.run.folders import ABLATION, COMPARISON, FAITHFULNESS, FLOW, POOL, SCORES
from mechshift.run.pair_options import PairOptions
from mechshift.run.planning import MachineOptions, plan_run
from mechshift.run.stage import Given
from mechshift.run.stages import STAGES
from mechshift.tasks import PoolConfig, load_tasks

ON_GPU = torch.cuda.is_available()

QWEN_7B = PairShape(
    width=3584,
    mlp_width=18944,
    vocabulary=152064,
    tokens=20,
    examples=50,
    held_out=50,
    spare=0.5,
)
"""Qwen2.5-7B as it is; half of the examples more, since bfloat16 rounds by the batch."""

NARROW = PairShape(examples=50)
"""The same graph in 3 M parameters."""

TIMED = (POOL, SCORES, FLOW, FAITHFULNESS, ABLATION, COMPARISON)
"""Stages of a run, in its order."""


@dataclass(frozen=True)
class Options:
    """By default what fits this machine: the full shape on a GPU, a narrow one on a CPU."""

    folder: Path = Path("runs/gpu")
    """Of the table, each step's result, and the run itself; a second call goes on there."""
    shape: PairShape = field(default_factory=lambda: QWEN_7B if ON_GPU else NARROW)
    dtype: Literal["float32", "bfloat16"] = "bfloat16" if ON_GPU else "float32"
    """Of the pair."""
    comparison: ComparisonSettings = field(default_factory=ComparisonSettings)
    problem: Problem = field(default_factory=Problem)
    """The small model whose scores two devices compute, and the batch of EAP-IG's timing."""
    rounds: int = 3
    """Timings of EAP-IG and of its passes."""
    step_seconds: int = 300
    """A step that takes longer is given up."""
    threads: int | None = None
    """Of the CPU; by default torch's own number."""
    steps: tuple[str, ...] = ()
    """Of the list above; by default all."""
    only_table: bool = False
    """Do no step; make the table of what is there."""


class OutOfTimeError(Exception):
    """A step took longer than it may."""


def main(options: Options) -> int:
    """Do the steps that lack a result, write and print the table; 1 if one has none."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    bench = Bench(options)
    failed: dict[str, str] = {}
    for name, step in bench.steps().items():
        if options.only_table or bench.result(name) is not None:
            continue
        say(f"{name}: begins")
        began = time.perf_counter()
        try:
            with at_most(options.step_seconds):
                result = step()
        except Exception as error:  # whatever a step runs into is a row of the table
            failed[name] = first_line(error)
            traceback.print_exc()
            say(f"{name}: failed: {failed[name]}")
        else:
            bench.keep(name, result)
            say(f"{name}: done in {time.perf_counter() - began:.1f} s")
        gc.collect()
        if ON_GPU:
            torch.cuda.empty_cache()
    table = markdown(bench, failed)
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "gpu.md").write_text(table, encoding="utf-8")
    print(table)
    return int(any(bench.result(name) is None for name in bench.steps()))


def say(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, flush=True)


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:200]


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise `OutOfTimeError` inside the block once it has taken so long."""

    def stop(_signal: int, _frame: object) -> None:
        raise OutOfTimeError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


Result = dict[str, Any]
"""What a step found, as it is stored."""


class Bench:
    """The steps, and their results in a folder."""

    def __init__(self, options: Options) -> None:
        """Begin where an earlier call with the same options stopped."""
        self.options = options
        self.device = "cuda" if ON_GPU else "cpu"
        folder = options.folder
        self.stored = StoredPair(
            arm=folder / "arm", mdm=folder / "mdm", task=folder / "random-words.jsonl"
        )

    def steps(self) -> dict[str, Callable[[], Result]]:
        """By name, in order."""
        steps = {
            "pair": self.write_pair,
            "plan": self.plan,
            **{name: partial(self.stage, name) for name in TIMED},
            "eap-ig": self.time_eap_ig,
            "devices": self.compare_devices,
        }
        wanted = self.options.steps or tuple(steps)
        return {name: step for name, step in steps.items() if name in wanted}

    def result(self, step: str) -> Result | None:
        path = self._result_path(step)
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def keep(self, step: str, result: Result) -> None:
        path = self._result_path(step)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(result, indent=2), encoding="utf-8")
        os.replace(partial, path)

    def _result_path(self, step: str) -> Path:
        return self.options.folder / "results" / f"{step}.json"

    def settings(self, *, planned: bool) -> RunSettings:
        """Of the run; with the batch sizes of the plan, once it is there."""
        shape = self.options.shape
        settings = RunSettings(
            models=PairOptions(
                pair="random",
                arm=str(self.stored.arm),
                mdm=str(self.stored.mdm),
                dtype=self.options.dtype,
            ),
            tasks=(str(self.stored.task),),
            pool=PoolConfig(num_examples=shape.examples, num_held_out=shape.held_out, num_others=0),
            comparison=self.options.comparison,
            skip=("controls", "semantics"),
        )
        for name, size in self.planned()["batch_sizes"].items() if planned else ():
            own = replace(getattr(settings, name), batch_size=size)
            settings = replace(settings, **{name: own})
        return settings

    def planned(self) -> Result:
        """The result of the step `plan`, without which no stage is run."""
        result = self.result("plan")
        if result is None:
            raise RuntimeError("there is no plan, whose batch sizes the stages take")
        return result

    def modules(self) -> tuple[PreTrainedModel, PreTrainedModel]:
        dtype = getattr(torch, self.options.dtype)
        return random_modules(self.options.shape, device=self.device, dtype=dtype)

    def write_pair(self) -> Result:
        """All of the pair but its weights, which are made anew where they are needed."""
        began = time.perf_counter()
        arm, mdm = self.modules()
        made = time.perf_counter() - began
        probe_attention(arm, "causal")
        probe_attention(mdm, "full")
        write_beside_weights(self.stored, arm, mdm, self.options.shape)
        return {
            "parameters": arm.num_parameters(),
            "seconds to make both": made,
            "seconds": time.perf_counter() - began,
        }

    def plan(self) -> Result:
        """Before the models are made, so that what is free is what a run finds."""
        machine = MachineOptions(device=self.device)
        plan = plan_run(self.settings(planned=False), machine, solved=1.0)
        stages: dict[str, Result] = {}
        for one in plan.stages:
            stage = stages.setdefault(one.stage, {"seconds": 0.0, "device": 0, "host": 0})
            stage["seconds"] += one.seconds
            for peak in one.work.peaks:
                stage[peak.memory] = max(stage[peak.memory], peak.total_bytes)
        return {
            "machine": plan.machine.device,
            "speed": plan.machine.note,
            "num_edges": plan.num_edges,
            "batch_sizes": dict(plan.batch_sizes),
            "stages": stages,
        }

    @cached_property
    def given(self) -> Given:
        """The run with its pair in memory, made when the first step needs it."""
        folder, settings = self.options.folder, self.settings(planned=True)
        if not self.stored.task.exists():
            raise RuntimeError("there is no pair")
        arm, mdm = self.modules()
        pair = ModelPair(
            name="random",
            arm=self.language_model(arm, "arm", "causal"),
            mdm=self.language_model(mdm, "mdm", "full"),
        )
        run = folder / "run"
        run.mkdir(exist_ok=True)
        tasks = load_tasks(settings.task_names())
        store_analysis_plan(run, settings.comparison, tuple(task.name for task in tasks))
        return Given(run=run, pair=pair, tasks=tasks, settings=settings)

    def language_model(
        self, module: PreTrainedModel, kind: Kind, attention: Attention
    ) -> LanguageModel:
        """One of the pair, whose hash names all that its weights are made from."""
        made_from = (kind, self.options.shape, self.options.dtype, self.device, torch.__version__)
        tokenizer = read_tokenizer(getattr(self.stored, kind))
        return LanguageModel(
            name=f"random-{kind}",
            kind=kind,
            module=module,
            tokenizer=tokenizer,
            attention=attention,
            shift=True,
            mask_token_id=tokenizer.mask_token_id,
            weights_hash=sha256(repr(made_from).encode()).hexdigest(),
        )

    def stage(self, name: str) -> Result:
        """Do one stage of the run, and say what it took."""
        (stage,) = (one for one in STAGES if one.name == name)
        given = self.given
        before = resident_bytes()
        if ON_GPU:
            torch.cuda.reset_peak_memory_stats()
        spent = spent_on(stage, given)
        grown = max(0, round(spent.peak * 2**30) - before)
        weights = [one for model in given.pair.models for one in model.module.parameters()]
        # Counting all tensors of a CPU would take longer than most stages.
        of_cpu = grown + sum(one.nbytes for one in weights)
        return asdict(spent) | {
            "device_bytes": torch.cuda.max_memory_allocated() if ON_GPU else of_cpu,
            "host_bytes": grown,
        }

    def time_eap_ig(self) -> Result:
        """On the pair's ARM, with the length of its prompts."""
        problem = replace(self.options.problem, tokens=self.options.shape.tokens)
        rows = attribution.rows_of(self.given.pair.arm, problem, self.options.rounds)
        return {"rows": rows, "batch": problem.batch, "tokens": problem.tokens}

    def compare_devices(self) -> Result:
        """Scores of a small model here, beside the CPU's; or, on a CPU, one example at a time."""
        problem = self.options.problem
        here = problem.model()
        there = replace(here, module=deepcopy(here.module).to(device="cpu"))
        canvases = problem.canvases(here)

        def scored(model: LanguageModel, batch_size: int) -> np.ndarray:
            scores = eap_ig(
                model,
                canvases,
                metric="logit_diff",
                ig_steps=problem.ig_steps,
                batch_size=batch_size,
            )
            return scores.values

        ours, theirs = scored(here, problem.batch), scored(there, problem.batch if ON_GPU else 1)
        means = [np.abs(values.sum(axis=1).mean(axis=0)) for values in (ours, theirs)]
        return {
            "of": "scores on the GPU and the CPU"
            if ON_GPU
            else "scores by the batch and one by one",
            "parameters": here.module.num_parameters(),
            "difference": float(np.abs(ours - theirs).max() / np.abs(theirs).max()),
            "spearman": float(spearmanr(*means).statistic),
        }


def markdown(bench: Bench, failed: dict[str, str]) -> str:
    """The table, with a line for each step that has no result."""
    parts = [*title(bench), *stage_table(bench), *eap_ig_table(bench), *devices_line(bench)]
    for name in bench.steps():
        if bench.result(name) is None:
            parts.append(f"- {name}: {failed.get(name, 'not done')}")
    return "\n".join(parts) + "\n"


def title(bench: Bench) -> list[str]:
    pair, plan, shape = bench.result("pair"), bench.result("plan"), bench.options.shape
    if pair is None or plan is None:
        return []
    sizes = ", ".join(f"{name} {size}" for name, size in plan["batch_sizes"].items())
    return [
        f"{plan['machine']}, torch {torch.__version__}: a random pair of"
        f" {pair['parameters'] / 1e6:,.1f} M parameters in {bench.options.dtype},"
        f" {plan['num_edges']:,} edges, {shape.examples} + {shape.held_out} examples of"
        f" {shape.tokens} tokens, {bench.options.comparison.num_resamples:,} resamples. Batch sizes"
        f" of the plan: {sizes}. Its speed: {plan['speed']}.",
        "",
    ]


def stage_table(bench: Bench) -> list[str]:
    """Planned and measured; of the comparison the host's memory, of all others the device's."""
    header = ("", "planned s", "measured s", "ratio", "planned GB", "measured GB", "ratio")
    lines, plan = [], bench.result("plan")
    for name in TIMED:
        result = bench.result(name)
        if result is None or plan is None:
            continue
        planned = plan["stages"][name]
        memory = "host" if name == COMPARISON else "device"
        bytes_ = planned[memory], result[f"{memory}_bytes"]
        lines.append(
            (
                name,
                f"{planned['seconds']:.1f}",
                f"{result['clock']:.1f}",
                f"{planned['seconds'] / result['clock']:.2f}",
                *(f"{number / 1e9:.3f}" for number in bytes_),
                f"{bytes_[0] / bytes_[1]:.2f}" if bytes_[1] else "",
            )
        )
    return table(header, lines) if lines else []


def eap_ig_table(bench: Bench) -> list[str]:
    result = bench.result("eap-ig")
    if result is None:
        return []
    batch = f"{result['batch']} x {result['tokens']} tokens"
    return table((f"the ARM, {batch}", *attribution.COLUMNS[1:]), result["rows"])


def devices_line(bench: Bench) -> list[str]:
    result = bench.result("devices")
    if result is None:
        return []
    return [
        f"A model of {result['parameters'] / 1e6:.0f} M parameters in float32: {result['of']}"
        f" differ by at most {result['difference']:.1e} of the largest score; rank correlation of"
        f" the mean |score| over edges {result['spearman']:.6f}.",
        "",
    ]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """In Markdown, and an empty line."""
    rule = ("---" for _ in header)
    return [*(f"| {' | '.join(row)} |" for row in (header, rule, *rows)), ""]


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Options, description=__doc__)))
