import subprocess
import sys


def test_comparing_scores_needs_no_torch() -> None:
    """In a process of its own, since other tests import torch."""
    check = "import mechshift.comparison, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
