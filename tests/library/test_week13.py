"""Week 13: the small worlds of the seminar, and what the exam of REINFORCE makes of actions."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import gymnasium
import matplotlib
import numpy as np
import pytest

from autograder import exams
from practical_dl.weeks import week13

matplotlib.use("agg")
import matplotlib.pyplot as plt

WEEK = Path(__file__).parents[2] / "weeks" / "week13_rl"


def test_tables_are_gymnasiums_and_the_end_is_the_end() -> None:
    lake = gymnasium.make("FrozenLake-v1", is_slippery=True)
    chances, rewards = week13.tables(lake)
    assert chances.shape == (16, 4, 16) and rewards.shape == (16, 4)
    np.testing.assert_allclose(chances.sum(2), 1)
    letters = "".join(letter.decode() for letter in lake.unwrapped.desc.ravel())
    for state, letter in enumerate(letters):
        if letter in "HG":
            assert (chances[state, :, state] == 1).all() and not rewards[state].any()
        else:
            for action, ways in lake.unwrapped.P[state].items():
                want = np.zeros(16)
                for chance, after, _, _ in ways:
                    want[after] += chance
                np.testing.assert_allclose(chances[state, action], want)
                gained = sum(chance * reward for chance, _, reward, _ in ways)
                assert rewards[state, action] == pytest.approx(gained)
    assert rewards.sum() > 0


def test_the_cliff_is_gymnasiums() -> None:
    theirs = gymnasium.make("CliffWalking-v1").unwrapped.P
    for state in range(37):  # from the others nobody walks on
        for action in range(4):
            ((_, after, reward, ended),) = theirs[state][action]
            assert week13.Cliff().step(state, action) == (int(after), float(reward), bool(ended))


def test_the_teacher_stays_on_the_road_and_who_does_nothing_does_not() -> None:
    road = week13.Road(0)
    pictures, states = road.drive(lambda seen, states: road.expert(states), 5, 200, wind=0.08)
    assert pictures.shape == (200, 5, 10, 21) and pictures.dtype == np.float32
    assert states.shape == (200, 5, 3) and np.abs(states[..., 0]).max() < road.edge
    again, _ = week13.Road(0).drive(lambda seen, states: road.expert(states), 5, 200, wind=0.08)
    np.testing.assert_array_equal(again, pictures)
    _, lost = week13.Road(0).drive(lambda seen, states: np.zeros(len(states)), 5, 200)
    assert (np.abs(lost[..., 0]).max(0) > road.edge).any()
    # On a straight look the road is where the car is not: a car to the right sees it on the left.
    left, right = (road.pictures(np.array([[off, 0.0, 0.0]]))[0, -1] for off in (-0.8, 0.8))
    assert np.argmax(left) > np.argmax(right)


def test_the_interquartile_mean_leaves_a_quarter_out_at_each_end() -> None:
    runs = np.array([[1.0, 90.0], [2.0, 5.0], [3.0, 6.0], [100.0, -40.0]])
    np.testing.assert_allclose(week13.interquartile_mean(runs), [2.5, 5.5])
    np.testing.assert_allclose(week13.interquartile_mean(runs[:3]), runs[:3].mean(0))


# -- The exam of REINFORCE ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def private() -> ModuleType:
    return exams.imported(WEEK / "private.py")


def test_actions_earn_what_they_do(private: ModuleType) -> None:
    _, answers = private.make("small", np.random.default_rng(0))["balancer"]
    n = len(answers["seeds"])

    def points(actions: np.ndarray) -> float:
        share, message, flag = private.mark_balancer(actions, answers, "small", "")
        assert message.endswith(".") and flag == ""
        return share * week13.BALANCE_SCALE.most

    def steps(actions: np.ndarray) -> float:
        return week13.replayed(week13.BALANCE, actions, answers["seeds"]).mean()

    constant = np.ones((n, 500), np.int64)
    assert points(constant) == 0 and 8 < steps(constant) < 11
    # A rule that looks at the stick: the world is played here, and its actions are handed in.
    good = np.full((n, 500), -1, np.int64)
    for row, seed in zip(good, answers["seeds"], strict=True):
        world = gymnasium.make("CartPole-v1")
        seen, _ = world.reset(seed=int(seed))
        for t in range(500):
            row[t] = int(seen @ [0.1, 0.3, 2.0, 1.0] > 0)
            seen, _, fallen, late, _ = world.step(int(row[t]))
            if fallen or late:
                break
    assert points(good) == week13.BALANCE_SCALE.most and steps(good) > 400
    assert steps(np.pad(good, ((0, 0), (0, 900)), constant_values=1)) == steps(good)
    assert points(good[:, :70]) == 0.5 and steps(good[:, :70]) == 70  # what is missing ends it
    for impossible in (2, -1, 10**9):
        spoilt = good.copy()
        spoilt[:, 60:] = impossible
        assert steps(spoilt) == 60
    assert points(good[::-1]) < 0.5  # other seeds' actions
    for shape in (good[1:], good[0], good[..., None], good.astype(complex)):
        share, message, _ = private.mark_balancer(np.asarray(shape), answers, "small", "")
        assert share == 0 and "asked for" in message


def test_a_world_that_is_patched_earns_nothing_more(
    private: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The student's process says nothing of rewards: only actions are handed in."""
    inputs, answers = private.make("small", np.random.default_rng(1))["balancer"]
    assert inputs.keys() == {"seeds"} and answers.keys() == {"seeds"}
    from gymnasium.envs.classic_control import CartPoleEnv

    real = CartPoleEnv.step
    with monkeypatch.context() as patched:
        patched.setattr(
            CartPoleEnv, "step", lambda self, a: (*real(self, a)[:1], 1e6, False, False, {})
        )
        world = gymnasium.make("CartPole-v1")
        world.reset(seed=int(answers["seeds"][0]))
        assert sum(world.step(1)[1] for _ in range(5)) == 5e6  # what such a process believes
    lazy = np.ones((len(answers["seeds"]), 500), np.int64)
    assert private.mark_balancer(lazy, answers, "small", "")[0] == 0


def test_drawings_are_made() -> None:
    values, actions = np.linspace(0, 1, 16), np.arange(16) % 4
    letters = np.array(list("SFFFFHFHFFFHHFFG")).reshape(4, 4)
    week13.lake(values, actions, letters)
    table = np.random.default_rng(0).normal(size=(48, 4))
    week13.cliff({"a": table, "b": table}, {"a": [36, 24], "b": [36, 24, 25]})
    pictures, states = week13.Road(1).drive(lambda seen, states: np.zeros(len(states)), 2, 12)
    week13.road({"a": pictures[::4, 0], "b": pictures[::4, 1]}, {"a": states[..., 0]})
    week13.bands({"a": np.ones((4, 5)), "b": np.zeros((4, 5))}, "t", "x", "y")
    week13.violins({"a": [0.0, 1.0, 2.0], "b": [0.1, 0.2, 0.4]}, 0.3)
    story = {"steps": [1.0, 2.0], "entropy": [0.6, 0.5], "explained": [0.0, 0.4]}
    week13.sheet({"a": story, "b": story})
    frames = [np.zeros((6, 8, 3), np.uint8)] * 3
    week13.strip(frames, ["1", "2", "3"])
    week13.films({"a": frames, "b": frames}, ["1", "2", "3"])
    assert len(plt.get_fignums()) == 8
    plt.close("all")
