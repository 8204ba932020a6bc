"""The commands that make a run: all stages in order, or one at a time.

A function's signature is its command's options, and its docstring the command's help.
"""

from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from mechshift.ablation import AblationSettings
from mechshift.cli.tables import print_table
from mechshift.comparison import ComparisonSettings
from mechshift.models import Kind
from mechshift.run import (
    AlternativesSettings,
    AttributionSettings,
    ClusterOptions,
    EvaluationSettings,
    ExplanationSettings,
    FormatName,
    PairOptions,
    RunSettings,
    SweepSettings,
    ablate_pair,
    alternatives_table,
    analyse_pair,
    ask_controls,
    compare_pair,
    conclude_run,
    evaluate_files,
    evaluate_pair,
    explain_run,
    export_circuits,
    find_alternatives,
    left_out,
    load_stored_pair,
    make_pools,
    pool_table,
    run_experiment,
    score_edges,
    score_others,
    stage_lines,
    sweep_num_steps,
    sweep_table,
    trace_flow,
    write_report,
)
from mechshift.run.folders import KINDS
from mechshift.run.settings import Unprefixed
from mechshift.semantics import SemanticsSettings
from mechshift.tasks import PoolConfig, load_tasks


def run(
    folder: Positional[Path],
    settings: Annotated[RunSettings, Unprefixed] = RunSettings(),
    device: str = "auto",
    devices: int | Literal["auto"] | None = None,
    cluster: Annotated[ClusterOptions, Unprefixed] = ClusterOptions(),
    quiet: bool = False,
) -> None:
    """Compare the circuits of a pair, from examples to report.

    Every stage is skipped where its result is there already, so a killed run goes on where it
    stopped. Example: mechshift run runs/first --pair tiny --tasks ioi greater-than

    Args:
        folder: where everything is written.
        settings: what is compared, and how.
        device: cpu, cuda, cuda:1; auto takes a GPU where there is one. cuda+offload keeps
            weights that do not fit in the host's memory, cuda+offload=20 all beyond 20 GB.
        devices: how many work at once, each with its own copy of the models: so many GPUs, or
            shares of the CPU's cores; auto takes every GPU. By default one, and with --cluster
            as many as it has room for.
        cluster: where they work, if not on this machine.
        quiet: no progress bars.
    """
    page = run_experiment(
        folder, settings, device=device, devices=devices, cluster=cluster, quiet=quiet
    )
    print_table(pool_table(folder))
    if "sweep" in settings.also:
        _print_sweep(folder, settings.sweep)
    if "alternatives" in settings.also:
        print_table(alternatives_table(folder))
    print(f"\nThe report: {page}")


def run_help() -> str:
    """The help of `run`: that of the function, and the stages in their order."""
    stages = "\n".join(f"{place}. {line}." for place, line in enumerate(stage_lines(), start=1))
    return f"{cleandoc(run.__doc__ or '').split('Args:')[0].strip()}\n\nStages, in order:\n{stages}"


