import copy
import json
from contextlib import nullcontext

import pytest
import torch
from torch.nn.utils import clip_grad_norm_
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from mechshift.errors import PosttrainingError
from mechshift.models import probe_attention
from mechshift.posttraining import PosttrainConfig, train
from mechshift.posttraining.optimizers import Float32Steps
from mechshift.tasks import encode_example, load_task

OBJECTIVES = ("ar", "mdm")
NEVER = 1e-30
"""A rate too small to change any float32 weight."""


def log_of(module, tokenizer, config, folder):
    path = folder / "log.jsonl"
    path.unlink(missing_ok=True)
    train(module, tokenizer, config, log_file=path, quiet=True)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def weights_of(module):
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def changed_by_training(module, tokenizer, config):
    """Names of the parameters that training moved."""
    before = weights_of(module)
    train(module, tokenizer, config, quiet=True)
    return {name for name, weight in weights_of(module).items() if not weight.equal(before[name])}


# A run.


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_seed_decides_every_weight_and_every_line_of_the_log(
    micro_llama, tokenizer, micro_config, tmp_path, objective, optimizer
):
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(runs))  # the global generator must not matter
        module = micro_llama()
        config = micro_config(objective=objective, optimizer=optimizer, seed=seed)
        log = log_of(module, tokenizer, config, tmp_path)
        assert all(0 < line["loss"] < float("inf") for line in log)
        runs.append((log, weights_of(module)))
    (log, weights), (again, same), (other_log, other) = runs
    assert log == again and log != other_log
    assert all(weights[name].equal(same[name]) for name in weights)
    assert all(weights[name].isfinite().all() for name in weights)
    assert any(not weights[name].equal(other[name]) for name in weights)


@pytest.mark.parametrize(("objective", "attention"), [("ar", "causal"), ("mdm", "full")])
@pytest.mark.parametrize("start", ["causal", "full"])
def test_training_leaves_the_attention_of_its_objective(
    micro_llama, tokenizer, micro_config, objective, attention, start
):
    module = micro_llama()
    module.config.is_causal = start == "causal"
    train(module, tokenizer, micro_config(objective=objective), quiet=True)
    assert module.config.is_causal == (attention == "causal")
    assert not module.training
    probe_attention(module, attention)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_training_on_a_single_example_learns_it(
    micro_llama, tokenizer, micro_config, tmp_path, objective
):
    config = micro_config(objective=objective, mixture=(("infilling", 1.0, 1),), num_steps=40)
    module = micro_llama()
    log = log_of(module, tokenizer, config, tmp_path)
    assert log[-1]["loss"] < 0.2 * log[0]["loss"]
    example, ids, targets = only_example("infilling", tokenizer, objective, config.seed)
    shown = ids.clone()
    if objective == "mdm":
        shown[0, targets] = tokenizer.mask_token_id
    with torch.no_grad():
        best = module(shown).logits[0, targets.start - 1 : targets.stop - 1].argmax(dim=-1)
    assert tuple(best.tolist()) == example.target_ids


def only_example(task_name, tokenizer, objective, seed):
    """The example that a corpus of one holds, its tokens, and where its target stands."""
    task = load_task(task_name)
    (text,) = task.generate(tokenizer, split="train", num_examples=1, seed=seed)
    example = encode_example(task, text, tokenizer, "arm" if objective == "ar" else "mdm")
    start = len(example.prefix_ids)
    ids = torch.tensor([example.prefix_ids + example.target_ids + example.suffix_ids])
    return example, ids, slice(start, start + len(example.target_ids))


def test_one_autoregressive_step_is_an_adamw_step_on_the_loss_of_hugging_face(
    micro_llama, tokenizer, micro_config, tmp_path
):
    config = micro_config(
        objective="ar",
        optimizer="adamw",
        mixture=(("infilling", 1.0, 1),),
        batch_size=1,
        num_steps=1,
        max_gradient_norm=0.1,
    )
    trained = micro_llama()
    expected = copy.deepcopy(trained)
    (line,) = log_of(trained, tokenizer, config, tmp_path)

    _, ids, targets = only_example("infilling", tokenizer, "ar", config.seed)
    labels = torch.full_like(ids, -100)
    labels[0, targets] = ids[0, targets]
    loss = expected(ids, labels=labels).loss
    loss.backward()
    assert clip_grad_norm_(expected.parameters(), 0.1) > 0.1
    torch.optim.AdamW(expected.parameters(), lr=1e-2, betas=(0.9, 0.98), weight_decay=0.01).step()

    assert line["loss"] == pytest.approx(loss.item(), abs=1e-5)
    for name, weight in weights_of(expected).items():
        torch.testing.assert_close(weights_of(trained)[name], weight, rtol=0, atol=1e-5)


