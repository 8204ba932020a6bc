"""How long does every stage of a run take at the graph of a 7B model, and how far from its least?

The pair of `random_pair`: Qwen2.5-7B's layers and heads at a width of 112, 3 M parameters, and a
task of one token, which both models solve. Beyond the passes of so small a model, a stage costs
here what it costs with 7B parameters.

The least of a stage are the passes that its definition needs, each as long as a bare one of the
stock model on the same batch, and the products of its definition, at the speed of a large matrix
product:

1. pool: a forward pass for every example and model;
2. scores: EAP-IG's forward and backward passes, and d_model products for every edge and token;
3. flow: the same passes;
4. semantics: a pass for the lenses, which are d_model x vocabulary products for every component,
   and the passes of attributing neurons;
5. faithfulness: a pass for every circuit and example, and the sums of parents of every input that
   differs, as products of matrices; two passes for what is ablated, and two on the discovery
   examples;
6. ablation: a pass for every plan, and for every single component the layers from its own on;
7. comparison: as `comparison` says.

Conclusions and report are held to seconds and megabytes, not to a least.

    python benchmarks/whole_run.py --help
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import tyro
from circuit_run import forward
from measuring import Spent, seconds_of, show, spent_on
from playwright.sync_api import sync_playwright
from random_pair import PairShape, write_random_pair

from attribution import forward_and_backward
from comparison import Pair, least_of
from mechshift.ablation import whole_passes
from mechshift.attribution import method_options
from mechshift.circuits import select_top_edges
from mechshift.comparison import ComparisonSettings
from mechshift.denoising import CanvasBatch, batch_canvases
from mechshift.evaluation.circuit_plan import plan_circuit
from mechshift.models import LanguageModel
from mechshift.run import RunSettings
from mechshift.run.analysis import store_analysis_plan
from mechshift.run.folders import KINDS
from mechshift.run.pair_options import PairOptions
from mechshift.run.pools import pool_canvases
from mechshift.run.reporting import report_page
from mechshift.run.stage import Given
from mechshift.run.stages import STAGES
from mechshift.run.store import read_pool
from mechshift.run.stored import RunTask
from mechshift.tasks import PoolConfig, Split, load_tasks


@dataclass(frozen=True)
class Options:
    """By default half an hour on one core."""

    shape: PairShape = field(default_factory=PairShape)
    comparison: ComparisonSettings = field(default_factory=ComparisonSettings)
    folder: Path | None = None
    """Where pair, run and what each stage took are kept; by default nowhere. A second call with
    the same options goes on with the stages that are missing."""
    threads: int = 1


def main(options: Options) -> None:
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        given = given_of(folder, options)
        spent = spent_on_stages(given, folder / "spent.json")
        least = least_of_stages(given)
        rows = [row(name, one, least.get(name)) for name, one in spent.items()]
        page = report_page(given.run)
        size, opening = page.stat().st_size / 1e6, opening_seconds(page)
    columns = ("", "processor s", "clock s", "peak GiB", "disk MB", "least s", "x least")
    show(title(options, given.pair.arm), columns, rows)
    opened = "no Chromium to open it" if opening is None else f"drawn {opening:.1f} s after opening"
    print(f"The page: {size:.1f} MB, {opened}")


def given_of(folder: Path, options: Options) -> Given:
    """The pair, its task and the settings of a run, with which `mechshift run` would begin."""
    shape = options.shape
    stored = write_random_pair(folder, shape)
    models = PairOptions(pair="random", arm=str(stored.arm), mdm=str(stored.mdm))
    settings = RunSettings(
        models=models,
        tasks=(str(stored.task),),
        pool=PoolConfig(num_examples=shape.examples, num_held_out=shape.held_out),
        comparison=options.comparison,
        skip=("controls",),
    )
    tasks = load_tasks(settings.task_names())
    run = folder / "run"
    run.mkdir(exist_ok=True)
    store_analysis_plan(run, settings.comparison, tuple(task.name for task in tasks))
    pair = settings.models.load("cpu", controls=False)
    return Given(run=run, pair=pair, tasks=tasks, settings=settings)


def spent_on_stages(given: Given, kept: Path) -> dict[str, Spent]:
    """Of every stage of a run, in its order; those that are kept in a file are not done again."""
    spent: dict[str, Spent] = {}
    if kept.exists():
        spent = {name: Spent(**one) for name, one in json.loads(kept.read_text()).items()}
    for stage in STAGES:
        if stage.pieces is None or not stage.is_wanted(given.settings) or stage.name in spent:
            continue
        spent[stage.name] = spent_on(stage, given)
        print(stage.name, f"{spent[stage.name].processor:.1f} s", flush=True)
        kept.write_text(json.dumps({name: asdict(one) for name, one in spent.items()}, indent=2))
    return spent


def row(name: str, spent: Spent, least: float | None) -> tuple[str, ...]:
    return (
        name,
        f"{spent.processor:.1f}",
        f"{spent.clock:.1f}",
        f"{spent.peak:.2f}",
        f"{spent.disk:.1f}",
        "" if least is None else f"{least:.1f}",
        "" if least is None else f"{spent.processor / least:.1f}",
    )


def opening_seconds(page: Path) -> float | None:
    """From opening a page in Chromium until its figures in view are drawn; None: no Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        opened = browser.new_page()
        start = time.perf_counter()
        opened.goto(page.as_uri())
        opened.wait_for_function("document.documentElement.dataset.drawn !== undefined")
        seconds = time.perf_counter() - start
        browser.close()
    return seconds


