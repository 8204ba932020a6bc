"""Packed differences: the error bound, exactness, size, and what is refused."""

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mechshift.errors import ModelError
from mechshift.models import load_language_model
from mechshift.models.supply.packed import (
    LEVELS,
    pack_checkpoints,
    pack_difference,
    unpack_checkpoint,
    unpack_difference,
)


def random_weights(*, seed, dtype=torch.float32, std=1.0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"wide": (30, 50), "norm": (40,), "tall": (64, 3), "one": (1, 1)}
    return {
        name: (std * torch.randn(shape, generator=generator)).to(dtype)
        for name, shape in shapes.items()
    }


def moved(parent, *, std):
    return {
        name: parent[name].float() + change
        for name, change in random_weights(seed=1, std=std).items()
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("std", [1e-5, 0.1, 100.0])
def test_no_weight_is_off_by_more_than_half_a_quantum_of_its_row(dtype, std):
    parent = random_weights(seed=0, dtype=dtype)
    child = moved(parent, std=std)
    unpacked = unpack_difference(parent, pack_difference(parent, child))
    for name, weight in child.items():
        before, after, out = (
            tensor.double().reshape(-1, tensor.shape[-1])
            for tensor in (parent[name], weight, unpacked[name])
        )
        half = (after - before).abs().amax(dim=1, keepdim=True) / LEVELS / 2
        # The quantum and the sum are rounded to float32.
        rounding = 2**-23 * (before.abs() + after.abs() + out.abs())
        assert ((out - after).abs() <= half + rounding).all(), name
        assert unpacked[name].dtype == torch.float32
        assert unpacked[name].shape == weight.shape


def test_three_weights_packed_by_hand():
    parent = {"w": torch.tensor([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]])}
    change = torch.tensor([[31.0, -15.4, 0.6], [0.0, 0.0, 0.0]])
    packed = pack_difference(parent, {"w": parent["w"] + change})
    assert packed.quanta.tolist() == [1.0, 0.0]
    unpacked = unpack_difference(parent, packed)["w"]
    assert unpacked.tolist() == [[32.0, -13.0, 4.0], [4.0, 4.0, 4.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_weights_come_back_exactly(dtype):
    parent = random_weights(seed=0, dtype=dtype)
    unpacked = unpack_difference(parent, pack_difference(parent, parent))
    for name, weight in parent.items():
        assert torch.equal(unpacked[name], weight.float())


def test_a_packed_difference_packs_again_to_the_same():
    parent = random_weights(seed=0)
    once = unpack_difference(parent, pack_difference(parent, moved(parent, std=0.1)))
    twice = unpack_difference(parent, pack_difference(parent, once))
    for name, weight in once.items():
        assert torch.allclose(twice[name], weight, atol=1e-6)


def test_gaussian_changes_take_less_than_a_fifth_of_float32():
    generator = torch.Generator().manual_seed(0)
    parent = {"w": torch.zeros(256, 512)}
    child = {"w": torch.randn(256, 512, generator=generator)}
    packed = pack_difference(parent, child)
    assert len(packed.payload) + packed.quanta.nbytes < child["w"].numel() * 4 / 5


def test_models_of_other_shapes_are_refused_with_both():
    parent = random_weights(seed=0)
    child = {**parent, "norm": torch.zeros(41)}
    with pytest.raises(ModelError, match=r"1 tensors: 'norm' is \(40,\) in the parent and \(41,\)"):
        pack_difference(parent, child)
    with pytest.raises(ModelError, match=r"'more' is None in the parent and \(2,\) in the child"):
        pack_difference(parent, {**parent, "more": torch.zeros(2)})


def test_weights_that_are_not_finite_are_refused():
    parent = random_weights(seed=0)
    with pytest.raises(ModelError, match="the weights 'one' are not finite"):
        pack_difference(parent, {**parent, "one": torch.full((1, 1), float("nan"))})


def test_the_weights_of_another_parent_are_refused():
    parent = random_weights(seed=0)
    packed = pack_difference(parent, moved(parent, std=0.1))
    with pytest.raises(ModelError, match="another hash than those that were packed"):
        unpack_difference({**parent, "one": parent["one"] + 1}, packed)
    with pytest.raises(ModelError, match="does not hold 1,732 steps in 95 rows"):
        unpack_difference({n: w for n, w in parent.items() if n != "one"}, packed)


@pytest.fixture
def trained(model_folder, tmp_path):
    """A parent, and a training run with two checkpoints and the finished model."""
    parent = model_folder("parent", tie_word_embeddings=True)
    run = tmp_path / "run"
    for step, seed in (("step-000004", 1), ("step-000016", 2)):
        model_folder(f"run/{step}", tie_word_embeddings=True, seed=seed)
    return parent, run, model_folder("finished", tie_word_embeddings=True, seed=3)


def test_every_checkpoint_becomes_a_file_and_the_file_a_model(trained, tmp_path):
    parent, run, finished = trained
    paths = pack_checkpoints(parent, run, tmp_path / "packed")
    assert [path.name for path in paths] == ["step-000004.safetensors", "step-000016.safetensors"]
    out = tmp_path / "out" / "step-000016"
    unpack_checkpoint(paths[1], parent, finished, out)
    model = load_language_model(out, name="c", kind="mdm", attention="full", shift=True)
    packed = {"parent": parent, "child": run / "step-000016"}
    weights = {name: load_file(f / "model.safetensors") for name, f in packed.items()}
    expected = unpack_difference(weights["parent"], pack_difference(*weights.values()))
    found = model.module.state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    assert len(expected) > 10
    assert (out / "config.json").read_bytes() == (finished / "config.json").read_bytes()


def test_packing_again_gives_the_same_bytes(trained, tmp_path):
    parent, run, _ = trained
    once, again = (pack_checkpoints(parent, run, tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]


def test_a_file_that_was_packed_against_another_model_is_refused(trained, tmp_path):
    parent, run, finished = trained
    (path, _) = pack_checkpoints(parent, run, tmp_path / "packed")
    with pytest.raises(ModelError, match=r"was packed against other weights than those in .*finis"):
        unpack_checkpoint(path, finished, finished, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["payload", "quanta"])
def test_a_changed_number_anywhere_is_refused(trained, tmp_path, what):
    parent, run, finished = trained
    (path, _) = pack_checkpoints(parent, run, tmp_path / "packed")
    raw = path.read_bytes()
    arrays = load_file(path)
    numbers = arrays[what].numpy()
    at = raw.index(numbers.tobytes()) + numbers.nbytes // 2
    path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
    with pytest.raises(ModelError, match="step-000004.safetensors is damaged: "):
        unpack_checkpoint(path, parent, finished, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_cut_short_or_of_another_kind_is_refused(trained, tmp_path):
    parent, run, finished = trained
    (path, other) = pack_checkpoints(parent, run, tmp_path / "packed")
    path.write_bytes(path.read_bytes()[:-20])
    save_file({"w": torch.zeros(2)}, other)
    for broken in (path, other):
        with pytest.raises(ModelError, match=f"{broken.name} is no packed checkpoint: "):
            unpack_checkpoint(broken, parent, finished, tmp_path / "out")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e5m2, torch.int8])
def test_arrays_of_other_types_are_refused(trained, tmp_path, dtype):
    """Also of those that NumPy does not have."""
    parent, run, finished = trained
    path, _ = pack_checkpoints(parent, run, tmp_path / "packed")
    with safe_open(path, framework="pt") as file:
        metadata, arrays = file.metadata(), {n: file.get_tensor(n) for n in file.keys()}
    save_file(arrays | {"quanta": arrays["quanta"].to(dtype)}, path, metadata=metadata)
    with pytest.raises(ModelError, match="is no packed checkpoint: its arrays are .*, not .*F32"):
        unpack_checkpoint(path, parent, finished, tmp_path / "out")


def test_a_payload_that_would_inflate_without_end_is_not_inflated():
    parent = random_weights(seed=0)
    packed = pack_difference(parent, moved(parent, std=0.1))
    larger = pack_difference({"w": torch.zeros(900, 900)}, {"w": torch.zeros(900, 900)})
    forged = type(packed)(payload=larger.payload, quanta=packed.quanta, unpacked=packed.unpacked)
    with pytest.raises(ModelError, match="does not hold 1,733 steps in 96 rows"):
        unpack_difference(parent, forged)


def test_a_folder_without_checkpoints_is_refused(trained, tmp_path):
    with pytest.raises(ModelError, match=r"holds no checkpoints: no folders named step-\*"):
        pack_checkpoints(trained[0], tmp_path, tmp_path / "packed")


def test_quanta_are_one_for_each_row_in_the_order_of_names():
    parent = {"b": torch.zeros(2, 3), "a": torch.zeros(4)}
    child = {"b": torch.tensor([[0.0, 31.0, 0.0], [62.0, 0.0, 0.0]]), "a": torch.full((4,), 93.0)}
    assert np.array_equal(pack_difference(parent, child).quanta, [3.0, 1.0, 2.0])
