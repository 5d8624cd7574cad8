# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Codes with a distribution
# An autoencoder finds codes but cannot make new ones. A [variational autoencoder](glossary:vae) ([Kingma & Welling, 2014](https://arxiv.org/abs/1312.6114)) learns codes whose distribution is known in advance, and with it a bound on the likelihood of the data. You build it from its parts, measure how far the bound is from the truth where the truth can be computed, watch codes collapse, make them discrete in two ways, and judge what comes out by numbers whose traps you set off yourself. At the end you walk through a wardrobe.

# %% [markdown] lang="ru"
# # Коды с распределением
# Автокодировщик находит коды, но новых делать не умеет. [Вариационный автокодировщик](glossary:vae) (VAE; [Kingma, Welling, 2014](https://arxiv.org/abs/1312.6114)) учит коды, распределение которых известно заранее, а с ними — нижнюю границу правдоподобия данных. Вы соберёте его из частей, измерите, как далека граница от истины там, где истину можно вычислить, увидите, как коды схлопываются, сделаете их дискретными двумя способами и оцените результат числами, ловушки которых захлопнете сами. В конце прогуляетесь по гардеробу.

# %% tags=["parameters"]
profile = "small"

# %%
from functools import cache
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import make_moons
from torch import nn

from practical_dl import check, data, plots, seed_everything
from practical_dl.weeks import week10

seed_everything(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
settings = {
    "small": {"moon_steps": 1500, "steps": 700, "width": 256, "side": 14, "most": 5_000},
    "full": {"moon_steps": 20_000, "steps": 40_000, "width": 1024, "side": 28, "most": 10_000},
}[profile]

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at *your* result. The checks that you see are public ones: a good sign, not a promise. Each task can be solved without the others. Functions leave their arguments as they were; results have the dtype of what is handed in. All logarithms are natural.

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на *свой* результат. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Каждое задание можно решить без остальных. Функции не меняют своих аргументов; у результатов тот же dtype, что у данных. Все логарифмы натуральные.

# %% [markdown]
# ## 1. A code with noise
# The encoder gives no code but a distribution of codes, $q(z \mid x) = N(\mu, \sigma^2)$, each number of the code by itself. It puts out $\mu$ and $\log \sigma^2$, so that no output has to be positive. A code is drawn from it; but how does a gradient pass through a draw? By the [reparameterisation trick](glossary:reparametrization-trick): the noise $\varepsilon \sim N(0, 1)$ is drawn outside, and the code is a smooth function of it,
#
# $$z = \mu + \sigma \varepsilon.$$
#
# {{task:reparameterise}}

# %% [markdown] lang="ru"
# ## 1. Код с шумом
# Кодировщик выдаёт не код, а распределение кодов $q(z \mid x) = N(\mu, \sigma^2)$, каждое число кода само по себе. Выдаёт он $\mu$ и $\log \sigma^2$: тогда ни одно из чисел не обязано быть положительным. Код из этого распределения вытягивают, но как градиенту пройти сквозь жребий? [Трюк с репараметризацией](glossary:reparametrization-trick) (reparameterisation trick): шум $\varepsilon \sim N(0, 1)$ берётся снаружи, а код — его гладкая функция,
#
# $$z = \mu + \sigma \varepsilon.$$
#
# {{task:reparameterise}}


# %% solution="reparameterise"
def reparameterise(
    mean: torch.Tensor, log_var: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """Codes (n, d) of means and logarithms of variances (n, d) and of normal noise (n, d)."""
    ### BEGIN SOLUTION
    return mean + (log_var / 2).exp() * noise
    ### END SOLUTION


# %% test="reparameterise" points=0.5 difficulty=1 minutes=10
mean, log_var, noise = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.8, -3.0]]), torch.tensor([[0.7, -1.5]])
call = "reparameterise(mean, log_var, noise)"
check.close(check.answer(reparameterise, mean, log_var, noise, call=call), [[2.0442773, -2.3346952]], call)
### BEGIN HIDDEN TESTS
rng = check.rng("reparameterise")
for n, d in ((3, 4), (1, 2), (5, 1)):
    mean, log_var, noise = (torch.from_numpy(rng.normal(size=(n, d))) for _ in range(3))
    call = f"reparameterise(mean, log_var, noise) of shape ({n}, {d})"
    std = np.sqrt(np.exp(log_var.numpy()))
    found = check.answer(reparameterise, mean, log_var, noise, call=call)
    check.close(found, mean.numpy() + std * noise.numpy(), call, rtol=1e-9, why="be a draw of the normal distribution")
    check.that(found.dtype == np.float64, f"{call}: have the dtype of the means")
    grads = check.gradient_of(reparameterise, mean, log_var, noise, call=call)
    check.close(grads[0], np.ones((n, d)), f"the gradient of {call} for mean", rtol=1e-9, why="reach the means")
    check.close(grads[1], std * noise.numpy() / 2, f"the gradient of {call} for log_var", rtol=1e-9, why="reach the variances")
mean, log_var = torch.full((40_000, 1), 3.0), torch.full((40_000, 1), float(np.log(4.0)))
draws = check.answer(reparameterise, mean, log_var, torch.from_numpy(rng.normal(size=(40_000, 1))).float(), call="reparameterise of 40,000 codes")
check.that(abs(draws.mean() - 3) < 7 * 2 / 200, "draw codes with the mean that is asked for")
check.that(abs(draws.std() - 2) < 7 * 2 / 280, "draw codes with the variance that is asked for")
### END HIDDEN TESTS

# %% mutant="reparameterise" why="the logarithm as the deviation"
# - return mean + (log_var / 2).exp() * noise
# + return mean + log_var * noise

# %% mutant="reparameterise" why="the variance as the deviation"
# - return mean + (log_var / 2).exp() * noise
# + return mean + log_var.exp() * noise

# %% mutant="reparameterise" why="flips the noise"
# - return mean + (log_var / 2).exp() * noise
# + return mean - (log_var / 2).exp() * noise

# %% mutant="reparameterise" why="no gradient for the variances"
# - return mean + (log_var / 2).exp() * noise
# + return mean + (log_var / 2).exp().detach() * noise

# %% mutant="reparameterise" why="noise of its own"
# - return mean + (log_var / 2).exp() * noise
# + return mean + (log_var / 2).exp() * torch.randn_like(mean)

# %% mutant="reparameterise" why="no noise"
# - return mean + (log_var / 2).exp() * noise
# + return mean + 0 * (log_var / 2).exp() * noise

# %% mutant="reparameterise" why="one noise for all"
# - return mean + (log_var / 2).exp() * noise
# + return mean + (log_var / 2).exp() * noise[:1]


# %% alternative="reparameterise" why="the root of the variance"
def reparameterise(mean, log_var, noise):
    return torch.addcmul(mean, torch.sqrt(torch.exp(log_var)), noise)


# %% [markdown]
# New codes will be drawn from the **prior** $N(0, 1)$. So the encoder has to pay for every step away from it, number by number:
#
# $$\mathrm{KL}\bigl(N(\mu, \sigma^2) \,\Vert\, N(0, 1)\bigr) = \tfrac12 \bigl(\mu^2 + \sigma^2 - \log \sigma^2 - 1\bigr).$$
#
# {{task:prior_kl}}

# %% [markdown] lang="ru"
# Новые коды будут браться из **априорного** распределения (prior) $N(0, 1)$. Поэтому за каждый шаг прочь от него кодировщик платит, число за числом:
#
# $$\mathrm{KL}\bigl(N(\mu, \sigma^2) \,\Vert\, N(0, 1)\bigr) = \tfrac12 \bigl(\mu^2 + \sigma^2 - \log \sigma^2 - 1\bigr).$$
#
# {{task:prior_kl}}


# %% solution="prior_kl"
def prior_kl(mean: torch.Tensor, log_var: torch.Tensor) -> torch.Tensor:
    """What each number of a code costs, in nats. mean, log_var: (n, d) -> (n, d)."""
    ### BEGIN SOLUTION
    return (mean**2 + log_var.exp() - log_var - 1) / 2
    ### END SOLUTION


# %% test="prior_kl" points=0.5 difficulty=1 minutes=5
call = "prior_kl([[1.0, -2.0]], [[0.8, -3.0]])"
found = check.answer(prior_kl, torch.tensor([[1.0, -2.0]]), torch.tensor([[0.8, -3.0]]), call=call)
check.close(found, [[0.7127705, 3.0248935]], call)
### BEGIN HIDDEN TESTS
from scipy import integrate, stats

rng = check.rng("prior_kl")
for n, d in ((2, 3), (1, 1), (4, 2)):
    mean, log_var = torch.from_numpy(rng.normal(size=(n, d))), torch.from_numpy(rng.normal(size=(n, d)))
    leaves = [tensor.clone().requires_grad_() for tensor in (mean, log_var)]
    normal = torch.distributions.Normal(leaves[0], (leaves[1] / 2).exp())
    want = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0))
    call = f"prior_kl(mean, log_var) of shape ({n}, {d})"
    check.close(check.answer(prior_kl, mean, log_var, call=call), want.detach(), call, rtol=1e-9, why="be the divergence from the prior, number by number")
    for name, got, one in zip(("mean", "log_var"), check.gradient_of(prior_kl, mean, log_var, call=call), torch.autograd.grad(want.sum(), leaves), strict=True):
        check.close(got, one, f"the gradient of {call} for {name}", rtol=1e-7, atol=1e-10, why="push the code towards the prior")
mu, spread = float(rng.normal()), float(rng.uniform(0.4, 2))
one = stats.norm(mu, spread)
want = integrate.quad(lambda z: one.pdf(z) * (one.logpdf(z) - stats.norm.logpdf(z)), mu - 12 * spread, mu + 12 * spread)[0]
call = "prior_kl of one normal distribution"
found = check.answer(prior_kl, torch.tensor([[mu]], dtype=torch.float64), torch.tensor([[2 * np.log(spread)]], dtype=torch.float64), call=call)
check.close(found, [[want]], call, rtol=1e-6, atol=1e-8, why="be the integral of q log(q / p)")
check.close(check.answer(prior_kl, torch.zeros(2, 3), torch.zeros(2, 3), call="prior_kl of the prior"), np.zeros((2, 3)), "prior_kl of the prior", atol=1e-7, why="cost nothing")
mean, log_var = torch.tensor([[30.0, -0.4, 2.0]]).double(), torch.tensor([[0.5, 25.0, -40.0]]).double()
normal = torch.distributions.Normal(mean, (log_var / 2).exp())
want = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0))
call = "prior_kl of codes far from the prior, wide ones and narrow ones"
check.close(check.answer(prior_kl, mean, log_var, call=call), want, call, rtol=1e-8, why="cost what it costs, without a limit")
### END HIDDEN TESTS

# %% mutant="prior_kl" why="the sign, as a bonus"
# - return (mean**2 + log_var.exp() - log_var - 1) / 2
# + return -(mean**2 + log_var.exp() - log_var - 1) / 2

# %% mutant="prior_kl" why="forgets the half"
# - return (mean**2 + log_var.exp() - log_var - 1) / 2
# + return mean**2 + log_var.exp() - log_var - 1

# %% mutant="prior_kl" why="log_var as the deviation"
# - return (mean**2 + log_var.exp() - log_var - 1) / 2
# + return (mean**2 + log_var**2 - 2 * log_var.abs().log() - 1) / 2

# %% mutant="prior_kl" why="log_var as the logarithm of the deviation"
# - return (mean**2 + log_var.exp() - log_var - 1) / 2
# + return (mean**2 + (2 * log_var).exp() - 2 * log_var - 1) / 2

# %% mutant="prior_kl" why="the other way round"
# - return (mean**2 + log_var.exp() - log_var - 1) / 2
# + return ((mean**2 + 1) / log_var.exp() + log_var - 1) / 2

# %% mutant="prior_kl" why="forgets the 1"
# - return (mean**2 + log_var.exp() - log_var - 1) / 2
# + return (mean**2 + log_var.exp() - log_var) / 2

# %% mutant="prior_kl" why="the mean is free"
# - return (mean**2 + log_var.exp() - log_var - 1) / 2
# + return (0 * mean + log_var.exp() - log_var - 1) / 2

# %% mutant="prior_kl" why="adds up the numbers"
# - return (mean**2 + log_var.exp() - log_var - 1) / 2
# + return ((mean**2 + log_var.exp() - log_var - 1) / 2).sum(1)

# %% mutant="prior_kl" why="log_var within limits"
# - return (mean**2 + log_var.exp() - log_var - 1) / 2
# + log_var = log_var.clamp(-10, 10)
# + return (mean**2 + log_var.exp() - log_var - 1) / 2

# %% mutant="prior_kl" why="no cost above 20 nats"
# - return (mean**2 + log_var.exp() - log_var - 1) / 2
# + return ((mean**2 + log_var.exp() - log_var - 1) / 2).clamp(max=20)


# %% alternative="prior_kl" why="torch's distributions"
def prior_kl(mean, log_var):
    normal = torch.distributions.Normal(mean, log_var.exp().sqrt())
    prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return torch.distributions.kl_divergence(normal, prior)


# %% [markdown]
# ## 2. The bound
# How likely is a picture, over all codes? $p(x) = \int p(x \mid z)\, p(z)\, dz$ cannot be computed, but bounded from below. This is the [ELBO](glossary:elbo): what a drawn code tells about the picture, less what the code costs,
#
# $$\log p(x) \ge \mathbb E_{q(z \mid x)} \log p(x \mid z) - \mathrm{KL}\bigl(q(z \mid x) \,\Vert\, p(z)\bigr).$$
#
# - `log_likelihood`: grey pixels $x_j$ from 0 to 1, and the decoder gives a logit $s_j$ a pixel: $\log p(x \mid z) = \sum_j x_j \log \sigma(s_j) + (1 - x_j) \log (1 - \sigma(s_j))$, **summed** over pixels. Logits may be large.
# - `vae_loss`, to be minimised: minus the bound, a **mean** over the batch. With two knobs: `beta` times the cost ([Higgins et al., 2017](https://openreview.net/forum?id=Sy2fzU9gl)), and `free` nats that each number of the code may cost at no charge, looked at over the batch ([Kingma et al., 2016](https://arxiv.org/abs/1606.04934), appendix C.8): $\sum_j \max(\text{free}, \operatorname{mean}_i \mathrm{KL}_{ij})$ in place of $\sum_j \operatorname{mean}_i \mathrm{KL}_{ij}$.
#
# {{task:vae_loss}}

# %% [markdown] lang="ru"
# ## 2. Граница
# Насколько вероятна картинка — по всем кодам? $p(x) = \int p(x \mid z)\, p(z)\, dz$ не вычислить, но можно ограничить снизу. Это [ELBO](glossary:elbo): сколько вытянутый код говорит о картинке минус сколько он стоит,
#
# $$\log p(x) \ge \mathbb E_{q(z \mid x)} \log p(x \mid z) - \mathrm{KL}\bigl(q(z \mid x) \,\Vert\, p(z)\bigr).$$
#
# - `log_likelihood`: серые пиксели $x_j$ от 0 до 1, декодировщик выдаёт по логиту $s_j$ на пиксель: $\log p(x \mid z) = \sum_j x_j \log \sigma(s_j) + (1 - x_j) \log (1 - \sigma(s_j))$, **сумма** по пикселям. Логиты бывают большими.
# - `vae_loss`, её уменьшают: минус граница, **среднее** по батчу. С двумя ручками: `beta`, множитель при стоимости ([Higgins и др., 2017](https://openreview.net/forum?id=Sy2fzU9gl)), и `free` — столько натов каждое число кода может стоить бесплатно, в среднем по батчу ([Kingma и др., 2016](https://arxiv.org/abs/1606.04934), приложение C.8): $\sum_j \max(\text{free}, \operatorname{mean}_i \mathrm{KL}_{ij})$ вместо $\sum_j \operatorname{mean}_i \mathrm{KL}_{ij}$.
#
# {{task:vae_loss}}