def pool(
    folder: Positional[Path],
    models: Annotated[PairOptions, Unprefixed] = PairOptions(),
    tasks: tuple[str, ...] = (),
    pool: Annotated[PoolConfig, Unprefixed] = PoolConfig(),
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """Find examples that both models of a pair get right.

    Args:
        folder: the run folder to begin.
        models: which two models.
        tasks: names that `mechshift tasks` lists, or .jsonl files; by default the pair's own.
        pool: which examples.
        device: cpu, cuda, cuda:1; auto takes a GPU where there is one. cuda+offload keeps
            weights that do not fit in the host's memory, cuda+offload=20 all beyond 20 GB.
        quiet: no progress bars.
    """
    chosen = load_tasks(tasks or models.default_tasks())
    make_pools(folder, models.load(device), models, chosen, pool, quiet=quiet)
    print_table(pool_table(folder))


def attribute(
    folder: Positional[Path],
    settings: Annotated[AttributionSettings, Unprefixed] = AttributionSettings(),
    controls: bool = True,
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """Score every edge of both models on the pooled examples.

    The method is EAP-IG unless --method says otherwise; an option that it does not have is refused.
    The pair's controls are scored too, and asked the held-out examples: the ARM's weights with the
    MDM's attention, the MDM's with the ARM's, and what else the pair names. They tell what the
    attention mask does from what training did, and cost as much again as the pair. So is the pool's
    sample of candidates that not both models solve.

    Args:
        folder: a run folder with a pool.
        settings: how edges are scored.
        controls: the pair's controls too.
        device: cpu, cuda, cuda:1; auto takes a GPU where there is one. cuda+offload keeps
            weights that do not fit in the host's memory, cuda+offload=20 all beyond 20 GB.
        quiet: no progress bars.
    """
    pair = load_stored_pair(folder, device, controls=controls)
    score_edges(folder, pair, settings, quiet=quiet)
    score_others(folder, pair, settings, quiet=quiet)
    ask_controls(folder, pair, quiet=quiet)


def flow(
    folder: Positional[Path],
    settings: Annotated[AttributionSettings, Unprefixed] = AttributionSettings(),
    controls: bool = True,
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """Trace between which positions of the text attributed information flows.

    Which part of what a model reads lies to the right of where it reads, and which denoising step
    reads from which span? Always by gradients of EAP-IG: give --metric, --ig-steps and --rule as to
    `attribute`; the options of other methods change nothing. The pool's sample of candidates that
    not both models solve is traced too. Write the report anew afterwards.
    Example: mechshift flow runs/first --ig-steps 5

    Args:
        folder: a run folder with a pool.
        settings: metric, points of the path, batch and chunk size.
        controls: the pair's controls too.
        device: cpu, cuda, cuda:1; auto takes a GPU where there is one. cuda+offload keeps
            weights that do not fit in the host's memory, cuda+offload=20 all beyond 20 GB.
        quiet: no progress bars.
    """
    pair = load_stored_pair(folder, device, controls=controls)
    trace_flow(folder, pair, settings, quiet=quiet)


def analyse(
    folder: Positional[Path],
    settings: Annotated[SemanticsSettings, Unprefixed] = SemanticsSettings(),
    experts: bool = False,
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """Read what the components of both models do: lenses, concentration, roles, neurons.

    Is the work spread over more components, do they still write towards the answer, which heads
    hold a known role, and on which tokens do the early layers' neurons fire? Write the report anew
    afterwards. Example: mechshift analyse runs/first --num-neurons 10

    Args:
        folder: a run folder with scores.
        settings: how much is kept, resamples, threshold of a role.
        experts: score each expert of a mixture of experts too.
        device: cpu, cuda, cuda:1; auto takes a GPU where there is one. cuda+offload keeps
            weights that do not fit in the host's memory, cuda+offload=20 all beyond 20 GB.
        quiet: no progress bars.
    """
    pair = load_stored_pair(folder, device)
    analyse_pair(folder, pair, settings, experts=experts, quiet=quiet)


def explain(
    folder: Positional[Path],
    settings: Annotated[ExplanationSettings, Unprefixed],
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """Ask a language model for one sentence on when each described neuron fires; never part of run.

    The sentence is made from half of the neuron's contexts, and scored on the other half: by the
    correlation of the activations that the same model guesses from it with the real ones. Texts of
    the run are sent to the endpoint. An endpoint's key is read from an environment variable. Write
    the report anew afterwards. Examples:
    mechshift explain runs/first --endpoint http://localhost:8000/v1 --model my-model
    mechshift explain runs/first --local models/my-chat-model --num-neurons 3

    Args:
        folder: a run folder whose components were analysed.
        settings: the text model, and how many neurons.
        device: of a local model: cpu, cuda, cuda:1; auto takes a GPU where there is one.
        quiet: no progress bars.
    """
    explain_run(folder, settings, device=device, quiet=quiet)


def evaluate(
    folder: Positional[Path],
    settings: Annotated[EvaluationSettings, Unprefixed] = EvaluationSettings(),
    circuit_size: int | None = None,
    circuit: tuple[Path, ...] = (),
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """Run both models on their own, on each other's and on baseline circuits.

    With --circuit, circuits from files are run instead, and a table is printed. Example:
    mechshift evaluate runs/first --circuit exported/ioi-arm-circuit.json

    Args:
        folder: a run folder with scores.
        settings: which sizes, what is ablated, and against what circuits are held.
        circuit_size: the size at which `compare` will compare [edges]; it is tested too.
        circuit: files in MIB's JSON, GraphML or safetensors; nothing is written to the run.
        device: cpu, cuda, cuda:1; auto takes a GPU where there is one. cuda+offload keeps
            weights that do not fit in the host's memory, cuda+offload=20 all beyond 20 GB.
        quiet: no progress bars.
    """
    pair = load_stored_pair(folder, device)
    if circuit:
        print_table(evaluate_files(folder, pair, circuit, settings, quiet=quiet))
        return
    evaluate_pair(folder, pair, settings, circuit_size=circuit_size, quiet=quiet)


def ablate(
    folder: Positional[Path],
    settings: Annotated[AblationSettings, Unprefixed] = AblationSettings(),
    circuit_size: int | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """Measure what both models lose when some of their structures write something else.

    Do early heads, MLPs or whole layers matter more to the MDM than to the ARM, and more than
    random structures of the same number or norm? What does each head and MLP cost by itself? The
    defaults zero thirds of the layers on 40 held-out examples. A pass over these is run for each
    structure, control and replacement, so ask for more with care. Write the report anew afterwards.
    Example: mechshift ablate runs/first --replacements zero mean resample --num-examples 100

    Args:
        folder: a run folder with scores.
        settings: what is ablated, how, and on how many examples.
        circuit_size: edges of the circuit whose nodes are ablated; by default as `compare` chooses.
        device: cpu, cuda, cuda:1; auto takes a GPU where there is one. cuda+offload keeps
            weights that do not fit in the host's memory, cuda+offload=20 all beyond 20 GB.
        quiet: no progress bars.
    """
    pair = load_stored_pair(folder, device)
    ablate_pair(folder, pair, settings, circuit_size=circuit_size, quiet=quiet)


def compare(
    folder: Positional[Path],
    settings: Annotated[ComparisonSettings, Unprefixed] = ComparisonSettings(),
    quiet: bool = False,
) -> None:
    """Compare the two models' circuits: overlap and depth, with intervals.

    Args:
        folder: a run folder with scores.
        settings: circuit size, resamples, level and seed.
        quiet: no progress bar.
    """
    compare_pair(folder, settings, quiet=quiet)


def sweep(
    folder: Positional[Path],
    settings: Annotated[SweepSettings, Unprefixed] = SweepSettings(),
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """Compare the models with other numbers of denoising steps, all else equal.

    Tasks differ in the length of their answers, so what looks like a difference between tasks may
    be one between numbers of steps. The MDM is scored on the pooled examples with S steps, by the
    method of the run, in the order in which it filled them in; the ARM's scores are the same for
    every S. By default that is less than twice the passes of the MDM's own `attribute`. Tasks whose
    answers are single tokens have one step, and are named. Write the report anew afterwards.
    Example: mechshift sweep runs/first --num-steps 1 2 4

    Args:
        folder: a run folder that was scored and compared.
        settings: which numbers of steps, batch and chunk size.
        device: cpu, cuda, cuda:1; auto takes a GPU where there is one. cuda+offload keeps
            weights that do not fit in the host's memory, cuda+offload=20 all beyond 20 GB.
        quiet: no progress bars.
    """
    sweep_num_steps(folder, load_stored_pair(folder, device), settings, quiet=quiet)
    _print_sweep(folder, settings)


def _print_sweep(folder: Path, settings: SweepSettings) -> None:
    table = sweep_table(folder)
    if len(table):
        print_table(table)
    for line in left_out(folder, settings):
        print(line)


def alternatives(
    folder: Positional[Path],
    settings: Annotated[AlternativesSettings, Unprefixed] = AlternativesSettings(),
    device: str = "auto",
    quiet: bool = False,
) -> None:
    """Run both models on other circuits than their own, to find as faithful ones.

    Circuits of one model that share few edges may keep as much of its behaviour. How few is the
    floor that an overlap of two models is to be held against. The edges of a model's circuit are
    given less weight, or some dropped, and as many edges selected anew; what does as well on
    discovery examples is confirmed on held-out ones. The floor is an upper bound. By default up to
    14 runs of a circuit on all examples of both splits, for each model. Write the report anew
    afterwards. Example: mechshift alternatives runs/first --factors 0.5 0.1 0 --shares 0.2 0.4

    Args:
        folder: a run folder that was evaluated and compared.
        settings: the ladder of weights, and the batch size.
        device: cpu, cuda, cuda:1; auto takes a GPU where there is one. cuda+offload keeps
            weights that do not fit in the host's memory, cuda+offload=20 all beyond 20 GB.
        quiet: no progress bars.
    """
    find_alternatives(folder, load_stored_pair(folder, device), settings, quiet=quiet)
    print_table(alternatives_table(folder))


def conclude(folder: Positional[Path], quiet: bool = False) -> None:
    """Compute what a run shows: every topic's numbers, and every quantity with its resamples.

    What is there already and still true is kept; `report` does the same first. Numbers lie in
    RUN/conclusions and, with their resampled draws, in RUN/quantities.

    Args:
        folder: a run folder that was compared and evaluated.
        quiet: no progress bar.
    """
    conclude_run(folder, quiet=quiet)


def report(folder: Positional[Path]) -> None:
    """Write the page that shows a run, and print where it is.

    Args:
        folder: a run folder that was compared and evaluated.
    """
    print(write_report(folder))


def export(
    folder: Positional[Path],
    out: Positional[Path],
    format: FormatName,
    task: tuple[str, ...] = (),
    model: tuple[Kind, ...] = KINDS,
    circuit_size: int | None = None,
) -> None:
    """Write scores and circuits of a run for other tools, and print the names of the files.

    Example: mechshift export runs/first exported --format graphml --task ioi --model mdm

    Args:
        folder: a run folder with scores.
        out: where the files go; those of an earlier export are replaced.
        format: mib-json for MIB and EAP-IG, graphml for Gephi and networkx, or safetensors.
        task: some of the run's tasks; by default all.
        model: arm, mdm, or both.
        circuit_size: edges of the circuits; by default as `compare` chooses it.
    """
    written = export_circuits(
        folder, out, format=format, tasks=task, models=model, circuit_size=circuit_size
    )
    print("\n".join(map(str, written)))
