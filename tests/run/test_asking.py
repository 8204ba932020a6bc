import numpy as np
import pytest
from mechshift.run.asking import ask_checkpoint
from mechshift.run.pooling import make_pools
from mechshift.run.stores import read_pool
from mechshift.run.trajectory_stores import read_answers

from mechshift.errors import ArtifactError
from mechshift.models import load_pair
from mechshift.models.tokenizers import naming_mask
from mechshift.run.settings import PairOptions
from mechshift.tasks import PoolConfig, continuation_ids, find_task

TASK = find_task("infilling")


@pytest.fixture(scope="module")
def pair():
    return load_pair("tiny")


@pytest.fixture
def run(tmp_path, pair):
    config = PoolConfig(num_examples=3, num_held_out=6)
    make_pools(tmp_path, pair, PairOptions(), [TASK], config, quiet=True)
    return tmp_path


def ask(run, model, tokenizer):
    ask_checkpoint(run, TASK, "checkpoint", model, tokenizer=tokenizer, quiet=True)


def test_a_checkpoint_is_asked_what_the_pool_asked_the_pair(run, pair):
    """The MDM under another name answers as it did, whatever its own tokenizer knows."""
    ask(run, pair.mdm, pair.mdm.tokenizer)
    found = read_answers(run, TASK.name, "checkpoint")
    np.testing.assert_array_equal(found, read_pool(run, TASK.name, "held-out").mdm_correct)


def test_candidates_of_other_texts_under_the_same_ids_are_refused(run, pair):
    first = read_pool(run, TASK.name, "held-out").examples[0]
    word = continuation_ids(pair.mdm.tokenizer, first.prompt, first.target)[0]
    other = naming_mask(pair.mdm.tokenizer, word)
    with pytest.raises(ArtifactError, match="cannot be drawn again .*use another run folder"):
        ask(run, pair.mdm, other)