# %% solution="vae_loss"
def log_likelihood(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """log p(x | z) of pictures. logits, x: (n, pixels) -> (n,)."""
    ### BEGIN SOLUTION
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
    ### END SOLUTION


def vae_loss(
    log_px: torch.Tensor, kl: torch.Tensor, beta: float = 1.0, free: float = 0.0
) -> torch.Tensor:
    """Minus the bound, a number. log_px: log p(x | z) (n,); kl: the cost of each number (n, d)."""
    ### BEGIN SOLUTION
    return beta * kl.mean(0).clamp(min=free).sum() - log_px.mean()
    ### END SOLUTION


# %% test="vae_loss" points=1 difficulty=2 minutes=20
call = "log_likelihood([[2, -1, 0.5]], [[1, 0.3, 0.8]])"
found = check.answer(log_likelihood, torch.tensor([[2.0, -1.0, 0.5]]), torch.tensor([[1.0, 0.3, 0.8]]), call=call)
check.close(found, [-1.3142667], call, why="be a sum over pixels")
log_px, kl = torch.tensor([-5.0, -9.0]), torch.tensor([[0.1, 2.0, 0.7], [0.3, 1.0, 0.1]])
check.close(check.answer(vae_loss, log_px, kl, call="vae_loss(log_px, kl)"), 9.1, "vae_loss(log_px, kl)", why="be minus the bound")
call = "vae_loss(log_px, kl, beta=3, free=0.5)"
check.close(check.answer(vae_loss, log_px, kl, beta=3.0, free=0.5, call=call), 14.5, call)
### BEGIN HIDDEN TESTS
rng = check.rng("vae_loss")
for n, m in ((3, 5), (1, 4), (4, 1)):
    logits, x = torch.from_numpy(2 * rng.normal(size=(n, m))), torch.from_numpy(rng.uniform(size=(n, m)))
    p = torch.sigmoid(logits).numpy()
    want = (x.numpy() * np.log(p) + (1 - x.numpy()) * np.log(1 - p)).sum(1)
    call = f"log_likelihood(logits, x) of shape ({n}, {m})"
    check.close(check.answer(log_likelihood, logits, x, call=call), want, call, rtol=1e-9, why="be a number for each picture")
    (slope,) = check.gradient_of(lambda s, x=x: log_likelihood(s, x), logits, call=call)
    check.close(slope, x.numpy() - p, f"the gradient of {call}", rtol=1e-6, atol=1e-9, why="be pixel minus probability")
call = "log_likelihood of logits as large as 500"
found = check.answer(log_likelihood, torch.tensor([[500.0, -500.0], [500.0, 500.0]]), torch.tensor([[1.0, 0.0], [0.25, 1.0]]), call=call)
check.close(found, [0.0, -375.0], call, atol=1e-5, why="bear large logits")


def bound(log_px, kl, beta, free):
    cost = sum(max(free, float(np.mean(kl[:, j]))) for j in range(kl.shape[1]))
    return beta * cost - float(np.mean(log_px))


for n, d in ((4, 3), (1, 2), (6, 5)):
    log_px, kl = torch.from_numpy(-8 + rng.normal(size=n)), torch.from_numpy(rng.exponential(0.6, size=(n, d)))
    for options in ({}, {"beta": float(rng.uniform(2, 5))}, {"free": 0.6}, {"beta": 0.3, "free": 0.45}):
        call = "vae_loss(log_px, kl" + "".join(f", {name}={value:.2f}" for name, value in options.items()) + f") of ({n}, {d})"
        want = bound(log_px.numpy(), kl.numpy(), options.get("beta", 1.0), options.get("free", 0.0))
        check.close(check.answer(vae_loss, log_px, kl, call=call, **options), want, call, rtol=1e-8, why="be the cost less the likelihood")
log_px, kl = torch.tensor([-3.0, -4.0]).double(), torch.tensor([[0.9, 0.1], [0.7, 0.3]]).double()
call = "vae_loss(log_px, kl, beta=2, free=0.5)"
for name, got, want in zip(("log_px", "kl"), check.gradient_of(lambda a, b: vae_loss(a, b, beta=2.0, free=0.5), log_px, kl, call=call), ([-0.5, -0.5], [[1.0, 0.0], [1.0, 0.0]]), strict=True):
    check.close(got, want, f"the gradient of {call} for {name}", rtol=1e-8, why="leave alone a number whose mean is below free")
### END HIDDEN TESTS

# %% mutant="vae_loss" why="a mean over pixels"
# - return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
# + return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").mean(1)

# %% mutant="vae_loss" why="all pictures in one number"
# - return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
# + return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum().expand(len(x))

# %% mutant="vae_loss" why="the loss, not the likelihood"
# - return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
# + return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)

# %% mutant="vae_loss" why="squared errors"
# - return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
# + return -((logits.sigmoid() - x) ** 2).sum(1)

# %% mutant="vae_loss" why="probabilities first: cut off for large logits"
# - return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
# + return -F.binary_cross_entropy(logits.sigmoid(), x, reduction="none").sum(1)

# %% mutant="vae_loss" why="black or white"
# - return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
# + return -F.binary_cross_entropy_with_logits(logits, x.round(), reduction="none").sum(1)

# %% mutant="vae_loss" why="free bits for each example"
# - return beta * kl.mean(0).clamp(min=free).sum() - log_px.mean()
# + return beta * kl.clamp(min=free).mean(0).sum() - log_px.mean()

# %% mutant="vae_loss" why="free bits for the whole code"
# - return beta * kl.mean(0).clamp(min=free).sum() - log_px.mean()
# + return beta * kl.mean(0).sum().clamp(min=free) - log_px.mean()

# %% mutant="vae_loss" why="subtracts what is free"
# - return beta * kl.mean(0).clamp(min=free).sum() - log_px.mean()
# + return beta * (kl.mean(0) - free).clamp(min=0).sum() - log_px.mean()

# %% mutant="vae_loss" why="beta before the free bits"
# - return beta * kl.mean(0).clamp(min=free).sum() - log_px.mean()
# + return (beta * kl.mean(0)).clamp(min=free).sum() - log_px.mean()

# %% mutant="vae_loss" why="the mean of the numbers' cost"
# - return beta * kl.mean(0).clamp(min=free).sum() - log_px.mean()
# + return beta * kl.mean(0).clamp(min=free).mean() - log_px.mean()

# %% mutant="vae_loss" why="sums over the batch"
# - return beta * kl.mean(0).clamp(min=free).sum() - log_px.mean()
# + return beta * (len(kl) * kl.mean(0).clamp(min=free)).sum() - log_px.sum()

# %% mutant="vae_loss" why="the bound, not minus it"
# - return beta * kl.mean(0).clamp(min=free).sum() - log_px.mean()
# + return log_px.mean() - beta * kl.mean(0).clamp(min=free).sum()

# %% mutant="vae_loss" why="beta on both"
# - return beta * kl.mean(0).clamp(min=free).sum() - log_px.mean()
# + return beta * (kl.mean(0).clamp(min=free).sum() - log_px.mean())

# %% mutant="vae_loss" why="a beta of 4 by default"
# - log_px: torch.Tensor, kl: torch.Tensor, beta: float = 1.0, free: float = 0.0
# + log_px: torch.Tensor, kl: torch.Tensor, beta: float = 4.0, free: float = 0.0

# %% mutant="vae_loss" why="free bits by default"
# - log_px: torch.Tensor, kl: torch.Tensor, beta: float = 1.0, free: float = 0.0
# + log_px: torch.Tensor, kl: torch.Tensor, beta: float = 1.0, free: float = 0.25


# %% alternative="vae_loss" why="logsigmoid, and a loop over the code"
def log_likelihood(logits, x):
    return (x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)).sum(dim=-1)


def vae_loss(log_px, kl, beta=1.0, free=0.0):
    cost = 0.0
    for column in kl.unbind(1):
        cost = cost + torch.relu(column.sum() / len(column) - free) + free
    return -(log_px.sum() / len(log_px) - beta * cost)


# %% [markdown]
# ## 3. How far is it from the truth?
# One code is a poor estimate of an integral over all codes. Draw $k$ codes and weigh each by how much more probable it is together with $x$ than the encoder thinks ([Burda et al., 2016](https://arxiv.org/abs/1509.00519)):
#
# $$w_i = \frac{p(x \mid z_i)\, p(z_i)}{q(z_i \mid x)}, \qquad L_k = \log \frac1k \sum_{i=1}^{k} w_i.$$
#
# In expectation, $L_1$ is the ELBO, and $L_1 \le L_2 \le \dots \le \log p(x)$. Work with logarithms: weights are as small as $e^{-1000}$. `log_weights` takes the prior $N(0, 1)$ and the encoder's $N(\mu, \sigma^2)$, summed over the numbers of a code.
#
# {{task:iwae}}

# %% [markdown] lang="ru"
# ## 3. Как далеко она от истины?
# Один код плохо оценивает интеграл по всем кодам. Вытяните $k$ кодов и взвесьте каждый: насколько он вместе с $x$ вероятнее, чем думает кодировщик ([Burda и др., 2016](https://arxiv.org/abs/1509.00519)):
#
# $$w_i = \frac{p(x \mid z_i)\, p(z_i)}{q(z_i \mid x)}, \qquad L_k = \log \frac1k \sum_{i=1}^{k} w_i.$$
#
# В среднем $L_1$ — это ELBO, и $L_1 \le L_2 \le \dots \le \log p(x)$. Считайте в логарифмах: веса бывают порядка $e^{-1000}$. `log_weights` берёт априорное $N(0, 1)$ и $N(\mu, \sigma^2)$ кодировщика, сумма по числам кода.
#
# {{task:iwae}}


# %% solution="iwae"
def log_weights(
    log_px: torch.Tensor, z: torch.Tensor, mean: torch.Tensor, log_var: torch.Tensor
) -> torch.Tensor:
    """log w of k codes for each of n examples: (k, n).

    log_px: log p(x | z) (k, n). z: the codes (k, n, d). mean, log_var: of the encoder (n, d).
    """
    ### BEGIN SOLUTION
    prior = -(z**2).sum(2) / 2
    drawn = -((z - mean) ** 2 / log_var.exp() + log_var).sum(2) / 2
    return log_px + prior - drawn
    ### END SOLUTION


def iwae(log_w: torch.Tensor) -> torch.Tensor:
    """L_k of each example. log_w: (k, n) -> (n,)."""
    ### BEGIN SOLUTION
    return log_w.logsumexp(0) - np.log(len(log_w))
    ### END SOLUTION


# %% test="iwae" points=1 difficulty=3 minutes=25
z, mean, log_var = torch.tensor([[[1.0, 2.0]], [[-1.0, 0.0]]]), torch.tensor([[0.5, 1.0]]), torch.tensor([[0.6, -1.0]])
call = "log_weights(log_px, z, mean, log_var)"
found = check.answer(log_weights, torch.tensor([[-3.0], [-4.0]]), z, mean, log_var, call=call)
check.close(found, [[-4.2722576], [-2.7234460]], call, rtol=1e-5)
call = "iwae([[-1, -5], [-2, -5], [-4, -8]])"
check.close(check.answer(iwae, torch.tensor([[-1.0, -5.0], [-2.0, -5.0], [-4.0, -8.0]]), call=call), [-1.7496001, -5.3808764], call)
### BEGIN HIDDEN TESTS
from itertools import combinations

from scipy.special import logsumexp

rng = check.rng("iwae")
for k, n, d in ((3, 2, 4), (1, 3, 2), (5, 1, 1)):
    shapes = ((k, n), (k, n, d), (n, d), (n, d))
    log_px, z, mean, log_var = (torch.from_numpy(rng.normal(size=shape)) for shape in shapes)
    normal = torch.distributions.Normal(mean, (log_var / 2).exp())
    want = log_px + torch.distributions.Normal(torch.zeros_like(z), 1.0).log_prob(z).sum(2) - normal.log_prob(z).sum(2)
    call = f"log_weights of {k} codes of {d} numbers for {n} examples"
    check.close(check.answer(log_weights, log_px, z, mean, log_var, call=call), want, call, rtol=1e-8, atol=1e-9, why="be likelihood times prior over what the encoder thinks")
# A linear model with its exact posterior: every code has the same weight, which is p(x).
slope, spread = float(rng.uniform(0.5, 2)), float(rng.uniform(0.3, 1))
x = torch.from_numpy(rng.normal(size=3))
variance = 1 / (1 + slope**2 / spread**2)
mean, log_var = (variance * slope * x / spread**2)[:, None], torch.full((3, 1), float(np.log(variance)), dtype=torch.float64)
z = mean + variance**0.5 * torch.from_numpy(rng.normal(size=(4, 3, 1)))
likely = torch.distributions.Normal(slope * z[..., 0], spread).log_prob(x)
truth = torch.distributions.Normal(torch.zeros_like(x), (slope**2 + spread**2) ** 0.5).log_prob(x)
call = "log_weights with the exact posterior of a linear model"
check.close(check.answer(log_weights, likely, z, mean, log_var, call=call), truth.expand(4, 3), call, rtol=1e-8, atol=1e-9, why="be log p(x), whichever code is drawn")
for k, n in ((4, 3), (2, 5), (7, 1)):
    log_w = torch.from_numpy(3 * rng.normal(size=(k, n)))
    call = f"iwae(log_w) of {k} codes for {n} examples"
    check.close(check.answer(iwae, log_w, call=call), logsumexp(log_w.numpy(), axis=0) - np.log(k), call, rtol=1e-9, why="be the logarithm of the mean weight")
log_w = torch.from_numpy(rng.normal(size=(1, 4)))
check.close(check.answer(iwae, log_w, call="iwae of one code"), log_w[0], "iwae of one code", rtol=1e-9, why="be its log weight")
low = torch.from_numpy(-3000 + rng.normal(size=(3, 2)))
check.close(check.answer(iwae, low, call="iwae of weights of e to the minus 3000"), logsumexp(low.numpy(), axis=0) - np.log(3), "iwae of weights of e to the minus 3000", rtol=1e-9, why="bear tiny weights")
low = torch.from_numpy(3000 + rng.normal(size=(3, 2)))
check.close(check.answer(iwae, low, call="iwae of weights of e to the 3000"), logsumexp(low.numpy(), axis=0) - np.log(3), "iwae of weights of e to the 3000", rtol=1e-9, why="bear huge weights")
log_w = torch.from_numpy(2 * rng.normal(size=(5, 1)))
means = []
for k in range(1, 6):
    sets = [log_w[list(some)] for some in combinations(range(5), k)]
    means.append(float(np.mean([check.answer(iwae, one, call=f"iwae of {k} of 5 codes") for one in sets])))
