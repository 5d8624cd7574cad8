"""Week 13's environments side by side, agents that are handed in, and replayed actions."""

from __future__ import annotations

from typing import Any

import gymnasium
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from practical_dl.check import CheckFailed
from practical_dl.weeks import week13


@pytest.fixture(autouse=True)
def closed() -> Any:
    yield
    plt.close("all")


# -- Environments ------------------------------------------------------------------------------


def test_pendulums_are_those_of_gymnasium() -> None:
    ours, theirs = week13.Pendulums(5, 0), [gymnasium.make("Pendulum-v1") for _ in range(5)]
    ours.clock[:] = 0
    for i, one in enumerate(theirs):
        one.reset(seed=i)
        one.unwrapped.state = np.array([ours.angle[i], ours.speed[i]])
    rng = np.random.default_rng(1)
    for t in range(200):
        torques = rng.uniform(-3, 3, size=(5, 1)).astype(np.float32)  # out of range, too
        following, rewards, terminated, truncated, reached = ours.step(torques)
        for i, one in enumerate(theirs):
            seen, reward, ended, cut, _ = one.step(torques[i])
            np.testing.assert_allclose(reached[i], seen, atol=1e-5)
            assert rewards[i] == pytest.approx(reward, abs=1e-5)
            assert (bool(terminated[i]), bool(truncated[i])) == (ended, cut) == (False, t == 199)
    assert np.abs(following - reached).max() > 0.1 and (ours.clock == 0).all()
    for one in theirs:
        one.close()


def test_pendulums_begin_where_gymnasium_begins() -> None:
    ours = week13.Pendulums(4000, 0)
    assert np.abs(ours.angle).max() <= np.pi and np.abs(ours.speed).max() <= 1
    assert abs(ours.angle.mean()) < 0.2 and ours.angle.std() == pytest.approx(1.81, abs=0.1)
    assert ours.clock.min() == 0 and ours.clock.max() == 199
    same = week13.Pendulums(4000, 0)
    np.testing.assert_array_equal(ours.reset(), same.reset())
    assert ours.reset().dtype == np.float32 and ours.reset().shape == (4000, 3)


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5])
def test_what_a_probe_calls_right_is_right(kind: int) -> None:
    """The values of the best actions, by rewards that are summed up."""
    gamma, env = 0.7, week13.Probe(kind, 64, 0)
    seen, values, actions = env.truth(gamma)
    assert len(seen) == len(values if values is not None else actions)
    found: dict[float, set[float]] = {}
    looked = env.reset()
    chosen = dict(zip(seen[:, 0], actions if actions is not None else np.zeros(9), strict=False))
    begun, total, factor = looked, np.zeros(64), np.ones(64)
    for _ in range(8):
        action = np.array([[chosen[float(s)]] for s in looked[:, 0]])
        looked_next, rewards, terminated, truncated, reached = env.step(action)
        assert not truncated.any() and reached.shape == looked.shape
        total += factor * rewards
        for i in np.flatnonzero(terminated):
            found.setdefault(float(begun[i, 0]), set()).add(round(float(total[i]), 9))
        begun = np.where(terminated[:, None], looked_next, begun)
        factor = np.where(terminated, 1.0, factor * gamma)
        total = np.where(terminated, 0.0, total)
        looked = looked_next
    if values is not None:
        first = {-1.0: values[0]} if kind == 3 else dict(zip(seen[:, 0], values, strict=True))
        assert found == {float(k): {round(float(v), 9)} for k, v in first.items()}
    else:
        assert all(v == {0.0} or v == {-0.0} for v in found.values())


def test_others_have_the_interface_of_pendulums() -> None:
    env = week13.World("Acrobot-v1", 6, 1, 500, choices=3).several(3, 0)
    seen = env.reset()
    assert seen.shape == (3, 6) and seen.dtype == np.float32
    ends = 0
    for _ in range(501):
        following, rewards, terminated, truncated, reached = env.step(np.ones(3, int))
        ended = terminated | truncated
        ends += int(ended.sum())
        same = (following == reached).all(1)
        assert same[~ended].all() and not same[ended].any()
    assert ends == 3 and rewards.shape == (3,)


# -- Agents ------------------------------------------------------------------------------------


