from dataclasses import replace
from math import inf, nan

import pytest
import torch

from mechshift.errors import ConfigError
from mechshift.run.planning.machine import MachineOptions, find_machine, measured_flops


def test_a_given_machine_is_what_it_is_said_to_be():
    options = MachineOptions(memory_gb=80.0, matmul_tflops=990.0, host_memory_gb=500.0)
    machine = find_machine(options, torch.bfloat16)
    assert (machine.memory, machine.host_memory) == (80 * 10**9, 500 * 10**9)
    assert (machine.budget("device"), machine.budget("host")) == (64 * 10**9, 400 * 10**9)
    assert not machine.shared and "cuda" in machine.device
    assert machine.flops == pytest.approx(0.4 * 990e12)
    assert machine.float32_flops == pytest.approx(0.4 * 990e12 / 16)


def test_float32_models_have_one_speed_and_a_given_one_is_taken():
    options = MachineOptions(memory_gb=80.0, matmul_tflops=60.0, share_of_peak=0.5)
    machine = find_machine(options, torch.float32)
    assert machine.flops == machine.float32_flops == pytest.approx(30e12)
    options = MachineOptions(memory_gb=80.0, matmul_tflops=990.0, float32_tflops=67.0)
    assert find_machine(options, torch.bfloat16).float32_flops == pytest.approx(0.4 * 67e12)


def test_the_host_of_a_given_device_is_not_known():
    machine = find_machine(MachineOptions(memory_gb=80.0, matmul_tflops=990.0), torch.bfloat16)
    assert machine.host_memory is None and machine.budget("host") == inf
    machine = find_machine(
        MachineOptions(device="cpu", memory_gb=8.0, matmul_tflops=0.1), torch.float32
    )
    assert machine.shared and machine.host_memory == machine.memory == 8 * 10**9


def test_the_machine_at_hand_is_measured():
    machine = find_machine(MachineOptions(device="cpu"), torch.float32)
    assert machine.shared and machine.host_memory == machine.memory > 10**8
    assert machine.flops == machine.float32_flops
    assert "measured" in machine.note
    # Between a slow core and the largest of servers.
    assert 1e8 < measured_flops(torch.device("cpu"), torch.float32) < 1e15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_gb": 80.0}, "--memory-gb describes another machine, so its speed cannot be"),
        ({"memory_gb": 0.0, "matmul_tflops": 1.0}, "memory_gb must be above 0 and finite, not 0.0"),
        ({"matmul_tflops": -1.0}, "matmul_tflops must be above 0 and finite, not -1.0"),
        ({"share_of_memory": 1.5}, r"share_of_memory lies in \(0, 1\], not 1.5"),
        (
            {"measure": True, "memory_gb": 8.0, "matmul_tflops": 1.0},
            "--measure runs a batch on the machine at hand, and --memory-gb and --matmul-tflops",
        ),
        ({"matmul_tflops": nan}, "matmul_tflops must be above 0 and finite, not nan"),
        ({"host_memory_gb": inf}, "host_memory_gb must be above 0 and finite, not inf"),
        ({"device": "tpu9"}, "unknown device 'tpu9'; use cpu or cuda"),
    ],
)
def test_impossible_machines_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        find_machine(MachineOptions(**options), torch.float32)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_here_must_be_described():
    with pytest.raises(ConfigError, match="there is no device 'cuda' here; to plan for one, give"):
        find_machine(MachineOptions(device="cuda"), torch.float32)


def test_models_take_their_share_of_what_is_free_one_after_the_other():
    free = MachineOptions(device="cuda+offload", memory_gb=100.0, matmul_tflops=1.0)
    machine = find_machine(free, torch.float32)
    sizes = [80 * 10**9, 80 * 10**9, 10**9]
    assert machine.held_weights(sizes) == [60 * 10**9, 24 * 10**9, 10**9]
    limited = find_machine(replace(free, device="cuda+offload=20"), torch.float32)
    assert limited.held_weights(sizes) == [20 * 10**9, 20 * 10**9, 10**9]
    whole = find_machine(replace(free, device="cuda"), torch.float32)
    assert whole.held_weights(sizes) == sizes