check.that(all(a < b for a, b in pairwise(means)), "rise with the number of codes, in the mean over all choices of them")
log_w = torch.from_numpy(rng.normal(size=(4, 2)))
(slopes,) = check.gradient_of(iwae, log_w, call="iwae(log_w)")
check.close(slopes, log_w.softmax(0), "the gradient of iwae(log_w)", rtol=1e-7, why="weigh codes by their weights")
inputs = [torch.from_numpy(rng.normal(size=shape)) for shape in ((3, 2), (3, 2, 4), (2, 4), (2, 4))]
leaves = [tensor.clone().requires_grad_() for tensor in inputs]
normal = torch.distributions.Normal(leaves[2], (leaves[3] / 2).exp())
want = leaves[0] + torch.distributions.Normal(torch.zeros_like(leaves[1]), 1.0).log_prob(leaves[1]).sum(2) - normal.log_prob(leaves[1]).sum(2)
upstream = rng.normal(size=(3, 2))
wanted = torch.autograd.grad(want, leaves, torch.from_numpy(upstream))
call = "log_weights(log_px, z, mean, log_var)"
got = check.gradient_of(log_weights, *inputs, call=call, upstream=upstream)
for name, mine, theirs in zip(("log_px", "z", "mean", "log_var"), got, wanted, strict=True):
    check.close(mine, theirs, f"the gradient of {call} for {name}", rtol=1e-7, atol=1e-10, why="let encoder and decoder learn")
mixed = torch.from_numpy(np.array([-3000.0, 0.0, 900.0]) + rng.normal(size=(4, 3)))
call = "iwae of one example with tiny weights, one with common ones, one with huge ones"
check.close(check.answer(iwae, mixed, call=call), logsumexp(mixed.numpy(), axis=0) - np.log(4), call, rtol=1e-9, why="treat each example by itself")
### END HIDDEN TESTS

# %% mutant="iwae" why="the mean of the logarithms"
# - return log_w.logsumexp(0) - np.log(len(log_w))
# + return log_w.mean(0)

# %% mutant="iwae" why="the sum of the weights"
# - return log_w.logsumexp(0) - np.log(len(log_w))
# + return log_w.logsumexp(0)

# %% mutant="iwae" why="over the examples"
# - return log_w.logsumexp(0) - np.log(len(log_w))
# + return (log_w.logsumexp(1, keepdim=True) - np.log(log_w.shape[1])).expand_as(log_w)[0]

# %% mutant="iwae" why="divides by the examples"
# - return log_w.logsumexp(0) - np.log(len(log_w))
# + return log_w.logsumexp(0) - np.log(log_w.shape[1])

# %% mutant="iwae" why="exponentials that underflow"
# - return log_w.logsumexp(0) - np.log(len(log_w))
# + return log_w.exp().mean(0).log()

# %% mutant="iwae" why="the best code"
# - return log_w.logsumexp(0) - np.log(len(log_w))
# + return log_w.max(0).values

# %% mutant="iwae" why="without gradients"
# - return log_w.logsumexp(0) - np.log(len(log_w))
# + return log_w.logsumexp(0).detach() - np.log(len(log_w)) + 0 * log_w.sum(0)

# %% mutant="iwae" why="the encoder's density multiplied"
# - return log_px + prior - drawn
# + return log_px + prior + drawn

# %% mutant="iwae" why="without the prior"
# - return log_px + prior - drawn
# + return log_px - drawn

# %% mutant="iwae" why="the density without its width"
# - drawn = -((z - mean) ** 2 / log_var.exp() + log_var).sum(2) / 2
# + drawn = -((z - mean) ** 2 / log_var.exp()).sum(2) / 2

# %% mutant="iwae" why="variance and deviation exchanged"
# - drawn = -((z - mean) ** 2 / log_var.exp() + log_var).sum(2) / 2
# + drawn = -((z - mean) ** 2 / (2 * log_var).exp() + 2 * log_var).sum(2) / 2

# %% mutant="iwae" why="the KL in place of the drawn codes"
# - drawn = -((z - mean) ** 2 / log_var.exp() + log_var).sum(2) / 2
# + drawn = ((mean**2 + log_var.exp() - log_var - 1) / 2).sum(1) + prior

# %% mutant="iwae" why="the mean of the numbers of a code"
# - prior = -(z**2).sum(2) / 2
# + prior = -(z**2).mean(2) / 2

# %% mutant="iwae" why="one largest weight for all examples"
# - return log_w.logsumexp(0) - np.log(len(log_w))
# + return (log_w - log_w.max()).exp().mean(0).log() + log_w.max()

# %% mutant="iwae" why="the encoder learns nothing"
# - drawn = -((z - mean) ** 2 / log_var.exp() + log_var).sum(2) / 2
# + mean, log_var = mean.detach(), log_var.detach()
# + drawn = -((z - mean) ** 2 / log_var.exp() + log_var).sum(2) / 2


# %% alternative="iwae" why="standardised codes, and the largest weight first"
def log_weights(log_px, z, mean, log_var):
    noise = (z - mean) * (-log_var / 2).exp()
    return log_px + 0.5 * (noise.square() - z.square() + log_var).sum(-1)


def iwae(log_w):
    top = log_w.amax(dim=0)
    return top + torch.log(torch.exp(log_w - top).mean(dim=0))


# %% [markdown]
# Here is a model whose truth can be computed: two moons in the plane, and a code of a **single** number. The integral over codes is then a sum over a fine grid. Train it by your bound and compare.

# %% [markdown] lang="ru"
# Вот модель, истину которой можно вычислить: две «луны» на плоскости и код из **одного** числа. Интеграл по кодам тогда — сумма по мелкой сетке. Обучите её по своей границе и сравните.

# %%
moons = torch.tensor(make_moons(1000, noise=0.08, random_state=0)[0], dtype=torch.float32)
seed_everything(0)
inward = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))
outward = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))
log_noise = nn.Parameter(torch.tensor(-1.0))  # of the points around the decoder's curve


def likely(x, z):
    """log p(x | z): a normal distribution around the decoder's point."""
    return torch.distributions.Normal(outward(z), log_noise.exp()).log_prob(x).sum(-1)


optimiser = torch.optim.Adam([*inward.parameters(), *outward.parameters(), log_noise], lr=5e-3)
for _ in range(settings["moon_steps"]):
    x = moons[torch.randint(len(moons), (256,))]
    mean, log_var = inward(x).chunk(2, dim=1)
    z = reparameterise(mean, log_var, torch.randn_like(mean))
    loss = vae_loss(likely(x, z), prior_kl(mean, log_var))
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

with torch.no_grad():
    grid = torch.linspace(-6, 6, 2001)[:, None]
    joint = likely(moons[None], grid[:, None]) - grid**2 / 2 - np.log(2 * np.pi) / 2
    exact = float((joint.logsumexp(0) + np.log(12 / 2000)).mean())
    mean, log_var = inward(moons).chunk(2, dim=1)
    bounds, elbos = {}, []
    for k in (1, 2, 5, 10, 20, 50, 100, 200, 500):
        draws = []
        for _ in range(max(4, 200 // k)):
            z = reparameterise(mean, log_var, torch.randn(k, *mean.shape))
            draws.append(float(iwae(log_weights(likely(moons, z), z, mean, log_var)).mean()))
            elbos.append(-float(vae_loss(likely(moons, z[0]), prior_kl(mean, log_var))))
        bounds[k] = float(np.mean(draws)), float(np.std(draws) / len(draws) ** 0.5)
    elbo = np.mean(elbos)
print(f"ELBO {elbo:.3f};", ", ".join(f"L_{k} {value:.3f}" for k, (value, _) in bounds.items()), f"; log p(x) by quadrature {exact:.3f}")
week10.bounds(bounds, float(elbo), exact)
plots.show(
    "The bound against the number of codes, on a log axis: it rises from the ELBO, steeply at first, and comes up to the line of "
    "the exact log-likelihood; the gap between ELBO and truth is shaded."
)
with torch.no_grad():
    codes = torch.randn(1000, 1)
    made = outward(codes) + log_noise.exp() * torch.randn(1000, 2)
week10.moons(moons.numpy(), made.numpy(), outward(grid[583:1418]).detach().numpy())
plots.show("Left the data, two moons. Right samples of the model around the curve that its decoder draws: it runs through both moons, and between them through empty space.")

# %% [markdown]
# The gap is the price of an encoder that can say only "a normal distribution": the true posterior of a point is another one. More codes close it. And the curve on the right shows what one number can and can't do: it must pass from moon to moon somewhere.
#
# ## 4. Clothes, and numbers that go to sleep
# Now pictures: clothes of Fashion-MNIST, shrunk, with ten numbers a code. Which of the ten does the model use? A number of the code is **active** if its mean $\mu_j(x)$ changes from picture to picture: its variance over the pictures (divided by $n$) is larger than a threshold (Burda et al., appendix C). The mean may be large beside that. The others have become the prior: the encoder says the same of every picture, at no cost. If all do, the [posterior has collapsed](glossary:posterior-collapse).
#
# {{task:active_units}}

# %% [markdown] lang="ru"
# Разрыв — цена кодировщика, который умеет сказать лишь «нормальное распределение»: настоящее апостериорное распределение точки другое. Больше кодов — меньше разрыв. А кривая справа показывает, что может и чего не может одно число: где-то ему приходится переходить с луны на луну.
#
# ## 4. Одежда и уснувшие числа
# Теперь картинки: одежда из Fashion-MNIST, уменьшенная, по десять чисел на код. Какими из десяти модель пользуется? Число кода **активно** (active), если его среднее $\mu_j(x)$ меняется от картинки к картинке: его дисперсия по картинкам (деление на $n$) больше порога (Burda и др., приложение C). Само среднее рядом с этим может быть большим. Остальные стали априорным распределением: о каждой картинке кодировщик говорит одно и то же, бесплатно. Если так со всеми, произошёл [коллапс апостериорного распределения](glossary:posterior-collapse) (posterior collapse).
#
# {{task:active_units}}


# %% solution="active_units"
def active_units(means: torch.Tensor, threshold: float = 0.01) -> torch.Tensor:
    """Which numbers of a code are active: bool (d,). means: the encoder's, of n examples (n, d)."""
    ### BEGIN SOLUTION
    return means.var(0, correction=0) > threshold
    ### END SOLUTION


# %% test="active_units" points=0.5 difficulty=1 minutes=5
means = torch.tensor([[1.0, 0.50, 3.00], [-1.0, 0.51, 3.15], [2.0, 0.49, 2.85], [0.0, 0.50, 3.00]])
call = "active_units(means)"
check.equal(check.answer(active_units, means, call=call), [True, False, True], call, why="be those whose means vary")
### BEGIN HIDDEN TESTS
rng = check.rng("active_units")
check.equal(check.answer(active_units, means, threshold=0.02, call="active_units(means, threshold=0.02)"), [True, False, False], "active_units(means, threshold=0.02)", why="compare with the threshold")
spreads = np.array([0.0099, 0.0101, 0.5, 1e-6, 0.0])
for n in (3, 50):
    values = rng.normal(size=(n, 5))
    values = (values - values.mean(0)) / values.std(0) * np.sqrt(spreads) + rng.normal(size=5) * 5
    call = f"active_units of {n} examples"
    check.equal(check.answer(active_units, torch.from_numpy(values), call=call), spreads > 0.01, call, why="compare the variance over examples with 0.01")
values = torch.from_numpy(np.sqrt([0.03, 0.3])) * torch.tensor([[1.0], [-1.0]]).double()
call = "active_units of two examples, threshold=0.1"
check.equal(check.answer(active_units, values, threshold=0.1, call=call), [False, True], call, why="compare the variance with the threshold")
values = torch.tensor([[0.0, 3.0], [1.0, 3.5]]).double()
call = "active_units where a variance is the threshold, 0.25"
check.equal(check.answer(active_units, values, threshold=0.25, call=call), [False, False], call, why="want more than the threshold")
call = "active_units of one example"
check.equal(check.answer(active_units, torch.ones(1, 3), call=call), [False, False, False], call, why="have variance 0")
found = check.answer(active_units, means, call="active_units(means)")
check.that(found.dtype == np.bool_, "active_units(means): be of bool")
spread = torch.tensor([0.05, 0.2]).repeat(8)
values = torch.linspace(2000, 5000, 16) + spread * torch.tensor([-1.0, 1.0]).repeat(20)[:, None]
call = "active_units of means that are large beside their variance"
check.equal(check.answer(active_units, values, call=call), [False, True] * 8, call, why="measure from the mean over examples")
### END HIDDEN TESTS

# %% mutant="active_units" why="divides by n - 1"
# - return means.var(0, correction=0) > threshold
# + return means.var(0) > threshold

# %% mutant="active_units" why="the deviation"
# - return means.var(0, correction=0) > threshold
# + return means.std(0, correction=0) > threshold

# %% mutant="active_units" why="the size of the means"
# - return means.var(0, correction=0) > threshold
# + return (means**2).mean(0) > threshold

# %% mutant="active_units" why="those that sleep"
# - return means.var(0, correction=0) > threshold
# + return means.var(0, correction=0) <= threshold

# %% mutant="active_units" why="examples in place of numbers"
# - return means.var(0, correction=0) > threshold
# + return means.var(1, correction=0)[: means.shape[1]] > threshold

# %% mutant="active_units" why="0.01 whatever is asked"
# - return means.var(0, correction=0) > threshold
# + return means.var(0, correction=0) > 0.01

# %% mutant="active_units" why="another threshold by default"
# - def active_units(means: torch.Tensor, threshold: float = 0.01) -> torch.Tensor:
# + def active_units(means: torch.Tensor, threshold: float = 0.1) -> torch.Tensor:

# %% mutant="active_units" why="the range"
# - return means.var(0, correction=0) > threshold
# + return means.amax(0) - means.amin(0) > threshold

# %% mutant="active_units" why="floats, not bool"
# - return means.var(0, correction=0) > threshold
# + return (means.var(0, correction=0) > threshold).to(means.dtype)

# %% mutant="active_units" why="the mean square less the squared mean: nothing is left of it for large means"
# - return means.var(0, correction=0) > threshold
# + return means.square().mean(0) - means.mean(0).square() > threshold


# %% alternative="active_units" why="a mean of squares"
def active_units(means, threshold=0.01):
    return torch.stack([((column - column.mean()) ** 2).mean() > threshold for column in means.T])


# %%
clothes = data.load("fashion_mnist", profile)

# %%
def shrink(pictures: np.ndarray) -> torch.Tensor:
    """Pictures (n, 28, 28) -> numbers from 0 to 1, (n, side * side)."""
    x = torch.tensor(pictures[:, None] / 255, dtype=torch.float32)
    return F.adaptive_avg_pool2d(x, settings["side"]).flatten(1).to(device)


pixels, held_out = shrink(clothes.x_train), shrink(clothes.x_test)
kinds, held_kinds = torch.tensor(clothes.y_train).long().to(device), torch.tensor(clothes.y_test).long().to(device)
side, size = settings["side"], settings["side"] ** 2


class VAE(nn.Module):
    """Encoder and decoder of pictures, with a code of d numbers."""

    def __init__(self, d: int = 10) -> None:
        super().__init__()
        width = settings["width"]
        self.encoder = nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, 2 * d))
        self.decoder = nn.Sequential(nn.Linear(d, width), nn.ReLU(), nn.Linear(width, size))

    def encode(self, x):
        return self.encoder(x).chunk(2, dim=1)

    def samples(self, n):
        codes = torch.randn(n, self.decoder[0].in_features, device=device)
        with torch.no_grad():
            return self.decoder(codes).sigmoid()


@cache
def train_vae(steps=settings["steps"], **options):
    """A VAE trained with these options of your loss; once for each."""
    torch.manual_seed(0)
    model = VAE().to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(steps):
        x = pixels[torch.randint(len(pixels), (128,), device=device)]
        mean, log_var = model.encode(x)
        z = reparameterise(mean, log_var, torch.randn_like(mean))
        loss = vae_loss(log_likelihood(model.decoder(z), x), prior_kl(mean, log_var), **options)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