class Linear(nn.Module):
    def __init__(self, d: int, k: int) -> None:
        super().__init__()
        self.layer = nn.Linear(d, k)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


WORLDS = {
    "pendulum": week13.World("Pendulum-v1", 3, 1, 200),
    "lander": week13.World("LunarLanderContinuous-v3", 8, 2, 1000),
    "cart": week13.World("CartPole-v1", 4, 1, 500, choices=2, ends=True),
}


@pytest.mark.parametrize("name", list(WORLDS))
def test_replayed_actions_earn_what_they_earned(name: str) -> None:
    torch.manual_seed(0)
    world = WORLDS[name]
    contract = week13.AgentContract(world=world)
    model = Linear(world.observations, world.choices or world.actions).eval()
    contract.check(model, np.random.default_rng(0))
    seeds = [7, 123456, 3]
    actions, returns = contract.play(model, seeds)
    assert actions.dtype == (np.int64 if world.choices else np.float32)
    for _ in range(2):
        np.testing.assert_array_equal(week13.replayed(world, actions, seeds), returns)
    assert len(set(returns)) == 3
    assert (week13.replayed(world, actions, [8, 9, 10]) != returns).any()


def test_missing_and_impossible_actions() -> None:
    pendulum, cart = WORLDS["pendulum"], WORLDS["cart"]
    zeros = np.zeros((2, 200, 1), np.float32)
    nothing = week13.replayed(pendulum, zeros, [1, 2])
    for actions in (zeros[:, :0], zeros[:, :50], np.full((2, 200, 1), np.nan), zeros - np.inf):
        np.testing.assert_array_equal(week13.replayed(pendulum, actions, [1, 2]), nothing)
    more = np.concatenate([zeros, np.ones((2, 300, 1), np.float32)], 1)
    np.testing.assert_array_equal(week13.replayed(pendulum, more, [1, 2]), nothing)
    large, edge = (np.full((2, 200, 1), v, np.float32) for v in (1e30, 2.0))
    np.testing.assert_array_equal(
        week13.replayed(pendulum, large, [1, 2]), week13.replayed(pendulum, edge, [1, 2])
    )
    choices = np.array([[0, 1] * 4 + [2] + [0, 1] * 40, [1, 0, 1, 0] + [-1] * 85])
    np.testing.assert_array_equal(week13.replayed(cart, choices, [1, 2]), [8, 4])
    np.testing.assert_array_equal(week13.replayed(cart, choices + 0.5, [1, 2]), [0, 0])
    np.testing.assert_array_equal(week13.replayed(cart, choices * np.nan, [1, 2]), [0, 0])


class Bad(Linear):
    def __init__(self, how: str) -> None:
        super().__init__(3, 1)
        self.how = how

    def forward(self, x: torch.Tensor) -> Any:
        made = self.layer(x)
        return {
            "flat": lambda: made[:, 0],
            "array": lambda: made.detach().numpy(),
            "nan": lambda: made / 0 * 0,
            "noise": lambda: made + torch.randn_like(made),
            "batch": lambda: made - made.mean(0),
            "changes": lambda: self.layer(x.mul_(2)),
        }[self.how]()


@pytest.mark.parametrize("how", ["flat", "array", "nan", "noise", "batch", "changes"])
def test_agents_that_break_the_contract(how: str) -> None:
    torch.manual_seed(0)
    contract = week13.AgentContract(world=WORLDS["pendulum"])
    with pytest.raises(CheckFailed):
        contract.check(Bad(how).eval(), np.random.default_rng(0))


def test_milestones_are_told() -> None:
    text = week13.reached(-300.0, "small", week13.SWING_SCALE)
    assert "1.25 of 2 points" in text and text.count("reached") == 2


# -- Drawings ----------------------------------------------------------------------------------


def test_a_film_has_the_frames_that_are_asked_for() -> None:
    zero = lambda seen: np.zeros((len(seen), 1), np.float32)  # noqa: E731
    pictures = week13.film(WORLDS["pendulum"], zero, seed=0, frames=4, steps=20)
    assert pictures.shape[0] == 4 and pictures.dtype == np.uint8 and pictures.shape[3] == 3
    assert (pictures[0] != pictures[-1]).any()


