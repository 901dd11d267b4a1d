"""The quick part of `python -m tests.attacks`."""

from importlib import import_module

import pytest

from tests.attacks.__main__ import ATTACKS
from tests.attacks.sharing import QUICK_STEPS, told

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # whole chains of stages: over ten minutes on a slow, busy machine
    pytest.mark.filterwarnings("ignore"),  # DVC's own
]


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "sharing"])
def test_everything_is_survived(name, tmp_path):
    tallies = list(import_module(f"tests.attacks.{name}").attack(tmp_path, True))
    problems = [(tally.test, problem) for tally in tallies for problem in tally.broken]
    untried = [problem for _, problem in problems if problem.startswith("not tried")]
    assert len(problems) == len(untried), problems
    if untried:  # no right to mount a small disk
        pytest.skip(f"{len(untried)} of {len(tallies)} {untried[0]}")
    assert tallies
    assert all(tally.tries for tally in tallies)


def test_results_are_shared_over_a_folder(first, tmp_path):
    """As the attack `sharing` has it, without computing everything once more."""
    tally = told(tmp_path, first, "folder", QUICK_STEPS)
    assert tally.broken == []
    assert tally.tries == QUICK_STEPS