# %% [markdown]
# Turn the knob: the dearer the code, the fewer numbers stay awake, and the less the pictures say. Free bits keep them awake, for a price in the bound.

# %% [markdown] lang="ru"
# Покрутите ручку: чем дороже код, тем меньше чисел не спит и тем меньше говорят картинки. Бесплатные биты не дают им уснуть — за счёт границы.

# %%
rows, table = {}, {}
for name, options in {
    "beta 0.25": {"beta": 0.25},
    "beta 1": {},
    "beta 4": {"beta": 4.0},
    "beta 16": {"beta": 16.0},
    "beta 64": {"beta": 64.0},
    "beta 4, 0.5 nats free": {"beta": 4.0, "free": 0.5},
}.items():
    trained = train_vae(**options)
    with torch.no_grad():
        mean, log_var = trained.encode(held_out)
        z = reparameterise(mean, log_var, torch.randn_like(mean))
        told = float(log_likelihood(trained.decoder(z), held_out).mean())
        costs = prior_kl(mean, log_var).mean(0)
        rows[name] = trained.decoder(mean[:10]).sigmoid().reshape(-1, side, side).cpu().numpy()
    table[name] = told, costs.cpu().numpy(), int(active_units(mean).sum())
    print(f"{name:22}: told {told:7.1f}, cost {float(costs.sum()):5.2f} nats, bound {told - float(costs.sum()):7.1f}, {table[name][2]:2} active numbers")
week10.knob({name: (told, costs, active) for name, (told, costs, active) in table.items()})
plots.show("For each setting ten bars, what each number of the code costs, from the dearest to the cheapest: with beta 1 most are awake, with beta 64 none, and free bits lift all to the same height.")

# %%
week10.rows({"the clothes": held_out[:10].reshape(-1, side, side).cpu().numpy(), **rows})
plots.show("Ten pieces of clothing in the first row and their copies below, one row a setting: from nearly the same at beta 0.25 to one and the same grey smear at beta 64.")

# %% [markdown]
# ## 5. Codes from a list
# A number that sleeps is a code wasted; a decoder that is strong sleeps on everything. [Vector quantisation](glossary:vector-quantisation) ([van den Oord et al., 2017](https://arxiv.org/abs/1711.00937)) goes another way: the code has to be one of $K$ vectors $e_1, \dots, e_K$, and the encoder's output $z$ is replaced by the nearest. Nearest has no gradient. So the decoder's gradient is handed over as it is, **straight through**: the value is $e$, the gradient goes to $z$. And a **commitment loss** keeps $z$ near its code, the mean over all numbers of $(z - \operatorname{sg}[e])^2$, where $\operatorname{sg}$ stops the gradient: $z$ goes to the code, the code does not move. Of two codes at the same distance the one with the lower number is taken; all may lie far from zero.
#
# {{task:quantise}}

# %% [markdown] lang="ru"
# ## 5. Коды по списку
# Спящее число — впустую потраченный код, а сильный декодировщик усыпит что угодно. [Векторное квантование](glossary:vector-quantisation) (vector quantisation, VQ; [van den Oord и др., 2017](https://arxiv.org/abs/1711.00937)) идёт другим путём: код обязан быть одним из $K$ векторов $e_1, \dots, e_K$, и выход кодировщика $z$ заменяется ближайшим. У ближайшего нет градиента. Поэтому градиент декодировщика передают как есть, **насквозь** (straight through): значение — $e$, градиент идёт в $z$. А **ошибка привязки** (commitment loss) держит $z$ рядом с его кодом: среднее по всем числам от $(z - \operatorname{sg}[e])^2$, где $\operatorname{sg}$ останавливает градиент: $z$ идёт к коду, код стоит. Из двух кодов на одном расстоянии берётся тот, чей номер меньше; все они могут лежать далеко от нуля.
#
# {{task:quantise}}


# %% solution="quantise"
def quantise(
    z: torch.Tensor, codebook: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(numbers of the nearest codes (n,), the codes with z's gradient (n, d), commitment loss).

    z: (n, d). codebook: (k, d); no gradient reaches it.
    """
    ### BEGIN SOLUTION
    numbers = torch.cdist(z.detach(), codebook.detach()).argmin(1)
    nearest = codebook.detach()[numbers]
    return numbers, z + (nearest - z).detach(), ((z - nearest) ** 2).mean()
    ### END SOLUTION


# %% test="quantise" points=0.75 difficulty=2 minutes=20
z, codebook = torch.tensor([[0.9, 0.2], [-2.0, 3.0], [0.1, 0.1]]), torch.tensor([[0.0, 0.0], [1.0, 0.5], [-1.0, 2.0]])
numbers, passed, commitment = check.answer(quantise, z, codebook, call="quantise(z, codebook)")
check.equal(numbers, [1, 2, 0], "quantise(z, codebook)[0]", why="be the nearest codes")
check.close(passed, codebook[[1, 2, 0]], "quantise(z, codebook)[1]", rtol=1e-5, atol=1e-6, why="be the codes themselves")
check.close(commitment, 0.3533333, "quantise(z, codebook)[2]", rtol=1e-5, why="be a mean over all numbers")
### BEGIN HIDDEN TESTS
rng = check.rng("quantise")


def passed_on(z, codebook):
    _, codes, _ = quantise(z, codebook)
    return codes


def pulled(z, codebook):
    _, _, loss = quantise(z, codebook)
    return loss


for n, k, d in ((5, 3, 4), (2, 6, 1), (1, 2, 3), (7, 1, 2)):
    z, codebook = torch.from_numpy(rng.normal(size=(n, d))), torch.from_numpy(rng.normal(size=(k, d)))
    call = f"quantise(z ({n}, {d}), codebook ({k}, {d}))"
    squares = ((z.numpy()[:, None] - codebook.numpy()) ** 2).sum(2)
    found = check.answer(quantise, z, codebook, call=call)
    check.equal(found[0], squares.argmin(1), f"{call}[0]", why="be the nearest codes")
    check.close(found[1], codebook.numpy()[squares.argmin(1)], f"{call}[1]", rtol=1e-9, atol=1e-9, why="be the codes themselves")
    check.close(found[2], squares.min(1).sum() / (n * d), f"{call}[2]", rtol=1e-8, why="be a mean over all numbers")
    check.that(found[1].dtype == np.float64, f"{call}[1]: have the dtype of z")
    upstream = rng.normal(size=(n, d))
    both = check.gradient_of(passed_on, z, codebook, call=f"{call}[1]", upstream=upstream)
    check.close(both[0], upstream, f"the gradient of {call}[1] for z", rtol=1e-9, why="pass straight through")
    check.close(both[1], np.zeros((k, d)), f"the gradient of {call}[1] for codebook", atol=1e-12, why="stop before the codes")
    both = check.gradient_of(pulled, z, codebook, call=f"{call}[2]")
    check.close(both[0], 2 * (z.numpy() - codebook.numpy()[squares.argmin(1)]) / (n * d), f"the gradient of {call}[2] for z", rtol=1e-7, atol=1e-10, why="pull z to its code")
    check.close(both[1], np.zeros((k, d)), f"the gradient of {call}[2] for codebook", atol=1e-12, why="leave the codes where they are")
z, codebook = torch.zeros(1, 2), torch.tensor([[3.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, -1.0]])
call = "quantise where three codes are equally near"
check.equal(check.answer(quantise, z, codebook, call=call)[0], [1], call, why="take the lowest number")
z, codebook = torch.zeros(1, 2), torch.tensor([[2.0, 0.0], [1.2, 1.2]])
call = "quantise where the nearest code lies across"
check.equal(check.answer(quantise, z, codebook, call=call)[0], [1], call, why="measure the straight way")
z, codebook = 3e3 + torch.tensor([[0.0, 0.3], [0.8, 0.1]]), 3e3 + torch.tensor([[0.0, 0.0], [1.0, 0.0]])
call = "quantise far from the origin"
check.equal(check.answer(quantise, z, codebook, call=call)[0], [0, 1], call, why="be the nearest codes")
### END HIDDEN TESTS

# %% mutant="quantise" why="the farthest code"
# - numbers = torch.cdist(z.detach(), codebook.detach()).argmin(1)
# + numbers = torch.cdist(z.detach(), codebook.detach()).argmax(1)

# %% mutant="quantise" why="the largest product"
# - numbers = torch.cdist(z.detach(), codebook.detach()).argmin(1)
# + numbers = (z.detach() @ codebook.detach().T).argmax(1)

# %% mutant="quantise" why="city-block distance"
# - numbers = torch.cdist(z.detach(), codebook.detach()).argmin(1)
# + numbers = torch.cdist(z.detach(), codebook.detach(), p=1).argmin(1)

# %% mutant="quantise" why="no gradient passes"
# - return numbers, z + (nearest - z).detach(), ((z - nearest) ** 2).mean()
# + return numbers, nearest + 0 * z, ((z - nearest) ** 2).mean()

# %% mutant="quantise" why="z itself goes on"
# - return numbers, z + (nearest - z).detach(), ((z - nearest) ** 2).mean()
# + return numbers, z + 0 * nearest, ((z - nearest) ** 2).mean()

# %% mutant="quantise" why="half straight through"
# - return numbers, z + (nearest - z).detach(), ((z - nearest) ** 2).mean()
# + return numbers, 0.5 * z + (nearest - 0.5 * z).detach(), ((z - nearest) ** 2).mean()

# %% mutant="quantise" why="the wrong side is stopped: codes go to z"
# - nearest = codebook.detach()[numbers]
# + nearest = codebook[numbers]
# - return numbers, z + (nearest - z).detach(), ((z - nearest) ** 2).mean()
# + return numbers, z + (nearest - z).detach(), ((z.detach() - nearest) ** 2).mean() + 0 * z.sum()

# %% mutant="quantise" why="nothing is stopped"
# - nearest = codebook.detach()[numbers]
# + nearest = codebook[numbers]

# %% mutant="quantise" why="sums over the numbers of a code"
# - return numbers, z + (nearest - z).detach(), ((z - nearest) ** 2).mean()
# + return numbers, z + (nearest - z).detach(), ((z - nearest) ** 2).sum(1).mean()

# %% mutant="quantise" why="the distance, not its square"
# - return numbers, z + (nearest - z).detach(), ((z - nearest) ** 2).mean()
# + return numbers, z + (nearest - z).detach(), (z - nearest).abs().mean()

# %% mutant="quantise" why="the highest number of those that are equally near"
# - numbers = torch.cdist(z.detach(), codebook.detach()).argmin(1)
# + numbers = len(codebook) - 1 - torch.cdist(z.detach(), codebook.detach()).flip(1).argmin(1)


# %% alternative="quantise" why="one example after the other, sums of squares"
def quantise(z, codebook):
    book = codebook.detach()
    numbers = torch.stack([((book - one) ** 2).sum(1).argmin() for one in z.detach()])
    codes = torch.index_select(book, 0, numbers)
    commitment = F.mse_loss(z, codes)
    return numbers, codes + z - z.detach(), commitment


# %% [markdown]
# Who moves the codes? Each should be the mean of the outputs that chose it, over the last batches: exponential moving averages of how many chose it, $N_j$, and of their sum, $m_j$ (the paper's appendix A.1):
#
# $$N_j \leftarrow \gamma N_j + (1 - \gamma)\, n_j, \qquad m_j \leftarrow \gamma m_j + (1 - \gamma) \sum_{i:\, \text{code } j} z_i, \qquad e_j = m_j / N_j.$$
#
# A code that nobody chooses never moves and is never chosen: it is **dead**. When its new $N_j$ is below `alive`, let it start again from an example: $e_j = m_j = $ `spare[j]`, $N_j = 1$.
#
# {{task:update_codebook}}

# %% [markdown] lang="ru"
# Кто двигает коды? Каждый должен быть средним тех выходов, что его выбрали, за последние батчи: экспоненциальные скользящие средние их числа $N_j$ и их суммы $m_j$ (приложение A.1 статьи):
#
# $$N_j \leftarrow \gamma N_j + (1 - \gamma)\, n_j, \qquad m_j \leftarrow \gamma m_j + (1 - \gamma) \sum_{i:\, \text{код } j} z_i, \qquad e_j = m_j / N_j.$$
#
# Код, которого никто не выбирает, не движется, и никто его не выберет: он **мёртв**. Когда его новое $N_j$ меньше `alive`, пусть он начнёт снова с примера: $e_j = m_j = $ `spare[j]`, $N_j = 1$.
#
# {{task:update_codebook}}


# %% solution="update_codebook"
def update_codebook(
    counts: torch.Tensor,
    sums: torch.Tensor,
    z: torch.Tensor,
    numbers: torch.Tensor,
    spare: torch.Tensor,
    decay: float = 0.99,
    alive: float = 0.01,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(counts N (k,), sums m (k, d), codebook e (k, d)) after a batch. Nothing is changed in place.

    z: (n, d). numbers: the codes that they chose (n,). spare: an example for each code (k, d).
    """
    ### BEGIN SOLUTION
    chosen = F.one_hot(numbers, len(counts)).to(z.dtype)
    counts = decay * counts + (1 - decay) * chosen.sum(0)
    sums = decay * sums + (1 - decay) * chosen.T @ z
    dead = counts < alive
    counts = torch.where(dead, torch.ones_like(counts), counts)
    sums = torch.where(dead[:, None], spare, sums)
    return counts, sums, sums / counts[:, None]
    ### END SOLUTION


# %% test="update_codebook" points=0.5 difficulty=2 minutes=15
state = torch.tensor([4.0, 0.011, 0.5]), torch.tensor([[4.0, 8.0], [0.3, 0.1], [1.0, -1.0]])
batch = torch.tensor([[2.0, 2.0], [3.0, 1.0], [-1.0, 0.5]]), torch.tensor([0, 0, 2]), torch.tensor([[9.0, 9.0], [7.0, 5.0], [6.0, 6.0]])
counts, sums, codebook = check.answer(update_codebook, *state, *batch, decay=0.8, call="update_codebook(..., decay=0.8)")
check.close(counts, [3.6, 1.0, 0.6], "the counts", why="be moving averages, and 1 for a code that was dead")
check.close(sums, [[4.2, 7.0], [7.0, 5.0], [0.6, -0.7]], "the sums", why="be moving averages, and spare for a code that was dead")
check.close(codebook[0], [1.1666667, 1.9444444], "the first code", why="be its sum over its count")
### BEGIN HIDDEN TESTS
rng = check.rng("update_codebook")


def judge_codebook(n, k, d, why, counts=None, used=None, **options):
    decay, alive = options.get("decay", 0.99), options.get("alive", 0.01)
    counts = torch.from_numpy(rng.uniform(0.5, 3, size=k)) if counts is None else torch.tensor(counts).double()
    sums, z, spare = (torch.from_numpy(rng.normal(size=shape)) for shape in ((k, d), (n, d), (k, d)))
    numbers = torch.from_numpy(rng.integers(k if used is None else used, size=n))
    want_counts, want_sums = counts.numpy().copy(), sums.numpy().copy()
    for j in range(k):
        mine = z.numpy()[numbers.numpy() == j]
        want_counts[j] = decay * want_counts[j] + (1 - decay) * len(mine)
        want_sums[j] = decay * want_sums[j] + (1 - decay) * mine.sum(0)
        if want_counts[j] < alive:
            want_counts[j], want_sums[j] = 1.0, spare.numpy()[j]
    call = f"update_codebook of {k} codes after {n} examples" + "".join(f", {name}={value}" for name, value in options.items())
    found = check.answer(update_codebook, counts, sums, z, numbers, spare, call=call, **options)
    check.close(found[0], want_counts, f"{call}: counts", rtol=1e-8, why=why)
    check.close(found[1], want_sums, f"{call}: sums", rtol=1e-8, atol=1e-10, why=why)
    check.close(found[2], want_sums / want_counts[:, None], f"{call}: codebook", rtol=1e-7, atol=1e-10, why="be sums over counts")


judge_codebook(7, 3, 2, "average over batches")
judge_codebook(5, 4, 3, "average over batches", decay=0.7)
judge_codebook(6, 2, 1, "forget all that was before", decay=0.0)
judge_codebook(4, 5, 2, "let a dead code start from its own spare example", counts=[2.0, 0.005, 1.0, 0.0101, 0.02], used=1)
judge_codebook(4, 3, 2, "let a dead code start from its own spare example", counts=[2.0, 0.3, 0.9], used=1, alive=0.5)
judge_codebook(3, 3, 2, "ask whether it is dead after the batch", counts=[0.001, 0.001, 0.001], used=1, decay=0.9, alive=0.05)
judge_codebook(3, 2, 2, "let a code live that is at the limit", counts=[2.0, 1.0], used=1, decay=0.5, alive=0.5)
judge_codebook(3, 2, 4, "let none start again", counts=[1.0, 1e-4], used=1, alive=0.0)
### END HIDDEN TESTS

# %% mutant="update_codebook" why="decay and its rest exchanged"
# - counts = decay * counts + (1 - decay) * chosen.sum(0)
# + counts = (1 - decay) * counts + decay * chosen.sum(0)

# %% mutant="update_codebook" why="adds up counts"
# - counts = decay * counts + (1 - decay) * chosen.sum(0)
# + counts = counts + chosen.sum(0)

# %% mutant="update_codebook" why="means of a batch in place of sums"
# - sums = decay * sums + (1 - decay) * chosen.T @ z
# + sums = decay * sums + (1 - decay) * chosen.T @ z / chosen.sum(0).clamp(min=1)[:, None]

# %% mutant="update_codebook" why="shares in place of counts"
# - counts = decay * counts + (1 - decay) * chosen.sum(0)
# + counts = decay * counts + (1 - decay) * chosen.mean(0)

# %% mutant="update_codebook" why="dead codes stay dead"
# - dead = counts < alive
# + dead = counts < 0

# %% mutant="update_codebook" why="dead is who was not chosen in this batch"
# - dead = counts < alive
# + dead = chosen.sum(0) == 0

# %% mutant="update_codebook" why="alive as by default"
# - dead = counts < alive
# + dead = counts < 0.01

# %% mutant="update_codebook" why="the count of a code that starts again is small still"
# - counts = torch.where(dead, torch.ones_like(counts), counts)
# + counts = counts.clamp(min=1e-9)

# %% mutant="update_codebook" why="all start from the same example"
# - sums = torch.where(dead[:, None], spare, sums)
# + sums = torch.where(dead[:, None], spare[:1], sums)

# %% mutant="update_codebook" why="codes are sums"
# - return counts, sums, sums / counts[:, None]
# + return counts, sums, sums

# %% mutant="update_codebook" why="a slower average by default"
# - decay: float = 0.99,
# + decay: float = 0.999,

# %% mutant="update_codebook" why="changes the counts that it was given"
# - counts = decay * counts + (1 - decay) * chosen.sum(0)
# + counts.mul_(decay).add_((1 - decay) * chosen.sum(0))


# %% alternative="update_codebook" why="index_add, and a loop over dead codes"
def update_codebook(counts, sums, z, numbers, spare, decay=0.99, alive=0.01):
    here = torch.zeros_like(counts).index_add(0, numbers, torch.ones_like(z[:, 0]))
    total = torch.zeros_like(sums).index_add(0, numbers, z)
    counts, sums = torch.lerp(here, counts, decay), torch.lerp(total, sums, decay)
    for j in range(len(counts)):
        if counts[j] < alive:
            counts[j], sums[j] = 1.0, spare[j]
    return counts, sums, sums / counts.unsqueeze(1)


# %% [markdown]
# A wardrobe from a list: four codes a picture, each one of 32, which is 20 bits for all of it. How many of the 32 are used, with and without the new start?

# %% [markdown] lang="ru"
# Гардероб по списку: четыре кода на картинку, каждый — один из 32; всего 20 бит. Сколько из 32 используется — с новым стартом и без него?


# %%
def train_vq(restart: bool, k: int = 32, parts: int = 4, d: int = 8):
    """(usage of the codes (k,), squared error, copies) of a trained VQ autoencoder."""
    torch.manual_seed(0)
    width = settings["width"]
    encoder = nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, parts * d)).to(device)
    decoder = nn.Sequential(nn.Linear(parts * d, width), nn.ReLU(), nn.Linear(width, size)).to(device)
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=2e-3)
    codebook = torch.randn(k, d, device=device)
    counts, sums = torch.ones(k, device=device), codebook.clone()
    for _ in range(settings["steps"]):
        x = pixels[torch.randint(len(pixels), (128,), device=device)]
        z = encoder(x).reshape(-1, d)
        numbers, passed, commitment = quantise(z, codebook)
        loss = -log_likelihood(decoder(passed.reshape(len(x), -1)), x).mean() + 10 * commitment
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        spare = z.detach()[torch.randperm(len(z), device=device)[:k]]
        counts, sums, codebook = update_codebook(counts, sums, z.detach(), numbers, spare, decay=0.95, alive=0.2 if restart else 0.0)
    with torch.no_grad():
        numbers, passed, _ = quantise(encoder(held_out).reshape(-1, d), codebook)
        copies = decoder(passed.reshape(len(held_out), -1)).sigmoid()
    return numbers.bincount(minlength=k).cpu().numpy(), float(((copies - held_out) ** 2).mean()), copies[:10].reshape(-1, side, side).cpu().numpy()