def title(options: Options, model: LanguageModel) -> str:
    shape = options.shape
    return (
        f"{model.module.num_parameters() / 1e6:.1f} M parameters,"
        f" {model.graph().num_edges:,} edges, {shape.examples} + {shape.held_out} examples of"
        f" {shape.tokens} tokens, {options.comparison.num_resamples} resamples,"
        f" {options.threads} threads"
    )


def least_of_stages(given: Given) -> dict[str, float]:
    """The least of each stage of a run that was done, both models together [processor seconds]."""
    (task,) = given.tasks
    seconds = {"pool": 0.0, "scores": 0.0, "flow": 0.0, "semantics": 0.0}
    seconds |= {"faithfulness": 0.0, "ablation": 0.0}
    product = product_seconds()
    settings, run = given.settings, given.run
    points = method_options("eap-ig")["ig_steps"]
    for model in given.pair.models:
        graph = model.graph()
        width = model.module.config.hidden_size
        discovery = Bare(model, batches(given, model, "discovery", settings.attribution.batch_size))
        held_out = Bare(model, batches(given, model, "held-out", settings.evaluation.batch_size))
        path = (points + 1) * discovery.forward + points * discovery.backward
        seconds["pool"] += discovery.forward + held_out.forward
        seconds["scores"] += path + discovery.tokens * graph.num_edges * width * product
        seconds["flow"] += path
        lenses = 2 + graph.num_layers * (2 * graph.num_heads + 2)
        read = discovery.readouts * lenses * width * model.vocab_size
        seconds["semantics"] += path + 2 * discovery.forward + read * product
        runs, summed = circuits_run(given, model)
        fed = summed * held_out.tokens * width
        seconds["faithfulness"] += (
            2 * discovery.forward + (2 + runs) * held_out.forward + fed * product
        )
        seconds["ablation"] += whole_passes(graph, settings.ablation) * held_out.forward
    scores = [RunTask(run=run, task=task.name).scores(kind) for kind in KINDS]
    seconds["comparison"] = least_of(Pair.of(scores), settings.comparison, whole=True).seconds
    return seconds


def batches(given: Given, model: LanguageModel, split: Split, batch_size: int) -> list[CanvasBatch]:
    """A pool's clean and corrupted tokens, as a stage would run them."""
    pool = read_pool(given.run, given.tasks[0].name, split)
    return list(batch_canvases(model, pool_canvases(pool, model), batch_size))


class Bare:
    """What the stock model takes for some batches [processor seconds]; the best of a few times."""

    def __init__(self, model: LanguageModel, batches: Sequence[CanvasBatch]) -> None:
        """Measure."""
        self.tokens = sum(int(batch.attention_mask.sum()) for batch in batches)
        self.readouts = sum(len(batch.readout_row) for batch in batches)
        self.forward = best(lambda: [forward(model, batch) for batch in batches])
        both = best(lambda: [forward_and_backward(model, batch) for batch in batches])
        self.backward = both - self.forward


def best(work: Callable[[], object]) -> float:
    """Processor seconds of the fastest of a few rounds."""
    return min(seconds_of(work)[1] for _ in range(5))


def product_seconds() -> float:
    """A multiplication and an addition, in a product of large matrices [processor seconds]."""
    left, right = torch.ones(512, 1024), torch.ones(1024, 4096)
    return best(lambda: left @ right) / (512 * 1024 * 4096)


def circuits_run(given: Given, model: LanguageModel) -> tuple[int, int]:
    """How many circuits a model was run on, and elements of the matrices of their parents.

    Of the circuits that are small alike, baselines and those found anew, live edges are counted.
    """
    run, task = given.run, given.tasks[0].name
    baselines = RunTask(run=run, task=task).baselines(model.kind)
    rediscovery = RunTask(run=run, task=task).rediscovery(model.kind)
    small = [baselines.random, baselines.activation]
    if rediscovery is not None:
        small += [*rediscovery.without_fold.values(), rediscovery.halves]
    live = np.concatenate([metrics.live_sizes for metrics in small])
    runs, elements = len(live), int(live.sum())
    for owner, metrics in RunTask(run=run, task=task).circuit_metrics(model.kind).items():
        scores = RunTask(run=run, task=task).scores(owner)
        mean = scores.mean()
        for size in metrics.sizes.tolist():
            plan = plan_circuit(model, select_top_edges(scores.graph, mean, size))
            inputs = [(layer.parents, layer.mlp_parents) for layer in plan.layers]
            elements += sum(one.numel() for both in inputs for one in both if one is not None)
            runs += 1
    return runs, elements


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