def test_drawings_draw() -> None:
    x = np.linspace(0, 1, 5)
    week13.shuffled(np.arange(12).reshape(3, 4))
    week13.bias_and_variance(x, 1 - x, x**2)
    assert plt.gca().get_xlabel() == "λ"
    week13.densities(x, np.ones((5, 5)) + x, np.ones((3, 2)) / 2)
    week13.clipped(x, {"A = 1": (x, x), "A = −1": (-x, -x)})
    week13.running({"a": (x, x / 9)}, {"a": 0.5})
    week13.divergences({"a": [0.0, 0.1], "b": [0.0, 0.02, 0.04]}, 0.03)
    week13.diagnosis(np.array([[0.0, np.inf], [0.3, 0.05]]), ["a", "b"], ["c", "d"], 0.1)
    assert {text.get_text() for text in plt.gca().texts} == {"0.00", "∞", "0.30", "0.05"}
    week13.learning({"a": [x, x + 1], "b": [x]}, 100, {"line": 0.5})
    assert [text.get_text() for text in plt.gca().get_legend().get_texts()] == ["a", "b"]


# -- Agents that choose ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5])
def test_probes_of_choices_reset_themselves_a_step_later(kind: int) -> None:
    """Rewards of the best choices are what `truth` says; the step after an end counts nothing."""
    gamma, envs = 0.7, week13.ProbeChoices(kind, 64, 0)
    seen, values, actions = envs.truth(gamma)
    right = dict(zip(seen[:, 0], actions if actions is not None else np.zeros(9), strict=False))
    looked, _ = envs.reset()
    ended, total, factor, begun = np.zeros(64, bool), np.zeros(64), np.ones(64), looked
    found: dict[float, set[float]] = {}
    for _ in range(12):
        action = np.array([right[float(s)] for s in looked[:, 0]]).astype(int)
        reached, rewards, terminated, truncated, _ = envs.step(action)
        assert not truncated.any() and (rewards[ended] == 0).all() and not terminated[ended].any()
        begun = np.where(ended[:, None], reached, begun)
        total, factor = np.where(ended, 0, total + factor * rewards), factor * gamma
        factor = np.where(ended, 1.0, factor)
        for i in np.flatnonzero(terminated):
            found.setdefault(float(begun[i, 0]), set()).add(round(float(total[i]), 9))
        ended, looked = terminated, reached
    if values is None:
        assert all(v == {1.0} for v in found.values())
    else:
        first = {-1.0: values[0]} if kind == 3 else dict(zip(seen[:, 0], values, strict=True))
        assert found == {float(k): {round(float(v), 9)} for k, v in first.items()}


def test_vectors_of_gymnasium_give_the_last_observation_and_then_reset() -> None:
    """What the text says of the step after an end."""
    envs, seen = week13.vector("CartPole-v1", 4, 0)
    assert seen.shape == (4, 4) and seen.dtype == np.float32
    ended, checked = np.zeros(4, bool), 0
    for _ in range(120):
        reached, rewards, terminated, truncated, _ = envs.step(np.ones(4, int))
        assert (rewards[ended] == 0).all() and (rewards[~ended] == 1).all()
        assert (np.abs(reached[ended]) <= 0.05).all()  # where episodes begin
        assert (np.abs(reached[terminated]).max(1) > 0.2).all()
        checked += int(ended.sum())
        ended = terminated | truncated
    assert checked > 20
    envs, _ = week13.vector("CartPole-v1", 4, 0, limit=5)
    flags = [envs.step(np.array([t % 2] * 4))[2:4] for t in range(5)]
    assert not np.array([t for t, _ in flags]).any() and flags[4][1].all() and not flags[3][1].any()


def test_a_timeline_has_a_square_for_each_row() -> None:
    ends, cuts = np.zeros((5, 2), bool), np.zeros((5, 2), bool)
    ends[1, 0] = cuts[2, 1] = True
    valid = np.ones((5, 2), bool)
    valid[2, 0] = valid[3, 1] = False
    week13.timeline(ends, cuts, valid)
    assert len(plt.gca().patches) == 10 and len(plt.gca().lines) == 2
    names = [text.get_text() for text in plt.gca().get_legend().get_texts()]
    assert names == ["transition", "terminated", "truncated", "no transition"]