used, copied = {}, {"the clothes": held_out[:10].reshape(-1, side, side).cpu().numpy()}
for name, restart in (("dead codes stay dead", False), ("dead codes start again", True)):
    usage, error, copies = train_vq(restart)
    used[name], copied[name] = usage, copies
    share = usage / usage.sum()
    entropy = -float((share[share > 0] * np.log2(share[share > 0])).sum())
    print(f"{name:22}: {int((share > 0.001).sum())} of 32 codes in use, {entropy:.2f} of 5 bits, squared error {error:.4f}")
week10.rows(copied)
plots.show("Ten pieces of clothing and their copies from four codes each: blurred but recognisable, in the row in which dead codes stay dead and in the one in which they start again.")

# %% [markdown]
# ## 6. A soft choice
# Another way to draw from a list and keep a gradient. Add Gumbel noise to the logits, $g = -\log(-\log u)$ with $u$ uniform between 0 and 1: then the largest of $s_j + g_j$ is $j$ with exactly the probability $\operatorname{softmax}(s)_j$. Now replace the largest by a softmax with a temperature ([Jang et al., 2017](https://arxiv.org/abs/1611.01144)):
#
# $$y = \operatorname{softmax}\bigl((s + g) / \tau\bigr).$$
#
# Hot, it is near to equal shares; cold, near to a choice. With `hard=True` the value **is** the choice, a single one and zeros (of equally large ones, any), and the gradient is that of $y$, straight through as above.
#
# {{task:gumbel_softmax}}

# %% [markdown] lang="ru"
# ## 6. Мягкий выбор
# Другой способ вытянуть что-то из списка и сохранить градиент. Прибавьте к логитам шум Гумбеля $g = -\log(-\log u)$, где $u$ равномерно между 0 и 1: тогда наибольшее из $s_j + g_j$ — это $j$ ровно с вероятностью $\operatorname{softmax}(s)_j$. Теперь замените наибольшее на softmax с температурой ([Jang и др., 2017](https://arxiv.org/abs/1611.01144)):
#
# $$y = \operatorname{softmax}\bigl((s + g) / \tau\bigr).$$
#
# Горячий — почти равные доли, холодный — почти выбор. С `hard=True` значение и **есть** выбор: одна единица (среди равных — любая) и нули, а градиент — от $y$, насквозь, как выше.
#
# {{task:gumbel_softmax}}


# %% solution="gumbel_softmax"
def gumbel_softmax(
    logits: torch.Tensor, uniform: torch.Tensor, temperature: float = 1.0, hard: bool = False
) -> torch.Tensor:
    """Shares, or choices with the gradient of shares, (n, c).

    logits: s (n, c). uniform: u (n, c), between 0 and 1.
    """
    ### BEGIN SOLUTION
    soft = ((logits - (-uniform.log()).log()) / temperature).softmax(1)
    if not hard:
        return soft
    chosen = F.one_hot(soft.argmax(1), soft.shape[1]).to(soft.dtype)
    return soft + (chosen - soft).detach()
    ### END SOLUTION


# %% test="gumbel_softmax" points=1 difficulty=2 minutes=20
logits, uniform = torch.tensor([[1.0, 0.0, -2.0]]), torch.tensor([[0.2, 0.9, 0.7]])
call = "gumbel_softmax(logits, uniform)"
check.close(check.answer(gumbel_softmax, logits, uniform, call=call), [[0.1461089, 0.8210669, 0.0328243]], call, rtol=1e-4)
call = "gumbel_softmax(logits, uniform, temperature=3)"
check.close(check.answer(gumbel_softmax, logits, uniform, temperature=3.0, call=call), [[0.2953527, 0.5250994, 0.1795479]], call, rtol=1e-4)
call = "gumbel_softmax(logits, uniform, hard=True)"
check.close(check.answer(gumbel_softmax, logits, uniform, hard=True, call=call), [[0.0, 1.0, 0.0]], call, atol=1e-6, why="be a choice")
### BEGIN HIDDEN TESTS
from scipy import stats

rng = check.rng("gumbel_softmax")
for n, c in ((4, 3), (1, 5), (6, 2)):
    logits, uniform = torch.from_numpy(rng.normal(size=(n, c))), torch.from_numpy(rng.uniform(0.02, 0.98, size=(n, c)))
    for options in ({}, {"temperature": 0.4}, {"temperature": 2.5}):
        heat = options.get("temperature", 1.0)
        leaf = logits.clone().requires_grad_()
        keys = (leaf + torch.from_numpy(stats.gumbel_r.ppf(uniform.numpy()))) / heat
        want = keys.exp() / keys.exp().sum(1, keepdim=True)
        upstream = rng.normal(size=(n, c))
        (slope,) = torch.autograd.grad(want, leaf, torch.from_numpy(upstream))
        call = f"gumbel_softmax of ({n}, {c})" + "".join(f", {name}={value}" for name, value in options.items())
        check.close(check.answer(gumbel_softmax, logits, uniform, call=call, **options), want.detach(), call, rtol=1e-7, why="be shares of noisy logits")
        (got,) = check.gradient_of(lambda s, u=uniform, o=options: gumbel_softmax(s, u, **o), logits, call=call, upstream=upstream)
        check.close(got, slope, f"the gradient of {call}", rtol=1e-6, atol=1e-10, why="pass through the softmax")
        found = check.answer(gumbel_softmax, logits, uniform, hard=True, call=f"{call}, hard=True", **options)
        check.close(found, np.eye(c)[want.detach().numpy().argmax(1)], f"{call}, hard=True", atol=1e-9, why="choose the largest noisy logit")
        check.that(found.dtype == np.float64, f"have the dtype of the logits in {call}, hard=True")
        (got,) = check.gradient_of(lambda s, u=uniform, o=options: gumbel_softmax(s, u, hard=True, **o), logits, call=f"{call}, hard=True", upstream=upstream)
        check.close(got, slope, f"the gradient of {call}, hard=True", rtol=1e-6, atol=1e-10, why="be that of the shares")
logits = torch.tensor([[0.3, -1.0, 1.2, -0.4]]).double().expand(20_000, 4)
draws = check.answer(gumbel_softmax, logits, torch.from_numpy(rng.uniform(size=(20_000, 4))), hard=True, call="gumbel_softmax of 20,000 equal rows, hard=True")
want = torch.softmax(logits[0], 0).numpy()
check.that((abs(draws.mean(0) - want) < 7 * np.sqrt(want * (1 - want) / 20_000)).all(), "choose with the probabilities of the softmax")
logits, uniform = torch.tensor([[0.2, 0.1, -3.0]]).double(), torch.tensor([[0.3, 0.5, 0.8]]).double()
cold = check.answer(gumbel_softmax, logits, uniform, temperature=1e-3, call="gumbel_softmax, temperature=0.001")
check.close(cold, [[0.0, 1.0, 0.0]], "gumbel_softmax, temperature=0.001", atol=1e-9, why="come near to a choice")
hot = check.answer(gumbel_softmax, logits, uniform, temperature=1e4, call="gumbel_softmax, temperature=10000")
check.close(hot, np.full((1, 3), 1 / 3), "gumbel_softmax, temperature=10000", atol=1e-3, why="come near to equal shares")
cold = check.answer(gumbel_softmax, logits, uniform, temperature=1e-5, call="gumbel_softmax, temperature=0.00001")
check.close(cold, [[0.0, 1.0, 0.0]], "gumbel_softmax, temperature=0.00001", atol=1e-9, why="stay finite however cold it is")
even = torch.tensor([[0.4, 0.4, -1.0], [0.2, 0.9, 0.9]]).double(), torch.full((2, 3), 0.3).double()
call = "gumbel_softmax of equally large noisy logits, hard=True"
found = check.answer(gumbel_softmax, *even, hard=True, call=call)
check.close(np.sort(found, axis=1), [[0.0, 0.0, 1.0]] * 2, call, atol=1e-9, why="choose one, and one only")
check.close([found[0, 2], found[1, 0]], [0.0, 0.0], call, atol=1e-9, why="choose one of the largest")
### END HIDDEN TESTS

# %% mutant="gumbel_softmax" why="the sign of the noise"
# - soft = ((logits - (-uniform.log()).log()) / temperature).softmax(1)
# + soft = ((logits + (-uniform.log()).log()) / temperature).softmax(1)

# %% mutant="gumbel_softmax" why="one logarithm"
# - soft = ((logits - (-uniform.log()).log()) / temperature).softmax(1)
# + soft = ((logits - uniform.log()) / temperature).softmax(1)

# %% mutant="gumbel_softmax" why="no noise"
# - soft = ((logits - (-uniform.log()).log()) / temperature).softmax(1)
# + soft = ((logits - 0 * uniform) / temperature).softmax(1)

# %% mutant="gumbel_softmax" why="noise of its own"
# - soft = ((logits - (-uniform.log()).log()) / temperature).softmax(1)
# + soft = ((logits - (-torch.rand_like(logits).log()).log()) / temperature).softmax(1)

# %% mutant="gumbel_softmax" why="multiplies by the temperature"
# - soft = ((logits - (-uniform.log()).log()) / temperature).softmax(1)
# + soft = ((logits - (-uniform.log()).log()) * temperature).softmax(1)

# %% mutant="gumbel_softmax" why="the temperature for the logits alone"
# - soft = ((logits - (-uniform.log()).log()) / temperature).softmax(1)
# + soft = (logits / temperature - (-uniform.log()).log()).softmax(1)

# %% mutant="gumbel_softmax" why="a softmax over the examples"
# - soft = ((logits - (-uniform.log()).log()) / temperature).softmax(1)
# + soft = ((logits - (-uniform.log()).log()) / temperature).softmax(0)

# %% mutant="gumbel_softmax" why="half as hot by default"
# - logits: torch.Tensor, uniform: torch.Tensor, temperature: float = 1.0, hard: bool = False
# + logits: torch.Tensor, uniform: torch.Tensor, temperature: float = 0.5, hard: bool = False

