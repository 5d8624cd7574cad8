"""Week 13's exams: actions are replayed, and nothing else counts."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import gymnasium
import numpy as np
import pytest

from autograder import exams
from practical_dl.weeks import week13

FILE = Path(__file__).parents[2] / "weeks" / "week13_rl" / "private.py"
WORLD, SCALE = week13.SWING["small"], week13.SWING_SCALE


@pytest.fixture(scope="module")
def private() -> ModuleType:
    return exams.imported(FILE)


@pytest.fixture
def answers(private: ModuleType) -> dict[str, np.ndarray]:
    inputs, answers = private.make("small", np.random.default_rng(0))["agent"]
    np.testing.assert_array_equal(inputs["seeds"], answers["seeds"])
    assert len(set(answers["seeds"])) == 80
    return answers


def swing(seen: np.ndarray) -> np.ndarray:
    """Swings up by its energy and holds on above: better than every milestone."""
    cosine, sine, speed = seen.T.astype(np.float64)
    push = np.sign(speed) * 2 * np.sign(10 - (speed**2 / 2 + 10 * cosine) + 1e-9)
    hold = -(16 * np.arctan2(sine, cosine) + 4 * speed)
    return np.clip(np.where(cosine > 0.85, hold, push), -2, 2)[:, None].astype(np.float32)


def test_good_actions_get_all_points(private: ModuleType, answers: dict[str, np.ndarray]) -> None:
    actions, returns = week13.episodes(WORLD, swing, answers["seeds"])
    share, message, flag = private.mark_agent(actions, answers, "small", "")
    assert share == 1 and "Every milestone" in message and flag == ""
    assert f"{returns.mean():.1f}" in message
    # More steps than there are, other kinds of numbers: the same.
    longer = np.concatenate([actions, np.full_like(actions, np.nan)], 1).astype(np.float64)
    assert private.mark_agent(longer, answers, "small", "")[:2] == (share, message)
    shuffled = private.mark_agent(actions[::-1], answers, "small", "")
    assert shuffled[0] == 0  # the actions of other episodes


def test_rewards_that_somebody_claims_do_not_count(
    private: ModuleType, answers: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a student's process does to its environment is gone when actions are replayed."""
    idle = lambda seen: np.zeros((len(seen), 1), np.float32)  # noqa: E731
    with monkeypatch.context() as patch:
        inner = gymnasium.envs.classic_control.PendulumEnv
        honest = inner.step
        patch.setattr(inner, "step", lambda self, u: (honest(self, u)[0], 0.0, False, False, {}))
        actions, claimed = week13.episodes(WORLD, idle, answers["seeds"])
        assert (claimed == 0).all()
    share, message, _ = private.mark_agent(actions, answers, "small", "")
    assert share == 0 and "-1" in message
    returns = np.zeros(80)  # rewards in place of actions
    assert private.mark_agent(returns, answers, "small", "")[0] == 0


@pytest.mark.parametrize(
    "handed",
    [
        np.zeros((0, 200, 1), np.float32),
        np.zeros((39, 200, 1), np.float32),
        np.zeros((41, 200, 1), np.float32),
        np.zeros((80, 200), np.float32),
        np.zeros((80, 200, 2), np.float32),
        np.zeros((80, 200, 1, 1), np.float32),
        np.zeros(8000, np.float32),
        np.zeros((), np.float32),
        np.zeros((80, 200, 1), bool),
    ],
    ids=lambda a: f"{a.shape} {a.dtype}",
)
def test_actions_of_another_shape_get_nothing(
    private: ModuleType, answers: dict[str, np.ndarray], handed: np.ndarray
) -> None:
    share, message, _ = private.mark_agent(handed, answers, "small", "")
    assert share == 0 and "were asked for" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -2.0, 0.0])
def test_impossible_actions_earn_little(
    private: ModuleType, answers: dict[str, np.ndarray], value: float
) -> None:
    handed = np.full((80, 200, 1), value, np.float32)
    share, message, _ = private.mark_agent(handed, answers, "small", "")
    assert share == 0 and "next milestone" in message and "nan" not in message


def test_stopping_early_does_not_pay(private: ModuleType, answers: dict[str, np.ndarray]) -> None:
    actions, _ = week13.episodes(WORLD, swing, answers["seeds"])
    whole = week13.replayed(WORLD, actions, answers["seeds"]).mean()
    for steps in (0, 1, 30):
        share, _, _ = private.mark_agent(actions[:, :steps], answers, "small", "")
        assert share < 1
        assert week13.replayed(WORLD, actions[:, :steps], answers["seeds"]).mean() < whole


def test_code_that_a_person_should_see(private: ModuleType, answers: dict[str, np.ndarray]) -> None:
    handed = np.zeros((80, 200, 1), np.float32)
    for code in ("from stable_baselines3 import PPO", "torch.load('x')", "np.arctan2(a, b)"):
        assert private.mark_agent(handed, answers, "small", code)[2]
    assert private.mark_agent(handed, answers, "small", "loss.backward()")[2] == ""


# -- Choices -----------------------------------------------------------------------------------


def against(seen: np.ndarray) -> np.ndarray:
    """Pushes with the speed of the upper rod, which swings the feet over the bar."""
    return np.where(seen[:, 4] > 0, 0, 2)


def test_choices_are_replayed(private: ModuleType) -> None:
    inputs, answers = private.make("small", np.random.default_rng(1))["player"]
    world = week13.PLAY["small"]
    actions, returns = week13.episodes(world, against, inputs["seeds"])
    share, message, flag = private.mark_player(actions, answers, "small", "")
    assert f"{returns.mean():.1f}" in message and flag == ""
    assert share > 0 and returns.mean() > -500
    # What is no choice is replayed as no torque; and so is what is missing.
    idle = private.mark_player(np.ones_like(actions), answers, "small", "")
    for wrong in (
        actions * 0 + 3,
        actions * 0 - 1,
        actions + 0.5,
        actions * np.nan,
        actions[:, :0],
    ):
        assert private.mark_player(wrong, answers, "small", "") == idle
    assert idle[0] == 0 and "-500.0" in idle[1]
    for shape in ((80,), (80, 500, 1), (79, 500), (500, 80)):
        share, message, _ = private.mark_player(np.zeros(shape, int), answers, "small", "")
        assert share == 0 and "were asked for" in message
