"""Plans by the names of their structures, and copies of a model with weights edited by hand."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from mechshift.ablation import (
    AblationPlan,
    AblationTable,
    PlanLabels,
    RemovedOutputs,
    inventory_of,
)
from mechshift.denoising import build_canvases, left_to_right
from mechshift.testing import random_examples


@pytest.fixture
def plan_of():
    """A function: model and names -> the plan of these structures; `m0.n3` is a hidden neuron."""

    def make(model, *names, plan_name="chosen"):
        inventory = inventory_of(model)
        known = [inventory.name(structure) for structure in range(inventory.num_structures)]
        mask = np.zeros(inventory.num_structures, dtype=bool)
        for name in names:
            mask[known.index(name)] = True
        return AblationPlan(
            name=plan_name, structures=inventory.choose(mask), of=plan_name, note="by name"
        )

    return make


@pytest.fixture
def without():
    """A function: model and names -> a copy whose weights never let these structures write."""

    @torch.no_grad()
    def edit(model, *names):
        edited = replace(model, module=copy.deepcopy(model.module))
        parts = edited.parts
        for name in names:
            layer = parts.layers[int(name[1:].split(".")[0])]
            if ".h" in name:
                first = int(name.split(".h")[1]) * parts.head_dim
                layer.output.weight[:, first : first + parts.head_dim] = 0.0
            elif ".n" in name:
                layer.mlp_down.weight[:, int(name.split(".n")[1])] = 0.0
            elif layer.mlp_down is None:
                layer.mlp.experts.down_proj.zero_()
            else:
                layer.mlp_down.weight.zero_()
                if layer.mlp_down.bias is not None:
                    layer.mlp_down.bias.zero_()
        return edited

    return edit


@pytest.fixture
def canvases_of():
    """A function: model -> canvases of examples of different lengths, in two steps."""

    def make(model, num_examples=4, seed=0, **options):
        examples = random_examples(
            num_examples, kind=model.kind, num_targets=3, suffix_length=1, seed=seed, **options
        )
        return build_canvases(model, examples, left_to_right([3] * num_examples, 2))

    return make


@pytest.fixture
def table_of():
    """A function: metric and correct [plan, replacement, example] -> a table, by hand.

    `draws` numbers the plans that are draws of the control by number of plan 0; 0: no control.
    """

    def make(metric, correct, clean_metric, clean_correct=None, draws=None):
        num_plans, num_replacements, num_examples = metric.shape
        draws = np.zeros(num_plans, dtype=np.int64) if draws is None else np.array(draws)
        of = tuple(f"plan {0 if draw else number}" for number, draw in enumerate(draws))
        names = tuple(
            f"plan 0, same number, draw {draw}" if draw else f"plan {number}"
            for number, draw in enumerate(draws)
        )
        zeros = np.zeros(num_plans, dtype=np.int64)
        return AblationTable(
            labels=PlanLabels(
                names=names,
                roles=tuple("same number" if draw else "structure" for draw in draws),
                of=of,
                draws=draws,
                notes=("by hand",) * num_plans,
                num_heads=zeros,
                num_mlps=zeros,
                num_neurons=zeros,
            ),
            replacements=("zero", "mean", "resample")[:num_replacements],
            metric_name="logit_diff",
            metric=metric,
            correct=correct,
            clean_metric=clean_metric,
            clean_correct=np.ones(num_examples, dtype=bool)
            if clean_correct is None
            else clean_correct,
            corrupted_metric=-clean_metric,
            clusters=np.arange(num_examples),
            removed=RemovedOutputs(
                norm=np.arange(1.0, num_plans + 1),
                share=np.full(num_plans, 0.1),
                largest_coordinate_share=np.full(num_plans, 0.2),
            ),
        )

    return make