# %% mutant="gumbel_softmax" why="hard by default"
# - logits: torch.Tensor, uniform: torch.Tensor, temperature: float = 1.0, hard: bool = False
# + logits: torch.Tensor, uniform: torch.Tensor, temperature: float = 1.0, hard: bool = True

# %% mutant="gumbel_softmax" why="a choice without a gradient"
# - return soft + (chosen - soft).detach()
# + return chosen + 0 * soft

# %% mutant="gumbel_softmax" why="the choice without noise"
# - chosen = F.one_hot(soft.argmax(1), soft.shape[1]).to(soft.dtype)
# + chosen = F.one_hot(logits.argmax(1), soft.shape[1]).to(soft.dtype)

# %% mutant="gumbel_softmax" why="the gradient of the logits themselves"
# - return soft + (chosen - soft).detach()
# + return logits + (chosen - logits).detach()

# %% mutant="gumbel_softmax" why="soft shares in any case"
# - return soft + (chosen - soft).detach()
# + return soft

# %% mutant="gumbel_softmax" why="two choices where two are equally large"
# - chosen = F.one_hot(soft.argmax(1), soft.shape[1]).to(soft.dtype)
# + chosen = (soft == soft.amax(1, keepdim=True)).to(soft.dtype)

# %% mutant="gumbel_softmax" why="exponentials that overflow when it is cold"
# - soft = ((logits - (-uniform.log()).log()) / temperature).softmax(1)
# + keys = ((logits - (-uniform.log()).log()) / temperature).exp()
# + soft = keys / keys.sum(1, keepdim=True)


# %% alternative="gumbel_softmax" why="exponential clocks"
def gumbel_softmax(logits, uniform, temperature=1.0, hard=False):
    clocks = -torch.log(uniform)  # the first to ring wins
    keys = logits - clocks.log()
    shares = F.softmax(keys / temperature, dim=-1)
    if hard:
        choice = torch.zeros_like(shares).scatter(1, keys.argmax(1, keepdim=True), 1.0)
        shares = choice - shares.detach() + shares
    return shares


# %%
torch.manual_seed(0)
logits = torch.tensor([[1.5, 0.5, 0.0, -1.0]])
panels = {}
for heat in (0.1, 0.5, 1.0, 5.0):
    panels[heat] = gumbel_softmax(logits.expand(400, 4), torch.rand(400, 4).clamp(1e-6, 1 - 1e-6), temperature=heat).numpy()
    share = np.bincount(panels[heat].argmax(1), minlength=4) / 400
    print(f"temperature {heat:3}: largest share is on average {panels[heat].max(1).mean():.2f}, chosen", ", ".join(f"{s:.2f}" for s in share))
print("probabilities of the softmax:", ", ".join(f"{p:.2f}" for p in logits[0].softmax(0).tolist()))
week10.shares(panels)
plots.show("Four panels, one a temperature: points for draws of the first two shares. At 0.1 they sit in the corners, at 1 they fill the triangle, at 5 they lie in a cloud in its middle.")

# %% [markdown]
# ## 7. How good are the samples?
# Bounds do not tell whether pictures are good, and the eye can't compare a thousand of them. Usual is a distance between two clouds of **features**. The [Fréchet distance](glossary:fid) ([Heusel et al., 2017](https://arxiv.org/abs/1706.08500)) takes each cloud for a normal distribution with its mean $\mu$ and covariance $C$ (divided by $n - 1$):
#
# $$d = \lVert \mu_1 - \mu_2 \rVert^2 + \operatorname{tr}\bigl(C_1 + C_2 - 2 (C_1 C_2)^{1/2}\bigr).$$
#
# The root is one of matrices. Without it: the trace of $(C_1 C_2)^{1/2}$ is the sum of the roots of the eigenvalues of $C_1^{1/2} C_2 C_1^{1/2}$, which is symmetric. Covariances may be singular. It is called FID when the features are an Inception network's; those weights are not to be had offline, so ours come from a classifier of clothes that you see trained below. Numbers from different features can't be compared.
#
# {{task:frechet}}

# %% [markdown] lang="ru"
# ## 7. Хороши ли примеры?
# Границы не говорят, хороши ли картинки, а глаз не сравнит и тысячи. Обычно берут расстояние между двумя облаками **признаков**. [Расстояние Фреше](glossary:fid) (Fréchet; [Heusel и др., 2017](https://arxiv.org/abs/1706.08500)) считает каждое облако нормальным распределением со средним $\mu$ и ковариацией $C$ (деление на $n - 1$):
#
# $$d = \lVert \mu_1 - \mu_2 \rVert^2 + \operatorname{tr}\bigl(C_1 + C_2 - 2 (C_1 C_2)^{1/2}\bigr).$$
#
# Корень здесь матричный. Без него: след $(C_1 C_2)^{1/2}$ — сумма корней из собственных чисел матрицы $C_1^{1/2} C_2 C_1^{1/2}$, а она симметрична. Ковариации бывают вырожденными. FID оно называется, если признаки берут у сети Inception; её весов без интернета не достать, и наши признаки — из классификатора одежды, который обучается ниже у вас на глазах. Числа по разным признакам сравнивать нельзя.
#
# {{task:frechet}}


# %% solution="frechet"
def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and covariance (d, d) of features (n, d), n >= 2."""
    ### BEGIN SOLUTION
    centred = features - features.mean(0)
    return features.mean(0), centred.T @ centred / (len(features) - 1)
    ### END SOLUTION


def frechet(
    mean1: np.ndarray, cov1: np.ndarray, mean2: np.ndarray, cov2: np.ndarray
) -> float:
    """The Fréchet distance d of two normal distributions."""
    ### BEGIN SOLUTION
    values, vectors = np.linalg.eigh(cov1)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    inner = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov2 @ root), 0)).sum()
    return float(((mean1 - mean2) ** 2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * inner)
    ### END SOLUTION


# %% test="frechet" points=0.75 difficulty=3 minutes=25
features = np.array([[1.0, 2.0], [3.0, 1.0], [2.0, 6.0]])
mean, cov = check.answer(moments, features, call="moments(features)")
check.close(mean, [2.0, 3.0], "moments(features)[0]")
check.close(cov, [[1.0, -0.5], [-0.5, 7.0]], "moments(features)[1]", why="be divided by n - 1")
call = "frechet([1, 2], [[4, 1], [1, 2]], [0, 4], [[1, 0], [0, 9]])"
found = check.answer(frechet, np.array([1.0, 2.0]), np.array([[4.0, 1.0], [1.0, 2.0]]), np.array([0.0, 4.0]), np.diag([1.0, 9.0]), call=call)
check.close(found, 8.6915463, call, rtol=1e-5)
### BEGIN HIDDEN TESTS
from scipy import linalg

rng = check.rng("frechet")
for n, d in ((6, 3), (2, 4), (9, 1)):
    features = 3 + rng.normal(size=(n, d)) @ rng.normal(size=(d, d))
    call = f"moments of ({n}, {d})"
    found = check.answer(moments, features, call=call)
    check.close(found[0], features.mean(0), f"{call}[0]", rtol=1e-9, why="be the mean of each feature")
    check.close(found[1], np.cov(features, rowvar=False).reshape(d, d), f"{call}[1]", rtol=1e-7, atol=1e-10, why="be the covariance, divided by n - 1")


def random_moments(d, n):
    rows = rng.normal(size=(n, d)) @ rng.normal(size=(d, d))
    return rng.normal(size=d), np.cov(rows, rowvar=False).reshape(d, d)


for d in (2, 3, 5):
    first, second = random_moments(d, 4 * d), random_moments(d, 4 * d)
    root = linalg.sqrtm(first[1] @ second[1])
    want = ((first[0] - second[0]) ** 2).sum() + np.trace(first[1] + second[1] - 2 * np.real(root))
    call = f"frechet of {d} features"
    check.close(check.answer(frechet, *first, *second, call=call), want, call, rtol=1e-5, atol=1e-7, why="take the root of the matrix")
    call = f"frechet of {d} features, exchanged"
    check.close(check.answer(frechet, *second, *first, call=call), want, call, rtol=1e-5, atol=1e-7, why="be the same both ways")
    check.close(check.answer(frechet, *first, *first, call="frechet of a cloud and itself"), 0.0, "frechet of a cloud and itself", atol=1e-6 * np.trace(first[1]), why="be 0")
one, two = rng.uniform(0.5, 4, size=4), rng.uniform(0.5, 4, size=4)
mean = rng.normal(size=4)
call = "frechet of diagonal covariances"
check.close(check.answer(frechet, mean, np.diag(one), mean, np.diag(two), call=call), ((np.sqrt(one) - np.sqrt(two)) ** 2).sum(), call, rtol=1e-6, why="compare deviations")
call = "frechet of clouds that differ by their means alone"
check.close(check.answer(frechet, mean, np.diag(one), mean + 2, np.diag(one), call=call), 16.0, call, rtol=1e-6, why="be the squared distance of the means")
thin = np.outer([1.0, 2.0, -1.0], [1.0, 2.0, -1.0]), np.diag([4.0, 0.0, 0.0])
call = "frechet of singular covariances"
check.close(check.answer(frechet, np.zeros(3), thin[0], np.zeros(3), thin[1], call=call), 6 + 4 - 2 * 2.0, call, rtol=1e-4, atol=1e-4, why="be a number there, too")
call = "frechet of a point and a cloud"
check.close(check.answer(frechet, np.zeros(3), np.zeros((3, 3)), np.ones(3), np.diag([1.0, 2.0, 3.0]), call=call), 9.0, call, rtol=1e-6, atol=1e-6, why="be distance and spread")
### END HIDDEN TESTS

# %% mutant="frechet" why="a biased covariance"
# - return features.mean(0), centred.T @ centred / (len(features) - 1)
# + return features.mean(0), centred.T @ centred / len(features)

# %% mutant="frechet" why="products, not covariances"
# - centred = features - features.mean(0)
# + centred = features

# %% mutant="frechet" why="the distance of the means, not its square"
# - return float(((mean1 - mean2) ** 2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * inner)
# + return float(np.linalg.norm(mean1 - mean2) + np.trace(cov1) + np.trace(cov2) - 2 * inner)

# %% mutant="frechet" why="the mean of the squares"
# - return float(((mean1 - mean2) ** 2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * inner)
# + return float(((mean1 - mean2) ** 2).mean() + np.trace(cov1) + np.trace(cov2) - 2 * inner)

# %% mutant="frechet" why="no trace"
# - return float(((mean1 - mean2) ** 2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * inner)
# + return float(((mean1 - mean2) ** 2).sum())

# %% mutant="frechet" why="the root counted once"
# - return float(((mean1 - mean2) ** 2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * inner)
# + return float(((mean1 - mean2) ** 2).sum() + np.trace(cov1) + np.trace(cov2) - inner)

# %% mutant="frechet" why="the root of each number of the matrix"
# - inner = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov2 @ root), 0)).sum()
# + inner = np.trace(np.sqrt(np.abs(cov1 @ cov2)))

# %% mutant="frechet" why="diagonals alone"
# - inner = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov2 @ root), 0)).sum()
# + inner = np.sqrt(np.diag(cov1) * np.diag(cov2)).sum()

# %% mutant="frechet" why="the product without its root"
# - inner = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov2 @ root), 0)).sum()
# + inner = np.trace(cov1 @ cov2)

# %% mutant="frechet" why="the root of the whole"
# - return float(((mean1 - mean2) ** 2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * inner)
# + return float(np.sqrt(max(((mean1 - mean2) ** 2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * inner, 0)))

# %% mutant="frechet" why="roots that commute"
# - inner = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov2 @ root), 0)).sum()
# + other, turned = np.linalg.eigh(cov2)
# + inner = np.trace(root @ (turned * np.sqrt(np.maximum(other, 0)) @ turned.T))

# %% mutant="frechet" why="NumPy gives a number for one feature, not (1, 1)"
# - return features.mean(0), centred.T @ centred / (len(features) - 1)
# + return features.mean(0), np.cov(features, rowvar=False)


# %% alternative="frechet" why="the eigenvalues of the product as it is"
def moments(features):
    return np.mean(features, axis=0), np.atleast_2d(np.cov(features, rowvar=False))


def frechet(mean1, cov1, mean2, cov2):
    roots = np.sqrt(np.linalg.eigvals(cov1 @ cov2).astype(complex)).real
    return float(np.square(mean1 - mean2).sum() + np.trace(cov1 + cov2) - 2 * roots.sum())


# %%
seed_everything(0)
judge = nn.Sequential(nn.Linear(size, 128), nn.ReLU(), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 10)).to(device)
optimiser = torch.optim.Adam(judge.parameters(), lr=2e-3)
for _ in range(2 * settings["steps"]):
    some = torch.randint(len(pixels), (128,), device=device)
    loss = F.cross_entropy(judge(pixels[some]), kinds[some])
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def features_of(pictures: torch.Tensor) -> np.ndarray:
    """The judge's last features, (n, 32)."""
    with torch.no_grad():
        return judge[:4](pictures).cpu().numpy().astype(np.float64)


with torch.no_grad():
    print(f"the judge is right on {float((judge(held_out).argmax(1) == held_kinds).float().mean()):.1%} of the held-out clothes")
    held_moments = moments(features_of(held_out))
model, hasty = train_vae(), train_vae(steps=60)
sizes = [n for n in (16, 50, 100, 200, 500, 1000, 2000, 5000, 10_000) if n <= settings["most"]]
makers = {
    "other real clothes": lambda n: pixels[torch.randperm(len(pixels), device=device)[:n]],
    "your VAE": model.samples,
    "a VAE of 60 steps": hasty.samples,
}
curves = {name: [np.array([frechet(*moments(features_of(maker(n))), *held_moments) for _ in range(3)]) for n in sizes] for name, maker in makers.items()}
for name, values in curves.items():
    print(f"{name:20}:", ", ".join(f"{n}: {v.mean():.2f}" for n, v in zip(sizes, values, strict=True)))
few, many = curves["other real clothes"][0], curves["your VAE"][-1]
print(f"real clothes, {sizes[0]} of them: {few.min():.2f} to {few.max():.2f}; your VAE, {sizes[-1]} samples: {many.min():.2f} to {many.max():.2f}")
week10.sizes(sizes, curves)
plots.show("The Fréchet distance against the number of samples, both axes logarithmic: real clothes fall in a straight line towards zero, the VAEs level out above; at the fewest samples real clothes lie above where your VAE ends.")

# %% [markdown]
# Real pictures are at a distance from real pictures, too, as long as they are few: the estimate is biased, and the bias goes with the number of samples. Whoever compares 50 samples of one model with 5,000 of another compares sizes. Compare the two printed ranges: here the ranking flips, a few *real* clothes look worse than many made ones.
#
# Another number looks at samples alone. A judge gives probabilities $p(y \mid x)$. The [Inception Score](glossary:inception-score) ([Salimans et al., 2016](https://arxiv.org/abs/1606.03498)) is high when it is sure of each sample, and the samples are of all kinds:
#
# $$\mathrm{IS} = \exp \operatorname{mean}_x \mathrm{KL}\bigl(p(y \mid x) \,\Vert\, p(y)\bigr), \qquad p(y) = \operatorname{mean}_x p(y \mid x).$$
#
# {{task:inception_score}}