def test_the_mean_masked_diffusion_loss_is_the_integral_over_noise(
    micro_llama, tokenizer, micro_config, tmp_path
):
    """Solved for two target tokens, with weights 1/t and t spread evenly over (0, 1].

    Both are masked for the integral of t^2 / t, and each alone for that of t (1 - t) / t: each 1/2.
    """
    config = micro_config(
        mixture=(("infilling", 1.0, 1),),
        batch_size=500,
        num_steps=20,
        annealing_steps=0,
        learning_rate=NEVER,
        muon_learning_rate=NEVER,
    )
    module = micro_llama()
    log = log_of(module, tokenizer, config, tmp_path)
    losses = torch.tensor([line["loss"] for line in log])

    _, ids, targets = only_example("infilling", tokenizer, "mdm", config.seed)
    first, second = range(targets.start, targets.stop)
    expected = 0.0
    for masked in ([first, second], [first], [second]):
        shown = ids.clone()
        shown[0, masked] = tokenizer.mask_token_id
        with torch.no_grad():
            log_probs = module(shown).logits[0].log_softmax(dim=-1)
        surprise = -sum(log_probs[position - 1, ids[0, position]] for position in masked)
        expected += surprise.item() / 2 / 2  # half of the noise levels, two target tokens
    error = losses.std().item() / len(losses) ** 0.5
    assert error < 0.05 * expected
    assert losses.mean().item() == pytest.approx(expected, abs=4 * error)


def make_gpt2(tokenizer):
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=16, n_layer=2, n_head=2)
    )


def make_qwen2(tokenizer):
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    )


@pytest.mark.parametrize("loss", ["inverse-t", "cart", "block"])
@pytest.mark.parametrize("make", [make_gpt2, make_qwen2])
def test_other_classes_learn_and_their_dropout_is_as_repeatable_as_all_else(
    tokenizer, micro_config, tmp_path, make, loss
):
    config = micro_config(
        mixture=(("infilling", 1.0, 1),), num_steps=30, loss=loss, block_length=8, annealing_steps=5
    )
    logs = []
    for _ in range(2):
        torch.manual_seed(0)
        module = make(tokenizer)
        torch.manual_seed(len(logs))  # the global generator must not matter
        logs.append(log_of(module, tokenizer, config, tmp_path))
    assert logs[0] == logs[1]
    losses = [line["loss"] for line in logs[0]]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


# Optimizers.


def test_muon_updates_exactly_the_matrices_inside_the_blocks(micro_llama, tokenizer, micro_config):
    module = micro_llama(tie_word_embeddings=False, attention_bias=True)
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.ones_(parameter)  # zero would take even the smallest step
    matrices = {
        f"model.layers.{layer}.{name}.weight"
        for layer in (0, 1)
        for name in (
            *(f"self_attn.{projection}_proj" for projection in "qkvo"),
            *(f"mlp.{projection}_proj" for projection in ("gate", "up", "down")),
        )
    }
    config = micro_config(optimizer="muon", learning_rate=NEVER)
    assert changed_by_training(module, tokenizer, config) == matrices


def test_muon_orthogonalises_in_float32_on_a_cpu():
    """Against its iteration in float64; in bfloat16, as torch takes it, it is further off."""
    generator = torch.Generator().manual_seed(0)
    gradient = torch.randn(12, 20, generator=generator)
    updates = {}
    for name, mode in (("float32", Float32Steps()), ("bfloat16", nullcontext())):
        parameter = torch.nn.Parameter(torch.zeros(12, 20))
        parameter.grad = gradient.clone()
        muon = torch.optim.Muon([parameter], lr=1.0, weight_decay=0.0, nesterov=False, momentum=0.0)
        with mode:
            muon.step()
        updates[name] = -parameter.detach()
    assert torch.equal(parameter.grad, gradient)
    a, b, c = 3.4445, -4.7750, 2.0315
    wanted = gradient.double() / gradient.double().norm()
    for _ in range(5):
        gram = wanted @ wanted.T
        wanted = a * wanted + (b * gram + c * gram @ gram) @ wanted
    error = {name: float((found - wanted).abs().max()) for name, found in updates.items()}
    assert error["float32"] < 1e-5 < 1e-3 < error["bfloat16"] < 0.1


def test_adamw_updates_the_rest_beside_muon_and_everything_alone(
    micro_llama, tokenizer, micro_config
):
    module = micro_llama(tie_word_embeddings=False)
    rest = {name for name, weight in module.named_parameters() if weight.ndim == 1}
    rest |= {"model.embed_tokens.weight", "lm_head.weight"}
    beside = micro_config(optimizer="muon", muon_learning_rate=NEVER)
    assert changed_by_training(micro_llama(tie_word_embeddings=False), tokenizer, beside) == rest
    alone = micro_config(optimizer="adamw", muon_learning_rate=NEVER)
    everything = {name for name, _ in module.named_parameters()}
    assert changed_by_training(module, tokenizer, alone) == everything


# The log.


def test_the_rates_warm_up_in_a_line_and_fall_along_a_cosine(
    micro_llama, tokenizer, micro_config, tmp_path
):
    config = micro_config(num_steps=6, warmup_steps=2, annealing_steps=4)
    log = log_of(micro_llama(), tokenizer, config, tmp_path)
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5, 6]
    # After the warm-up (1 + cos(pi k / 4)) / 2 for k = 0 to 3.
    assert [line["rate_share"] for line in log] == [0.5, 1.0, 1.0, 0.85355, 0.5, 0.14645]
    assert [line["mask_ratio"] for line in log] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_an_autoregressive_run_logs_no_mask_ratio(micro_llama, tokenizer, micro_config, tmp_path):
    log = log_of(micro_llama(), tokenizer, micro_config(objective="ar"), tmp_path)
    assert all(line.keys() == {"step", "loss", "rate_share"} for line in log)


