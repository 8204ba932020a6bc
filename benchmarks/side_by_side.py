"""How do time, memory and numbers compare with other libraries on the same model and inputs?

All compute edge attribution patching with one gradient, of the logit difference, on a random Llama:

- TransformerLens 4.3 takes the gradient at the corrupted input, one example after the other;
- auto-circuit takes it at the clean input, of a batch, and needs TransformerLens 2;
- mechshift does either, of a batch, with one score for each example.

So no environment holds both of the others; what is not there is skipped, with a line that says so.
`differs by` is the largest difference between mean scores, as a share of the largest score.

    python benchmarks/side_by_side.py --help
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
import tyro
from jaxtyping import Float
from measuring import peak_megabytes, show, timed_in_turn
from random_problem import Problem

from mechshift.attribution import eap
from mechshift.denoising import Canvas
from mechshift.graph import Graph
from mechshift.models import LanguageModel

EdgeMeans = Float[np.ndarray, " edge"]


@dataclass(frozen=True)
class Options:
    problem: Problem = field(default_factory=lambda: Problem(key_value_heads=8))
    rounds: int = 3
    """Timings of each, after one that does not count."""
    threads: int = 1


@dataclass(frozen=True)
class Rival:
    """Another library's scores, and mechshift's that they should equal."""

    name: str
    theirs: Callable[[], EdgeMeans]
    ours: Callable[[int], EdgeMeans]
    """From the number of examples in a batch."""


def main(options: Options) -> None:
    torch.set_num_threads(options.threads)
    problem = options.problem
    assert problem.heads == problem.key_value_heads, "the others know one KV head per query head"
    rows = []
    for make in (with_transformer_lens, with_auto_circuit):
        rival = make(problem)
        if isinstance(rival, str):
            print(f"skipped: {rival}")
        else:
            rows += compared(rival, problem.batch, options.rounds)
    columns = ("", "seconds", "x ours", "peak MB", "x ours", "differs by")
    show(problem.title(problem.model()), columns, rows)


def compared(rival: Rival, batch_size: int, rounds: int) -> list[tuple[str, ...]]:
    """Rows of the table for one other library."""
    ours, theirs = rival.ours(batch_size), rival.theirs()
    difference = np.abs(ours - theirs).max() / np.abs(ours).max()
    works = {
        "mechshift": lambda: rival.ours(batch_size),
        "mechshift, one by one": lambda: rival.ours(1),
        rival.name: rival.theirs,
    }
    timings = timed_in_turn(works, rounds)
    memory = {name: peak_megabytes(work) for name, work in works.items()}
    return [
        (
            name,
            f"{timings.median(name):.2f}",
            f"{timings.ratio(name, 'mechshift'):.1f}",
            f"{memory[name]:.0f}",
            f"{memory[name] / memory['mechshift']:.1f}",
            f"{difference:.0e}" if name == rival.name else "",
        )
        for name in works
    ]


def our_means(
    model: LanguageModel, canvases: list[Canvas], gradient_at: str, batch_size: int
) -> EdgeMeans:
    return eap(
        model, canvases, metric="logit_diff", gradient_at=gradient_at, batch_size=batch_size
    ).mean()


def with_transformer_lens(problem: Problem) -> Rival | str:
    """TransformerLens on a bridge around its own copy of the model; or why not."""
    try:
        from transformer_lens.model_bridge.sources import build_bridge_from_module
        from transformer_lens.tools.analysis.attribution_patching import (
            EdgeAttributionConfig,
            attribution_patch,
        )
    except ImportError:
        return f"TransformerLens 4.3 is not installed (found: {found('transformer-lens')})"
    model = problem.model()
    canvases = problem.canvases(model)
    module = problem.model().module.requires_grad_(True)  # the bridge exchanges modules in place
    bridge = build_bridge_from_module(module, type(module).__name__, hf_config=module.config)

    def theirs() -> EdgeMeans:
        graph = model.graph()
        total = np.zeros(graph.num_edges)
        for canvas in canvases:
            (readout,) = canvas.readouts

            def logit_diff(logits: torch.Tensor, readout=readout) -> torch.Tensor:
                scored = logits[0, readout.position]
                return scored[readout.target_id] - scored[readout.distractor_id]

            result = attribution_patch(
                bridge,
                torch.tensor([canvas.clean_ids]),
                torch.tensor([canvas.corrupted_ids]),
                logit_diff,
                EdgeAttributionConfig(granularity="edge"),
            )
            for (writer, reader), score in result.edge_scores.items():
                name = f"{transformer_lens_name(writer)}->{transformer_lens_name(reader)}"
                total[graph.edge_index(name)] += score
        return total / len(canvases)

    return Rival(
        name=f"TransformerLens {version('transformer-lens')}",
        theirs=theirs,
        ours=lambda batch_size: our_means(model, canvases, "corrupted", batch_size),
    )


def transformer_lens_name(node) -> str:
    """One of their nodes in our words."""
    if node.kind in ("embed", "logits"):
        return {"embed": "input", "logits": "logits"}[node.kind]
    if node.kind in ("mlp_out", "mlp_in"):
        return f"m{node.layer}"
    reader = {"q_input": "<q>", "k_input": "<k>", "v_input": "<v>"}.get(node.kind, "")
    return f"a{node.layer}.h{node.head}{reader}"


def with_auto_circuit(problem: Problem) -> Rival | str:
    """auto-circuit on a HookedTransformer of the same weights; or why not."""
    try:
        from auto_circuit.data import PromptDataLoader, PromptDataset
        from auto_circuit.prune_algos.mask_gradient import mask_gradient_prune_scores
        from auto_circuit.utils.graph_utils import patchable_model
    except ImportError as error:
        return (
            f"auto-circuit cannot be imported ({error}; found: {found('auto-circuit')}, with"
            f" TransformerLens {found('transformer-lens')})"
        )
    model = problem.model()
    canvases = problem.canvases(model)
    patchable = patchable_model(
        hooked_transformer(model), factorized=True, slice_output="last_seq", separate_qkv=True
    )
    readouts = [canvas.readouts[0] for canvas in canvases]
    # They look at the last position only.
    clean, corrupted = (
        torch.tensor([getattr(c, name) for c in canvases])[:, : readouts[0].position + 1]
        for name in ("clean_ids", "corrupted_ids")
    )
    dataset = PromptDataset(
        clean,
        corrupted,
        [torch.tensor([readout.target_id]) for readout in readouts],
        [torch.tensor([readout.distractor_id]) for readout in readouts],
    )
    loader = PromptDataLoader(
        dataset, seq_len=clean.shape[1], diverge_idx=0, batch_size=problem.batch
    )

    def theirs() -> EdgeMeans:
        patchable.zero_grad()
        scores = mask_gradient_prune_scores(
            patchable, loader, None, grad_function="logit", answer_function="avg_diff", mask_val=0.0
        )
        return auto_circuit_means(patchable, scores, model.graph())

    return Rival(
        name=f"auto-circuit {version('auto-circuit')}",
        theirs=theirs,
        ours=lambda batch_size: our_means(model, canvases, "clean", batch_size),
    )


def hooked_transformer(model: LanguageModel):
    """Our random Llama as TransformerLens 2 wants its weights, nothing folded into others."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_llama_weights

    config = model.module.config
    cfg = HookedTransformerConfig(
        n_layers=config.num_hidden_layers,
        d_model=config.hidden_size,
        n_ctx=64,
        d_head=config.head_dim,
        n_heads=config.num_attention_heads,
        d_mlp=config.intermediate_size,
        d_vocab=config.vocab_size,
        act_fn="silu",
        normalization_type="RMS",
        positional_embedding_type="rotary",
        rotary_dim=config.head_dim,
        rotary_base=config.rope_parameters["rope_theta"],
        rotary_adjacent_pairs=False,
        gated_mlp=True,
        final_rms=True,
        eps=config.rms_norm_eps,
        original_architecture="LlamaForCausalLM",
        use_attn_result=True,
        use_split_qkv_input=True,
        use_hook_mlp_in=True,
        default_prepend_bos=False,
    )
    hooked = HookedTransformer(cfg)
    weights = convert_llama_weights(model.module, cfg)
    missing, unknown = hooked.load_state_dict(weights, strict=False)
    assert not unknown and set(missing) <= {name for name, _ in hooked.named_buffers()}
    return hooked.eval()


def auto_circuit_means(patchable, scores, graph: Graph) -> EdgeMeans:
    """Their scores by edge; they give d(-metric) / d(mask), which is the score itself."""
    means = np.zeros(graph.num_edges)
    for edge in patchable.edges:
        name = f"{auto_circuit_name(edge.src.name)}->{auto_circuit_name(edge.dest.name)}"
        means[graph.edge_index(name)] = float(edge.prune_score(scores))
    return means


def auto_circuit_name(name: str) -> str:
    """One of their nodes in our words: `A0.1`, `A0.1.Q`, `MLP 0`, `Resid Start`, `Resid End`."""
    if name.startswith("Resid"):
        return "input" if name == "Resid Start" else "logits"
    if name.startswith("MLP"):
        return f"m{name.split()[1]}"
    layer, head, *reader = name[1:].split(".")
    return f"a{layer}.h{head}" + (f"<{reader[0].lower()}>" if reader else "")


def found(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