# %% [markdown] lang="ru"
# Настоящие картинки тоже далеки от настоящих, пока их мало: оценка смещена, и смещение зависит от размера выборки. Кто сравнивает 50 примеров одной модели с 5000 другой, сравнивает размеры. Сравните два напечатанных промежутка: здесь порядок переворачивается, несколько *настоящих* вещей выглядят хуже множества сделанных.
#
# Другое число смотрит на одни примеры. Судья выдаёт вероятности $p(y \mid x)$. [Inception Score](glossary:inception-score) ([Salimans и др., 2016](https://arxiv.org/abs/1606.03498)) велик, если в каждом примере судья уверен, а примеры — всех видов:
#
# $$\mathrm{IS} = \exp \operatorname{mean}_x \mathrm{KL}\bigl(p(y \mid x) \,\Vert\, p(y)\bigr), \qquad p(y) = \operatorname{mean}_x p(y \mid x).$$
#
# {{task:inception_score}}


# %% solution="inception_score"
def inception_score(p: np.ndarray) -> float:
    """IS of probabilities p(y | x): (n, classes), from 1 to the number of classes."""
    ### BEGIN SOLUTION
    safe = np.where(p > 0, p, 1.0)
    overall = np.maximum(p.mean(0), 1e-300)
    return float(np.exp((p * (np.log(safe) - np.log(overall))).sum(1).mean()))
    ### END SOLUTION


# %% test="inception_score" points=0.4 difficulty=2 minutes=10
call = "inception_score([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])"
check.close(check.answer(inception_score, np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), call=call), 1.2028969, call, rtol=1e-5)
### BEGIN HIDDEN TESTS
from scipy import stats

rng = check.rng("inception_score")
for n, c in ((4, 3), (7, 5), (1, 4)):
    p = rng.dirichlet(np.ones(c), size=n)
    want = np.exp(np.mean([stats.entropy(row, p.mean(0)) for row in p]))
    call = f"inception_score of {n} samples and {c} classes"
    check.close(check.answer(inception_score, p, call=call), want, call, rtol=1e-7, why="be e to the mean divergence from the mean")
check.close(check.answer(inception_score, np.eye(5)[[0, 1, 2, 3, 4, 0, 1, 2, 3, 4]], call="inception_score of sure samples of all 5 kinds"), 5.0, "inception_score of sure samples of all 5 kinds", rtol=1e-7, why="be the number of classes")
check.close(check.answer(inception_score, np.eye(5)[[2, 2, 2]], call="inception_score of sure samples of one kind"), 1.0, "inception_score of sure samples of one kind", rtol=1e-7, why="be 1")
check.close(check.answer(inception_score, np.full((3, 4), 0.25), call="inception_score of a judge that knows nothing"), 1.0, "inception_score of a judge that knows nothing", rtol=1e-7, why="be 1")
p = np.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.3, 0.7, 0.0]])
want = np.exp(np.mean([stats.entropy(row[:3], p.mean(0)[:3]) for row in p]))
check.close(check.answer(inception_score, p, call="inception_score where a class never comes"), want, "inception_score where a class never comes", rtol=1e-7, why="count 0 for it")
### END HIDDEN TESTS

# %% mutant="inception_score" why="forgets the exponential"
# - return float(np.exp((p * (np.log(safe) - np.log(overall))).sum(1).mean()))
# + return float((p * (np.log(safe) - np.log(overall))).sum(1).mean())

# %% mutant="inception_score" why="the mean of the exponentials"
# - return float(np.exp((p * (np.log(safe) - np.log(overall))).sum(1).mean()))
# + return float(np.exp((p * (np.log(safe) - np.log(overall))).sum(1)).mean())

# %% mutant="inception_score" why="the other way round"
# - return float(np.exp((p * (np.log(safe) - np.log(overall))).sum(1).mean()))
# + return float(np.exp((overall * (np.log(overall) - np.log(safe))).sum(1).mean()))

# %% mutant="inception_score" why="a mean over classes"
# - return float(np.exp((p * (np.log(safe) - np.log(overall))).sum(1).mean()))
# + return float(np.exp((p * (np.log(safe) - np.log(overall))).mean()))

# %% mutant="inception_score" why="the entropy of the mean: whether the judge is sure does not matter"
# - return float(np.exp((p * (np.log(safe) - np.log(overall))).sum(1).mean()))
# + return float(np.exp(-(overall * np.log(overall)).sum()))

# %% mutant="inception_score" why="against equal shares"
# - overall = np.maximum(p.mean(0), 1e-300)
# + overall = np.full(p.shape[1], 1 / p.shape[1])

# %% mutant="inception_score" why="0 log 0 is not a number"
# - safe = np.where(p > 0, p, 1.0)
# + safe = p

# %% mutant="inception_score" why="in bits"
# - return float(np.exp((p * (np.log(safe) - np.log(overall))).sum(1).mean()))
# + return float(np.exp((p * (np.log2(safe) - np.log2(overall))).sum(1).mean()))


# %% alternative="inception_score" why="entropies"
def inception_score(p):
    def entropy(q):
        return -sum(a * np.log(a) for a in q if a > 0)

    return np.exp(entropy(p.mean(axis=0)) - np.mean([entropy(row) for row in p]))


# %% [markdown]
# One number can't tell whether pictures are bad or kinds are missing. Two can ([Kynkäänniemi et al., 2019](https://arxiv.org/abs/1904.06991)). Around each real point draw a ball that reaches to its $k$-th nearest *other* real point (another at the same place counts, too); what lies in one of the balls, or on its edge, counts as possible. **Precision** is the share of made points that are possible. **Recall** is the same with real and made exchanged: the share of real points in the balls around made ones.
#
# {{task:precision_recall}}

# %% [markdown] lang="ru"
# Одно число не отличит плохие картинки от пропущенных видов. Два — отличат ([Kynkäänniemi и др., 2019](https://arxiv.org/abs/1904.06991)). Вокруг каждой настоящей точки проведите шар до её $k$-й по близости *другой* настоящей точки (другая на том же месте тоже считается); что лежит в каком-нибудь из шаров или на его краю, считается возможным. **Точность** (precision) — доля сделанных точек, которые возможны. **Полнота** (recall) — то же, если поменять настоящие и сделанные местами: доля настоящих точек в шарах вокруг сделанных.
#
# {{task:precision_recall}}


# %% solution="precision_recall"
def precision_recall(real: np.ndarray, made: np.ndarray, k: int = 3) -> tuple[float, float]:
    """(precision, recall) of made points (m, d) against real ones (n, d); n and m exceed k."""
    ### BEGIN SOLUTION
    def covered(points, centres):
        among = np.linalg.norm(centres[:, None] - centres, axis=2)
        radii = np.sort(among, axis=1)[:, k]  # the first is the point itself
        return float((np.linalg.norm(points[:, None] - centres, axis=2) <= radii).any(1).mean())

    return covered(made, real), covered(real, made)
    ### END SOLUTION


# %% test="precision_recall" points=0.6 difficulty=2 minutes=20
real = np.array([[0.0], [1.0], [3.0], [10.0], [11.0]])
made = np.array([[0.5], [5.1], [9.0], [9.3]])
call = "precision_recall(real, made, k=1)"
check.close(check.answer(precision_recall, real, made, k=1, call=call), [0.75, 0.6], call, why="count points within the balls")
### BEGIN HIDDEN TESTS
rng = check.rng("precision_recall")


def share_within(points, centres, k):
    inside = 0
    for point in points:
        for i, centre in enumerate(centres):
            others = sorted(float(np.sqrt(((centre - c) ** 2).sum())) for j, c in enumerate(centres) if j != i)
            if np.sqrt(((point - centre) ** 2).sum()) <= others[k - 1]:
                inside += 1
                break
    return inside / len(points)


for n, m, d in ((9, 6, 2), (5, 11, 3), (7, 8, 1)):
    real, made = rng.normal(size=(n, d)), 0.3 + 1.5 * rng.normal(size=(m, d))
    for options in ({}, {"k": 1}, {"k": 4}):
        k = options.get("k", 3)
        call = f"precision_recall of {n} real and {m} made points" + "".join(f", {name}={value}" for name, value in options.items())
        found = check.answer(precision_recall, real, made, call=call, **options)
        check.close(found[0], share_within(made, real, k), f"{call}[0]", why="be the share of made points in balls around real ones")
        check.close(found[1], share_within(real, made, k), f"{call}[1]", why="be the share of real points in balls around made ones")
heaps = 100 * np.arange(4)[:, None, None] + rng.normal(size=(4, 12, 2))
call = "precision_recall of a model that makes one kind of four"
found = check.answer(precision_recall, heaps.reshape(-1, 2), heaps[1] + 0.0, k=2, call=call)
check.close(found, [1.0, 0.25], call, why="have all precision and a quarter of the recall")
call = "precision_recall of a model that makes half rubbish"
found = check.answer(precision_recall, heaps[0], np.concatenate([heaps[0], 1e4 + 50 * rng.normal(size=(12, 2))]), k=2, call=call)
check.close(found[0], 0.5, f"{call}[0]", why="have half the precision")
edge = np.array([[0.0, 0.0], [2.0, 0.0], [20.0, 0.0]])
call = "precision_recall with a point on the edge of a ball"
found = check.answer(precision_recall, edge, np.array([[-2.0, 0.0], [0.0, -2.125]]), k=1, call=call)
check.close(found[0], 0.5, f"{call}[0]", why="count what lies on the edge, and nothing beyond")
wide = np.array([[0.0], [1.0], [2.0], [50.0], [90.0]])
call = "precision_recall of a point whose nearest real one has a small ball"
check.close(check.answer(precision_recall, wide, np.array([[12.0], [13.0]]), k=1, call=call)[0], 1.0, f"{call}[0]", why="ask all balls")
twice = np.array([[0.0], [0.0], [10.0], [13.0]])
call = "precision_recall where two real points are equal, k=1"
check.close(check.answer(precision_recall, twice, np.array([[0.5], [11.0], [0.0], [20.0], [-4.0]]), k=1, call=call)[0], 0.4, f"{call}[0]", why="count another point at the same place as a neighbour")
call = "precision_recall where made points are equal, k=2"
found = check.answer(precision_recall, np.array([[0.0], [3.0], [7.0], [0.0]]), np.array([[0.0], [0.0], [0.0], [9.0]]), k=2, call=call)
check.close(found, [1.0, 1.0], call, why="count other points at the same place as neighbours")
### END HIDDEN TESTS

# %% mutant="precision_recall" why="a point is its own first neighbour"
# - radii = np.sort(among, axis=1)[:, k]  # the first is the point itself
# + radii = np.sort(among, axis=1)[:, k - 1]

# %% mutant="precision_recall" why="one neighbour further"
# - radii = np.sort(among, axis=1)[:, k]  # the first is the point itself
# + radii = np.sort(among, axis=1)[:, min(k + 1, len(centres) - 1)]

# %% mutant="precision_recall" why="exchanged"
# - return covered(made, real), covered(real, made)
# + return covered(real, made), covered(made, real)

# %% mutant="precision_recall" why="without the edge"
# - return float((np.linalg.norm(points[:, None] - centres, axis=2) <= radii).any(1).mean())
# + return float((np.linalg.norm(points[:, None] - centres, axis=2) < radii).any(1).mean())

# %% mutant="precision_recall" why="the ball of the nearest centre alone"
# - return float((np.linalg.norm(points[:, None] - centres, axis=2) <= radii).any(1).mean())
# + distances = np.linalg.norm(points[:, None] - centres, axis=2)
# + return float((distances.min(1) <= radii[distances.argmin(1)]).mean())

# %% mutant="precision_recall" why="one radius for all"
# - radii = np.sort(among, axis=1)[:, k]  # the first is the point itself
# + radii = np.full(len(centres), np.median(np.sort(among, axis=1)[:, k]))

# %% mutant="precision_recall" why="all balls, not any"
# - return float((np.linalg.norm(points[:, None] - centres, axis=2) <= radii).any(1).mean())
# + return float((np.linalg.norm(points[:, None] - centres, axis=2) <= radii).all(1).mean())

# %% mutant="precision_recall" why="recall with the balls of the real points"
# - return covered(made, real), covered(real, made)
# + return covered(made, real), covered(real, real)

# %% mutant="precision_recall" why="three neighbours whatever is asked"
# - radii = np.sort(among, axis=1)[:, k]  # the first is the point itself
# + radii = np.sort(among, axis=1)[:, 3] if len(centres) > 3 else np.sort(among, axis=1)[:, k]

# %% mutant="precision_recall" why="five neighbours by default"
# - def precision_recall(real: np.ndarray, made: np.ndarray, k: int = 3) -> tuple[float, float]:
# + def precision_recall(real: np.ndarray, made: np.ndarray, k: int = 4) -> tuple[float, float]:

# %% mutant="precision_recall" why="city blocks"
# - return float((np.linalg.norm(points[:, None] - centres, axis=2) <= radii).any(1).mean())
# + return float((np.abs(points[:, None] - centres).sum(2) <= radii).any(1).mean())

# %% mutant="precision_recall" why="another point at the same place does not count"
# - radii = np.sort(among, axis=1)[:, k]  # the first is the point itself
# + radii = np.array([np.sort(row[row > 0])[min(k, int((row > 0).sum())) - 1] for row in among])


# %% alternative="precision_recall" why="scikit-learn's neighbours"
def precision_recall(real, made, k=3):
    from sklearn.metrics import pairwise_distances
    from sklearn.neighbors import NearestNeighbors

    found = []
    for points, centres in ((made, real), (real, made)):
        distances, _ = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(centres).kneighbors()
        inside = pairwise_distances(points, centres) <= distances[:, -1][None] * (1 + 1e-12)
        found.append(float(np.mean(inside.sum(1) > 0)))
    return tuple(found)


# %% [markdown]
# Now spoil real clothes on purpose, in two ways, and ask all four numbers: one set lacks half of the kinds, the other has noise on half of its pictures. Which number notices what? (Precision asks for the [coverage of the distribution](glossary:distribution-coverage), recall for that of the modes.)

# %% [markdown] lang="ru"
# Теперь нарочно испортим настоящую одежду двумя способами и спросим все четыре числа: в одном наборе нет половины видов, в другом половина картинок зашумлена. Какое число что замечает? (Точность спрашивает о [покрытии распределения](glossary:distribution-coverage) (distribution coverage), полнота — о покрытии мод.)

# %%
torch.manual_seed(0)
model, hasty = train_vae(), train_vae(steps=60)
pick = torch.randperm(len(pixels), device=device)[:4000]
five = pick[kinds[pick] < 5][:1000]
noisy = pixels[pick[1000:2000]].clone()
noisy[:500] = (noisy[:500] + 0.5 * torch.randn_like(noisy[:500])).clamp(0, 1)
sets = {
    "other real clothes": pixels[pick[2000:3000]],
    "half of the kinds": pixels[five],
    "noise on half": noisy,
    "your VAE": model.samples(1000),
    "a VAE of 60 steps": hasty.samples(1000),
}
known = features_of(held_out[:1000])
scores = {}
for name, pictures in sets.items():
    features = features_of(pictures)
    with torch.no_grad():
        sure = judge(pictures).softmax(1).cpu().numpy().astype(np.float64)
    scores[name] = (frechet(*moments(features), *held_moments), inception_score(sure), *precision_recall(known, features))
    print(f"{name:20}: Fréchet distance {scores[name][0]:6.2f}, IS {scores[name][1]:.2f}, precision {scores[name][2]:.2f}, recall {scores[name][3]:.2f}")
week10.judged({name: values[2:] for name, values in scores.items()})
plots.show("Five sets as points in the plane of recall and precision: real clothes at the upper right, half of the kinds and the VAE further to the left, noise on half further down, the VAE of 60 steps at the far left.")