def test_lines_of_several_steps_hold_their_mean_and_the_last_step_is_always_logged(
    micro_llama, tokenizer, micro_config, tmp_path
):
    each, rarer = (
        log_of(micro_llama(), tokenizer, micro_config(num_steps=5, log_every=every), tmp_path)
        for every in (1, 2)
    )
    losses = [line["loss"] for line in each]
    assert [line["step"] for line in rarer] == [2, 4, 5]
    means = [sum(losses[:2]) / 2, sum(losses[2:4]) / 2, losses[4]]
    assert [line["loss"] for line in rarer] == pytest.approx(means, abs=2e-5)


# Refusals.


def test_an_mdm_cannot_be_trained_without_a_mask_token(micro_llama, tokenizer, micro_config):
    maskless = copy.deepcopy(tokenizer)
    maskless.mask_token = None
    module = micro_llama()
    before = weights_of(module)
    with pytest.raises(PosttrainingError, match="the tokenizer has no mask token; set one"):
        train(module, maskless, micro_config(), quiet=True)
    assert all(weight.equal(before[name]) for name, weight in weights_of(module).items())
    train(module, maskless, micro_config(objective="ar"), quiet=True)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_steps", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("muon_learning_rate", -0.1),
        ("muon_learning_rate", float("nan")),
    ],
)
def test_numbers_that_train_nothing_are_refused(setting, value):
    with pytest.raises(PosttrainingError, match=f"must be positive, not .*{value}"):
        PosttrainConfig(**{setting: value})


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("seed", -1, "seed must be at least 0, not -1"),
        ("seed", 2**32, "seed must be below 4294967296, not 4294967296"),
        ("log_every", 0, "log_every must be at least 1, not 0"),
        ("lora_alpha", -16, "lora_alpha must be at least 1, not -16"),
        ("lora_alpha", 0, "lora_alpha must be at least 1, not 0"),
        ("weight_decay", -5.0, "weight_decay must be a number from 0 on, not -5.0"),
        ("weight_decay", float("nan"), "weight_decay must be a number from 0 on, not nan"),
        ("weight_decay", float("inf"), "weight_decay must be a number from 0 on, not inf"),
        ("max_gradient_norm", 0.0, "max_gradient_norm must be above 0, not 0.0"),
        ("max_gradient_norm", float("nan"), "max_gradient_norm must be above 0, not nan"),
        ("min_noise", float("nan"), "min_noise must lie between 0 and 1, not nan"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(setting, value, message):
    with pytest.raises(PosttrainingError, match=message):
        PosttrainConfig(**{setting: value})


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_source_that_no_batch_can_be_shared_with_is_refused(weight):
    message = f"the weight of 'infilling' in the mixture must be above 0, not {weight}; leave"
    with pytest.raises(PosttrainingError, match=message):
        PosttrainConfig(mixture=(("ioi", 1.0, 6), ("infilling", weight, 4)))


def test_fewer_rows_than_none_are_refused():
    with pytest.raises(PosttrainingError, match="the rows of 'ioi' in the mixture .*, not -3"):
        PosttrainConfig(mixture=(("ioi", 1.0, -3),))


def test_gradients_may_go_unclipped_and_rows_may_be_all():
    config = PosttrainConfig(max_gradient_norm=float("inf"), mixture=(("my.txt", 0.5, 0),))
    assert config.max_gradient_norm == float("inf")


def test_a_run_that_diverges_is_stopped(micro_llama, tokenizer, micro_config):
    config = micro_config(optimizer="adamw", learning_rate=1e30)
    with pytest.raises(PosttrainingError, match=r"the loss is nan at step \d; lower the learning"):
        train(micro_llama(), tokenizer, config, quiet=True)


def test_a_mixture_of_no_tasks_is_refused(micro_llama, tokenizer, micro_config):
    with pytest.raises(PosttrainingError, match="at least one source; name one"):
        train(micro_llama(), tokenizer, micro_config(mixture=()), quiet=True)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("objective", "arm", "no objective 'arm'; known are ar, mdm"),
        ("optimizer", "Muon", "no optimizer 'Muon'; known are adamw, muon"),
        ("schedule", "linear", "no schedule 'linear'; known are cosine, constant"),
        ("learn_from", "prompt", "no learn_from 'prompt'; known are response, everywhere"),
        ("normalise_by", "all", "no normalise_by 'all'; known are targets, masked"),
        ("save_dtype", "float16", "no save_dtype 'float16'; known are float32, bfloat16"),
    ],
)
def test_an_unknown_choice_is_refused_with_the_known_ones(setting, value, message):
    config = PosttrainConfig()
    # The type check of the tests would refuse it first; a program without one must hear of it too.
    object.__setattr__(config, setting, value)
    with pytest.raises(PosttrainingError, match=message):
        config.__post_init__()
