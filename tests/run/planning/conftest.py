import pytest

from mechshift.denoising import Canvas, EncodedExample, Readout
from mechshift.models import model_shape
from mechshift.run import AttributionSettings, PairOptions, RunSettings
from mechshift.run.planning.workload import Lengths, ModelOnTask
from mechshift.semantics import SemanticsSettings


@pytest.fixture
def on_task():
    """A function: a loaded model as a plan knows it, with settings of attribution."""

    def make(model, metric="logit_diff", num_spans=5, **attribution):
        settings = AttributionSettings(**attribution)
        dtype = str(model.dtype).removeprefix("torch.")
        shape = model_shape(model.module.config)
        return ModelOnTask(
            task="plain",
            name=model.kind,
            kind=model.kind,
            shape=shape,
            graph=model.graph(grouped=settings.grouped),
            examples=(Lengths(7, 1, 0),),
            num_spans=num_spans,
            metric=metric,
            settings=RunSettings(
                models=PairOptions(dtype=dtype),
                attribution=settings,
                semantics=SemanticsSettings(ig_steps=2),
            ),
            weights=model.dtype.itemsize * shape.num_parameters,
            host_is_device=False,
        )

    return make


@pytest.fixture
def plain_canvases():
    """A function: canvases with their last few positions scored, slot by slot.

    The first is shorter by one position than the others, so that a batch is padded and masked, as
    most are.
    """

    def canvas(row, positions, slots, vocab_size):
        def ids(seed):
            return tuple((seed + 7 * place) % vocab_size for place in range(positions))

        return Canvas(
            example=row,
            cluster=row,
            clean_ids=ids(row),
            corrupted_ids=ids(row + 3),
            readouts=tuple(
                Readout(
                    step=slot,
                    slot=slot,
                    position=positions - slots + slot,
                    target_position=slot,
                    target_id=1,
                    distractor_id=2,
                    contrast=None,
                )
                for slot in range(slots)
            ),
        )

    def make(rows, positions, slots, vocab_size):
        lengths = [positions - 1] + (rows - 1) * [positions]
        return [canvas(row, length, slots, vocab_size) for row, length in enumerate(lengths)]

    return make


@pytest.fixture
def encoded_examples():
    """A function: examples of one length with a target of several tokens."""

    def make(num_examples, prompt, target, vocab_size):
        def ids(count, seed):
            return tuple(4 + (seed + 7 * place) % (vocab_size - 4) for place in range(count))

        return [
            EncodedExample(
                id=str(row),
                task="plain",
                prefix_ids=ids(prompt, row),
                corrupted_prefix_ids=ids(prompt, row + 3),
                target_ids=ids(target, row),
                distractor_ids=ids(target, row + 1),
            )
            for row in range(num_examples)
        ]

    return make