# %% [markdown]
# All four look through the eyes of one judge. What it does not see, they do not see either; a network made only for perceptual distance, such as [LPIPS](glossary:lpips), is another pair of eyes, for pairs of pictures.
#
# ## 8. A walk through the wardrobe
# Codes can be calculated with. The **attribute vector** of a property is the mean code of those that have it less the mean code of those that do not; added to a code, it should add the property. And from code to code one walks on a sphere: normal codes of many numbers all have nearly the same length, and a straight line cuts through the inside, where no code ever was. [Shoemake's](https://doi.org/10.1145/325334.325242) `slerp`, with the angle $\Omega$ between $a$ and $b$:
#
# $$\frac{\sin((1 - t)\, \Omega)}{\sin \Omega}\, a + \frac{\sin(t\, \Omega)}{\sin \Omega}\, b,$$
#
# and the straight line $(1 - t)\, a + t\, b$ where $\sin \Omega$ is below $10^{-6}$.
#
# {{task:walk}}

# %% [markdown] lang="ru"
# Все четыре смотрят глазами одного судьи. Чего не видит он, не видят и они; сеть, обученная именно близости на взгляд, как [LPIPS](glossary:lpips), — другая пара глаз, для пар картинок.
#
# ## 8. Прогулка по гардеробу
# С кодами можно вычислять. **Вектор свойства** (attribute vector) — средний код тех, у кого оно есть, минус средний код тех, у кого его нет; прибавленный к коду, он должен прибавить и свойство. А от кода к коду ходят по сфере: у нормальных кодов из многих чисел почти одинаковая длина, и прямая режет внутренность, где никогда не было ни одного кода. `slerp` [Шумейка](https://doi.org/10.1145/325334.325242) с углом $\Omega$ между $a$ и $b$:
#
# $$\frac{\sin((1 - t)\, \Omega)}{\sin \Omega}\, a + \frac{\sin(t\, \Omega)}{\sin \Omega}\, b,$$
#
# а где $\sin \Omega$ меньше $10^{-6}$ — прямая $(1 - t)\, a + t\, b$.
#
# {{task:walk}}


# %% solution="walk"
def attribute_vector(codes: np.ndarray, has: np.ndarray) -> np.ndarray:
    """The vector (d,) of a property. codes: (n, d). has: bool (n,), who has it; some have, some not."""
    ### BEGIN SOLUTION
    return codes[has].mean(0) - codes[~has].mean(0)
    ### END SOLUTION


def slerp(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """The code at t, from 0 (a) to 1 (b), on the arc between them. a, b: (d,), not zero."""
    ### BEGIN SOLUTION
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    angle = np.arccos(np.clip(cosine, -1, 1))
    if np.sin(angle) < 1e-6:
        return (1 - t) * a + t * b
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    ### END SOLUTION


# %% test="walk" points=0.5 difficulty=2 minutes=15
call = "attribute_vector([[1, 2], [3, 4], [0, 7]], [True, True, False])"
found = check.answer(attribute_vector, np.array([[1.0, 2.0], [3.0, 4.0], [0.0, 7.0]]), np.array([True, True, False]), call=call)
check.close(found, [2.0, -4.0], call)
call = "slerp([1, 0], [0, 3], 0.25)"
check.close(check.answer(slerp, np.array([1.0, 0.0]), np.array([0.0, 3.0]), 0.25, call=call), [0.9238795, 1.1480503], call)
### BEGIN HIDDEN TESTS
rng = check.rng("walk")
for n, d in ((7, 3), (12, 5), (2, 1)):
    codes = rng.normal(size=(n, d))
    has = np.arange(n) < max(1, n // 3)
    rng.shuffle(has)
    want = np.mean([c for c, h in zip(codes, has, strict=True) if h], axis=0) - np.mean([c for c, h in zip(codes, has, strict=True) if not h], axis=0)
    call = f"attribute_vector of {n} codes"
    check.close(check.answer(attribute_vector, codes, has, call=call), want, call, rtol=1e-8, atol=1e-10, why="be with less without")
planted = rng.normal(size=6)
codes = np.concatenate([rng.normal(size=(8, 6))] * 2)
codes[:8] += planted
check.close(check.answer(attribute_vector, codes, np.arange(16) < 8, call="attribute_vector of a planted property"), planted, "attribute_vector of a planted property", rtol=1e-7, why="find what was planted")
for d in (2, 5):
    a, b = rng.normal(size=d), 2 * rng.normal(size=d)
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    across = b - (a @ b) * a
    across /= np.linalg.norm(across)
    whole = np.arccos(a @ b)
    for t in (0.0, 0.3, 0.5, 0.9, 1.0):
        call = f"slerp(a, b, {t}) of unit vectors of {d} numbers"
        want = np.cos(t * whole) * a + np.sin(t * whole) * across
        check.close(check.answer(slerp, a, b, t, call=call), want, call, rtol=1e-8, atol=1e-9, why="turn by t of the angle, on the sphere")
    call = f"slerp(2a, 5b, t) of {d} numbers"
    for t in (0.2, 0.7):
        want = (np.sin((1 - t) * whole) * 2 * a + np.sin(t * whole) * 5 * b) / np.sin(whole)
        check.close(check.answer(slerp, 2 * a, 5 * b, t, call=call), want, call, rtol=1e-8, atol=1e-9, why="take the angle between directions, and a and b as they are")
a = rng.normal(size=4)
check.close(check.answer(slerp, a, a, 0.3, call="slerp(a, a, 0.3)"), a, "slerp(a, a, 0.3)", rtol=1e-7, why="stay where it is")
check.close(check.answer(slerp, a, 3 * a, 0.25, call="slerp(a, 3a, 0.25)"), 1.5 * a, "slerp(a, 3a, 0.25)", rtol=1e-7, why="walk straight where the directions are the same")
check.close(check.answer(slerp, a, -a, 0.25, call="slerp(a, -a, 0.25)"), 0.5 * a, "slerp(a, -a, 0.25)", rtol=1e-6, why="walk straight where the directions are opposite")
a, across = np.array([0.6, 0.8, 0.0]), np.array([0.0, 0.0, 1.0])
for small, within in ((0.04, 1e-7), (3e-4, 1e-6), (2e-5, 1e-4)):
    b = -np.cos(small) * a + np.sin(small) * across
    call = f"slerp(a, b, 0.25) of directions that are opposite up to {small}"
    quarter = (np.pi - small) / 4
    want = np.cos(quarter) * a + np.sin(quarter) * across
    check.close(check.answer(slerp, a, b, 0.25, call=call), want, call, rtol=within, atol=within, why="go round on the arc as long as the sine is not below 1e-6")
for _ in range(60):  # a cosine may be a little beyond 1 by rounding
    a, factor = rng.normal(size=5), float(rng.uniform(0.5, 3))
    found = check.answer(slerp, a, factor * a, 0.3, call="slerp(a, c a, 0.3) of many a and c")
    check.close(found, (0.7 + 0.3 * factor) * a, "slerp(a, c a, 0.3) of many a and c", rtol=1e-6, why="walk straight where the directions are the same")
    found = check.answer(slerp, a, -factor * a, 0.3, call="slerp(a, -c a, 0.3) of many a and c")
    check.close(found, (0.7 - 0.3 * factor) * a, "slerp(a, -c a, 0.3) of many a and c", rtol=1e-6, atol=1e-9, why="walk straight where the directions are opposite")
### END HIDDEN TESTS

# %% mutant="walk" why="without less with"
# - return codes[has].mean(0) - codes[~has].mean(0)
# + return codes[~has].mean(0) - codes[has].mean(0)

# %% mutant="walk" why="against the mean of all"
# - return codes[has].mean(0) - codes[~has].mean(0)
# + return codes[has].mean(0) - codes.mean(0)

# %% mutant="walk" why="sums, so that the larger group weighs more"
# - return codes[has].mean(0) - codes[~has].mean(0)
# + return (codes[has].sum(0) - codes[~has].sum(0)) / len(codes) * 2

# %% mutant="walk" why="scaled to length 1"
# - return codes[has].mean(0) - codes[~has].mean(0)
# + vector = codes[has].mean(0) - codes[~has].mean(0)
# + return vector / np.linalg.norm(vector)

# %% mutant="walk" why="a straight line"
# - return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
# + return (1 - t) * a + t * b

# %% mutant="walk" why="from b to a"
# - return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
# + return (np.sin(t * angle) * a + np.sin((1 - t) * angle) * b) / np.sin(angle)

# %% mutant="walk" why="the angle of vectors as if they had length 1"
# - cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
# + cosine = a @ b

# %% mutant="walk" why="0 / 0 for equal directions"
# - if np.sin(angle) < 1e-6:
# + if np.sin(angle) < 0:

# %% mutant="walk" why="stays at a for equal directions"
# - return (1 - t) * a + t * b
# + return a + 0 * b

# %% mutant="walk" why="brings both to length 1"
# - return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
# + return (np.sin((1 - t) * angle) * a / np.linalg.norm(a) + np.sin(t * angle) * b / np.linalg.norm(b)) / np.sin(angle)

# %% mutant="walk" why="straight for all that is nearly opposite"
# - if np.sin(angle) < 1e-6:
# + if np.sin(angle) < 1e-3:

# %% mutant="walk" why="straight for a wide range"
# - if np.sin(angle) < 1e-6:
# + if np.sin(angle) < 0.05:

# %% mutant="walk" why="a cosine beyond 1 by rounding is not a number"
# - angle = np.arccos(np.clip(cosine, -1, 1))
# + angle = np.arccos(cosine)


# %% alternative="walk" why="weights and a rotation"
def attribute_vector(codes, has):
    weights = np.where(has, 1 / has.sum(), -1 / (len(has) - has.sum()))
    return weights @ codes


def slerp(a, b, t):
    u, v = a / np.linalg.norm(a), b / np.linalg.norm(b)
    angle = np.arctan2(np.linalg.norm(v - (u @ v) * u), u @ v)
    if np.sin(angle) < 1e-6:
        return a + t * (b - a)
    return np.sin(angle - t * angle) / np.sin(angle) * a + np.sin(t * angle) / np.sin(angle) * b


# %% [markdown]
# T-shirts get sleeves: the vector from T-shirts (kind 0) to pullovers (kind 2), added in steps to shirts that were held out. Does it hold? The judge counts.

# %% [markdown] lang="ru"
# Футболкам отрастают рукава: вектор от футболок (вид 0) к свитерам (вид 2), понемногу прибавленный к отложенным футболкам. Получается ли? Считает судья.

# %%
model = train_vae()
with torch.no_grad():
    both = (kinds == 0) | (kinds == 2)
    codes = model.encode(pixels[both])[0].cpu().numpy()
    sleeves = attribute_vector(codes, (kinds[both] == 2).cpu().numpy())
    shirts = model.encode(held_out[held_kinds == 0])[0].cpu().numpy()
    rows = {}
    for amount in (0.0, 0.5, 1.0, 1.5):
        worn = model.decoder(torch.tensor(shirts + amount * sleeves, dtype=torch.float32, device=device)).sigmoid()
        named = judge(worn).argmax(1)
        print(f"{amount} of the vector: the judge says T-shirt {float((named == 0).float().mean()):4.0%}, pullover {float((named == 2).float().mean()):4.0%}, coat {float((named == 4).float().mean()):4.0%}")
        rows[f"{amount} of the vector"] = worn[:10].reshape(-1, side, side).cpu().numpy()
week10.rows(rows)
plots.show("Ten T-shirts in a row, and below the same with half, all and one and a half of the vector: sleeves grow, row by row.")

# %%
model = train_vae()
with torch.no_grad():
    stops = [int((held_kinds == kind).nonzero()[1]) for kind in (7, 1, 3, 8, 7)]  # sneaker, trousers, dress, bag
    codes = model.encode(held_out[stops])[0].cpu().numpy()
    path = [slerp(a, b, t) for a, b in pairwise(codes) for t in np.linspace(0, 1, 12, endpoint=False)]
    film = model.decoder(torch.tensor(np.array(path), dtype=torch.float32, device=device)).sigmoid().reshape(-1, side, side).cpu().numpy()
plots.images(film, title="A walk through the wardrobe", columns=12, size=0.8)
plots.show("Four rows of twelve pictures: a sneaker turns into trousers, these into a dress, this into a bag, and the bag into the sneaker again.")

# %% [markdown]
# **What to take along.** A VAE is an autoencoder that pays for its codes, so that new ones can be drawn. Its bound is a bound: where the truth is known, you have seen the gap. Codes that cost too much fall asleep; a list of codes, or free bits, keeps them awake. A Fréchet distance is a statement about features *and* about the number of samples; precision and recall say which of two things is wrong.

# %% [markdown] lang="ru"
# **Что запомнить.** VAE — автокодировщик, который платит за коды, и потому можно вытягивать новые. Его граница — только граница: где истина известна, вы видели разрыв. Слишком дорогие коды засыпают; список кодов или бесплатные биты не дают им уснуть. Расстояние Фреше — высказывание о признаках *и* о размере выборки; точность и полнота говорят, какая из двух бед случилась.

# %% [markdown]
# **Sources**
# - D. Kingma, M. Welling. [Auto-encoding variational Bayes](https://arxiv.org/abs/1312.6114). ICLR 2014: §2, appendix B.
# - Y. Burda, R. Grosse, R. Salakhutdinov. [Importance weighted autoencoders](https://arxiv.org/abs/1509.00519). ICLR 2016: theorem 1, appendix C.
# - A. van den Oord, O. Vinyals, K. Kavukcuoglu. [Neural discrete representation learning](https://arxiv.org/abs/1711.00937). NeurIPS 2017: §3.1, appendix A.1.
# - E. Jang, S. Gu, B. Poole. [Categorical reparameterization with Gumbel-softmax](https://arxiv.org/abs/1611.01144). ICLR 2017.
# - M. Heusel et al. [GANs trained by a two time-scale update rule](https://arxiv.org/abs/1706.08500). NeurIPS 2017: eq. 6. T. Salimans et al. [Improved techniques for training GANs](https://arxiv.org/abs/1606.03498). NeurIPS 2016: §4.
# - T. Kynkäänniemi et al. [Improved precision and recall metric](https://arxiv.org/abs/1904.06991). NeurIPS 2019: §2. M. Bińkowski et al. [Demystifying MMD GANs](https://arxiv.org/abs/1801.01401). ICLR 2018: the bias of the FID.

# %% [markdown] lang="ru"
# **Источники**
# - D. Kingma, M. Welling. [Auto-encoding variational Bayes](https://arxiv.org/abs/1312.6114). ICLR 2014: §2, приложение B.
# - Y. Burda, R. Grosse, R. Salakhutdinov. [Importance weighted autoencoders](https://arxiv.org/abs/1509.00519). ICLR 2016: теорема 1, приложение C.
# - A. van den Oord, O. Vinyals, K. Kavukcuoglu. [Neural discrete representation learning](https://arxiv.org/abs/1711.00937). NeurIPS 2017: §3.1, приложение A.1.
# - E. Jang, S. Gu, B. Poole. [Categorical reparameterization with Gumbel-softmax](https://arxiv.org/abs/1611.01144). ICLR 2017.
# - M. Heusel и др. [GANs trained by a two time-scale update rule](https://arxiv.org/abs/1706.08500). NeurIPS 2017: формула 6. T. Salimans и др. [Improved techniques for training GANs](https://arxiv.org/abs/1606.03498). NeurIPS 2016: §4.
# - T. Kynkäänniemi и др. [Improved precision and recall metric](https://arxiv.org/abs/1904.06991). NeurIPS 2019: §2. M. Bińkowski и др. [Demystifying MMD GANs](https://arxiv.org/abs/1801.01401). ICLR 2018: смещение FID.
