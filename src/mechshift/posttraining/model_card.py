"""The model card in the folder of a trained model.

The card is the README.md that model hubs show. It holds no date, no path and not the folder's name,
so that the same training writes the same card.
"""

from collections.abc import Mapping

from mechshift.posttraining.config import PosttrainConfig


def model_card(
    parent: str,
    parent_hash: str | None,
    config: PosttrainConfig,
    accuracy: Mapping[str, float],
) -> str:
    """The text of the card.

    Args:
        parent: what was trained.
        parent_hash: SHA-256 of its weights; None: it was untrained.
        config: the recipe.
        accuracy: share of held-out examples solved, by task; empty: not measured.
    """
    sections = [
        _front_matter(parent, parent_hash),
        _what(parent, config),
        "## Recipe\n\n" + _table("setting", "value", _recipe(parent_hash, config)),
        "## Data\n\n"
        + _table(
            "source",
            "weight in a batch, rows",
            {
                _bare(source): f"{weight:g}, {rows or 'all'}"
                for source, weight, rows in config.mixture
            },
        ),
        "## Held-out accuracy\n\n" + _accuracy(config, accuracy),
        f"## Use\n\n{_use(config)}",
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(parent: str, parent_hash: str | None) -> str:
    lines = ["---", "library_name: transformers", "tags: [mechshift]"]
    if parent_hash is not None:
        lines.append(f'base_model: "{parent}"')
    return "\n".join([*lines, "---"])


def _what(parent: str, config: PosttrainConfig) -> str:
    if config.objective == "ar":
        return (
            f"# {parent}, trained on\n\n"
            "An autoregressive model, trained on with its own objective by mechshift."
        )
    return (
        f"# {parent} as a masked diffusion model\n\n"
        f"A masked diffusion language model, post-trained from `{parent}` by mechshift."
    )


def _recipe(parent_hash: str | None, config: PosttrainConfig) -> dict[str, str]:
    rows = {
        "parent's weights (SHA-256)": parent_hash or "random",
        "steps, rows a step": f"{config.num_steps}, {config.batch_size}",
        "seed": str(config.seed),
        "optimizer": _optimizer(config),
        "trained": f"LoRA of rank {config.lora_rank}" if config.lora_rank else "all weights",
        "asked for": config.learn_from,
    }
    if config.objective == "ar":
        return rows
    loss = {
        "inverse-t": "1/t",
        "cart": f"CART, p = {config.cart_p:g}",
        "block": f"1/t in blocks of {config.block_length}",
    }[config.loss]
    opening = f"opened over {config.annealing_steps} steps" if config.annealing_steps else "at once"
    return rows | {
        "loss": f"{loss}, over {'all' if config.normalise_by == 'targets' else 'masked'} targets",
        "smallest noise level": f"{config.min_noise:g}",
        "attention": f"{config.attention}, {opening}",
        "logit shift": "kept" if config.shift else "dropped",
    }


def _optimizer(config: PosttrainConfig) -> str:
    rates = f"AdamW at {config.learning_rate:g}"
    if config.optimizer == "muon":
        rates = f"Muon at {config.muon_learning_rate:g}, {rates} for the rest"
    return f"{rates}; {config.warmup_steps} steps of warm-up, then {config.schedule}"


def _accuracy(config: PosttrainConfig, accuracy: Mapping[str, float]) -> str:
    if not accuracy:
        return "Not measured."
    shares = {task: f"{share:.3f}" for task, share in accuracy.items()}
    return (
        _table("task", "solved", shares)
        + f"\n\nOf the first {config.num_evaluated} examples of each task's held-out split."
    )


def _use(config: PosttrainConfig) -> str:
    stock = (
        "```python\nfrom transformers import AutoModelForCausalLM\n\n"
        'model = AutoModelForCausalLM.from_pretrained("FOLDER")\n```'
    )
    if config.objective == "ar":
        return stock
    options = "" if config.shift else " --no-shift"
    if config.attention == "block-causal":
        options += f" --attention block-causal --block-length {config.block_length}"
    return (
        f"{stock}\n\nIts attention is {config.attention}, as `config.is_causal` says"
        " (transformers 5.2 or newer). Compare it with its parent:\n\n"
        f"```console\n$ mechshift run runs/first --arm PARENT --mdm FOLDER{options}\n```"
    )


def _table(left: str, right: str, rows: Mapping[str, str]) -> str:
    lines = [f"| {left} | {right} |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows.items())])


def _bare(source: str) -> str:
    """A file by its name: its path says nothing on another machine, and a bar ends a cell."""
    return source.rpartition("/")[2].replace("|", "\\|")
