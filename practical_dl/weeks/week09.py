"""Week 09: a model that writes, the course's own glossary, what tests share, a policy that adds.

A drawing makes a new figure, or draws on the axes that it gets; `plots.show` ends it. Nothing here
imports torch before it is needed.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from practical_dl import check
from practical_dl.check import CheckFailed
from practical_dl.plots import PALETTE

if TYPE_CHECKING:  # here, as in the functions: torch is slow to import
    import torch
    from torch import nn

# -- A chat --------------------------------------------------------------------------------------

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
MARKS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
TEMPLATE = (  # SmolLM2's own, in the language of jinja2
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\n" + SYSTEM + "<|im_end|>\n' }}"
    "{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# -- A model that writes -----------------------------------------------------------------------

ROWS = 40  # texts that are written at a time: their keys and values take the memory
CACHE = "cache"  # transformers called it past_key_values before


def generate(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    tokens: int = 16,
    temperature: float = 0.0,
    samples: int = 1,
    seed: int = 0,
    stop: str = "\n",
) -> list[list[str]]:
    """What a causal model of transformers writes after each prompt: `samples` texts a prompt.

    prompts: whole texts with their special tokens. temperature: 0 takes the likeliest
    token. A text ends before the first `stop` or the token that ends a turn, at most `tokens` long.
    What all prompts begin with is read once, and each prompt once for all of its samples.
    """
    import torch

    ids = [tokenizer(prompt, add_special_tokens=False).input_ids for prompt in prompts]
    shared = 0
    while shared < min(map(len, ids)) - 1 and len({one[shared] for one in ids}) == 1:
        shared += 1
    device = next(model.parameters()).device
    random = torch.Generator(device=device).manual_seed(seed)
    written: list[list[int]] = []
    with torch.inference_mode():
        read = None
        if shared:
            prefix = torch.tensor([ids[0][:shared]], device=device)
            read = model(prefix, use_cache=True, logits_to_keep=1)[CACHE]
        size = max(1, ROWS // samples)
        for i in range(0, len(ids), size):
            some = ids[i : i + size]
            written += _write(
                model, tokenizer, some, shared, read, tokens, temperature, samples, random, stop
            )
    texts = [tokenizer.decode(one, skip_special_tokens=True).strip() for one in written]
    texts = [text.split(stop)[0].strip() if stop else text for text in texts]
    return [texts[i : i + samples] for i in range(0, len(texts), samples)]


def _write(
    model: nn.Module,
    tokenizer: Any,
    ids: list[list[int]],
    shared: int,
    read: Any,
    tokens: int,
    temperature: float,
    samples: int,
    random: torch.Generator,
    stop: str,
) -> list[list[int]]:
    """The tokens of all samples of a few prompts. read: the cache of their first `shared` ones."""
    import torch

    longest, end = max(map(len, ids)), tokenizer.eos_token_id
    rest = [[end] * (longest - len(one)) + one[shared:] for one in ids]
    step = torch.tensor(rest, device=random.device)
    mask = torch.ones(len(ids), longest, dtype=torch.long, device=random.device)
    for row, one in zip(mask, ids, strict=True):
        row[shared : shared + longest - len(one)] = 0
    places = (mask.cumsum(1) - 1).clamp(min=0)[:, shared:]
    cache = copy.deepcopy(read)
    if cache is not None:
        cache.batch_repeat_interleave(len(ids))
    written: list[list[int]] = [[] for _ in range(len(ids) * samples)]
    done = [False] * len(written)
    for number in range(tokens):
        out = model(
            step,
            attention_mask=mask,
            position_ids=places,
            use_cache=True,
            logits_to_keep=1,
            **({} if cache is None else {CACHE: cache}),
        )
        logits, cache = out.logits[:, -1].float(), out[CACHE]
        if number == 0 and samples > 1:
            cache.batch_repeat_interleave(samples)
            logits, mask, places = (x.repeat_interleave(samples, 0) for x in (logits, mask, places))
        if temperature:
            weights = (logits / temperature).softmax(-1)
            step = torch.multinomial(weights, 1, generator=random)
        else:
            step = logits.argmax(-1, keepdim=True)
        for i, token in enumerate(step[:, 0].tolist()):
            done[i] = done[i] or token == end
            if not done[i]:
                written[i].append(token)
                done[i] = bool(stop) and stop in tokenizer.decode(written[i]).lstrip()
        if all(done):
            break
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        places = places[:, -1:] + 1
    return written


# -- Sums in words -----------------------------------------------------------------------------


class Sum(NamedTuple):
    """A question, its right number, and how one gets there ("7 + 5 = 12")."""

    question: str
    answer: int
    solution: str


STORIES = (  # how it is told, and whether it adds
    ("{name} has {a} {what} and gets {b} more. How many {what} does {name} have now?", True),
    ("{name} had {a} {what} and gave away {b}. How many {what} are left?", False),
    ("There are {a} {what} in one box and {b} in another. How many {what} are there in all?", True),
    ("{name} picks {a} {what} and eats {b} of them. How many {what} remain?", False),
)
NAMES = ("Tom", "Anna", "Mia", "Leo", "Kim", "Sam")
THINGS = ("apples", "plums", "pears", "cherries", "figs", "nuts")


def sums(n: int, seed: int, largest: int = 9) -> list[Sum]:
    """n different stories in turn, each with two different numbers from 2 to `largest`."""
    rng = np.random.default_rng(seed)
    found: list[Sum] = []
    while len(found) < n:
        story, adds = STORIES[len(found) % len(STORIES)]
        b, a = sorted(int(x) for x in rng.choice(np.arange(2, largest + 1), 2, replace=False))
        names = {"name": str(rng.choice(NAMES)), "what": str(rng.choice(THINGS))}
        answer = a + b if adds else a - b
        one = Sum(
            story.format(a=a, b=b, **names), answer, f"{a} {'+' if adds else '-'} {b} = {answer}"
        )
        if one.question not in {other.question for other in found}:
            found.append(one)
    return found


# -- The course's own glossary -----------------------------------------------------------------


class Question(NamedTuple):
    """A question about the glossary. term: whose entry answers it, "" where none does."""

    text: str
    term: str


QUESTIONS = tuple(
    Question(*line.rsplit(" | ", 1))
    for line in """\
Which optimiser keeps moving averages of the gradient and of its square? | Adam
Which method sets units of a layer to 0 at random during training? | Dropout
Which measure is the harmonic mean of precision and recall? | F1
Which share falls when a classifier gives many false alarms? | Precision
What is one pass of the training through all examples called? | Epoch
Which part of a network turns features into the answer of one task? | Head
What is the shared area of two boxes divided by the area of both? | Intersection over union
Which method leaves only one box for each object? | Non-maximum suppression
Which measure of translations pays for half a word? | chrF
Which search keeps a fixed number of the best beginnings at each step? | Beam search
What does a decoder keep so that a new token costs one query? | KV cache
Which network goes down to small maps and up again? | U-Net
Which recurrent cell has a second state and three gates? | LSTM
Which recurrent cell has an update gate and a reset gate? | GRU
Which library searches for good hyperparameters? | optuna
What adds the input of a block to its output? | Residual connection
Which algorithm finds the best of all paths through a table of tags? | Viterbi
Which score is the standard of sparse search? | BM25
What is training a small network on the answers of a large one called? | Distillation
What is a change of an input that is too small for people to notice? | Adversarial Attack
Which measure of summaries takes the longest common subsequence? | ROUGE
What hides a part of the tokens and asks the network what stood there? | MLM
By which number are logits divided before a softmax? | Temperature
Which function squeezes any number into the range from 0 to 1? | Sigmoid
Who won the football world cup in 2018? | 
How long does bread stay in the oven? | 
What is the boiling point of alcohol? | 
How many people live in Kazan? | 
Which optimiser is named after an animal? | 
In which year was the perceptron built? | 
How many parameters does the largest model have? | 
What does a variational autoencoder maximise? | 
""".splitlines()
)

RUSSIAN = tuple(
    Question(*line.rsplit(" | ", 1))
    for line in """\
Какой оптимизатор хранит скользящие средние градиента и его квадрата? | Adam
Как называется один проход обучения по всем примерам? | Epoch
Какой метод при обучении случайно обнуляет нейроны слоя? | Dropout
На какое число делят логиты перед softmax? | Temperature
Какая сеть спускается к маленьким картам и поднимается обратно? | U-Net
Какой алгоритм находит лучший путь через таблицу меток? | Viterbi
Как называется обучение маленькой сети на ответах большой? | Distillation
Какая часть сети превращает признаки в ответ задачи? | Head
Что хранит декодер, чтобы новый токен стоил одного запроса? | KV cache
Какая библиотека ищет хорошие гиперпараметры? | optuna
Какая мера пересказов берёт наибольшую общую подпоследовательность? | ROUGE
Какой поиск держит несколько лучших начал на каждом шаге? | Beam search
""".splitlines()
)

_GLOSSARY = """\
Accuracy: The share of examples whose predicted class is the true one. It misleads when one class
  is rare: always answering the frequent class already scores high.
Adam: An optimiser that keeps moving averages of the gradient and of its square, and divides one
  by the root of the other. Each coordinate then moves by about the learning rate in a step,
  whatever the size of its gradients.
Backpropagation: The chain rule applied from the loss back to the inputs of a computation graph.
  Each node multiplies the gradient that reaches it by its own local derivative, so one backward
  pass gives the gradients of all parameters.
Cross-validation: Splitting the training data into folds and holding each one out once while the
  rest trains the model. The mean of the scores estimates quality on new data, and their spread
  says how far to trust it.
Dropout: During training each unit of a layer is set to 0 at random with probability p, and the
  others are scaled by 1/(1 - p) so that the expected value stays. At test time nothing is
  dropped.
Epoch: One pass of the training through all training examples. With minibatches of size b and n
  examples it takes about n/b steps.
F1: The harmonic mean of precision and recall, 2PR/(P + R). It is high only where both are high,
  because the smaller of the two dominates it.
Learning rate: The number that multiplies the gradient in a step of gradient descent. Too small
  and training crawls; too large and the loss jumps or blows up.
Logit: The raw score of a class before softmax, any real number. Adding the same constant to all
  logits of an example changes no probability.
Momentum: A running sum of past gradients that is used for the step instead of the last gradient
  alone. It speeds up along directions that keep their sign and damps those that oscillate.
Overfitting: A model does well on the examples it was fitted to and worse on new ones. The gap
  between the two is measured on data that were held out.
Precision: Of the examples that the classifier called positive, the share that really is: TP/(TP +
  FP). Low precision means false alarms.
Recall: Of the examples that really are positive, the share that the classifier found: TP/(TP +
  FN). Low recall means misses.
ReLU: The activation max(0, x), applied to each element. Its derivative is 1 where x > 0 and 0
  where x < 0, so it passes a gradient on or stops it.
Sigmoid: The function 1/(1 + exp(-x)), which squeezes any number into (0, 1). Its derivative is
  s(1 - s), at most 1/4, and nearly 0 for large |x|.
Softmax: Turns k logits into k probabilities: exponentials divided by their sum. Subtracting the
  largest logit first changes nothing in the result and keeps the exponentials from overflowing.
CosineAnnealing: A schedule that lowers the learning rate along half a cosine: slowly at first,
  fastest in the middle, slowly again before the end. It has no settings but the number of steps
  and the last rate.
Gradient Clipping: Shortening the gradient before a step where it is too long. Clipping by the
  global norm multiplies the gradients of all parameters by one factor and so keeps the direction;
  clipping each value or tensor by itself turns it.
LayerNorm: Normalisation over the values of one example instead of over the batch. It does the
  same in training and in use and does not depend on the other examples, which is why transformers
  use it.
Warmup: Beginning with a small learning rate that grows to the full one during the first steps.
  Random weights give large gradients that point anywhere; the averages that an optimiser keeps
  are not yet settled, either.
Augmentation: Showing a network random variants of its training pictures, such as shifted or
  mirrored ones, that keep their class. It narrows the gap between training and new data, and what
  may be varied depends on the classes.
Equivariance: A function is equivariant to shifts if shifting its input shifts its output by the
  same amount. Convolutions are, because one filter serves all places.
Intersection over union: Intersection over union (IoU, Jaccard index) of two regions, boxes or
  masks, is the area that they share divided by the area that they cover together. It is 1 for
  equal regions and 0 for disjoint ones.
Label smoothing: Label smoothing takes a small share of the target's probability from the right
  class and spreads it over all classes alike. The classifier is no longer rewarded for logits
  that grow without end.
Mixup: Mixup trains on weighted sums of two examples: of their inputs and, with the same weights,
  of their targets. The weights are random; between the examples the model learns to answer in
  between.
Non-maximum suppression: Non-maximum suppression (NMS) leaves one box for each object: the box
  with the highest score stays, all that overlap it too much go, and so on with the rest.
Pooling: Pooling replaces every window of a map by one number, its largest or its mean, without
  weights. Maps get smaller, and small shifts of the picture matter less.
Receptive field: The receptive field of a neuron is the part of the input that can change its
  value. It grows with every layer, and faster after strides and with dilation.
Residual connection: A residual connection adds a block's input to its output, so that the block
  learns only the difference. Signals and gradients have a way past the block, and very deep
  networks can be trained.
U-Net: A U-Net is a network for answers at every pixel: it goes down to small maps and up again,
  and hands the map of each level over to the way up. So it knows both what is there and where
  exactly.
optuna: Optuna is a library that searches for good hyperparameters: it proposes values, sees the
  score, and proposes better ones. It needs a validation set of its own to choose by; the best of
  many scores is too good to be true.
Distillation: Training a small network (the student) on the answers of a large one (the teacher)
  instead of, or besides, the labels. The teacher's probabilities say more than a label: which
  wrong classes are nearly right.
Head: The last layers of a network, which turn features into the answer of one task. In transfer
  learning the old head is cut off and a new one is trained.
Temperature: The number by which logits are divided before a softmax. Above 1 it makes the
  probabilities more even and shows the order among the unlikely classes; below 1 it makes them
  sharper.
Transfer learning: Using what a network has learned on one task for another one, for which there
  are fewer examples. Two ways: train a head on fixed features (a linear probe), or fine-tune.
Adversarial Attack: A change of an input, too small for people to notice, that is made so that a
  network answers wrongly. The gradient with respect to the input shows the way; a targeted attack
  also chooses the wrong answer.
BM25: A score of a document for a query: rare words of the query that stand in it often, corrected
  for its length. The standard of sparse search, which asks for equal words.
Byte-pair encoding: Byte-pair encoding (BPE) builds a vocabulary of tokens: it begins with single
  bytes and joins, again and again, the pair of neighbours that is most frequent.
Word2Vec: A way to learn vectors of words from running text (2013). Skip-gram takes a word and
  learns to tell its real neighbours from words drawn at random (negative sampling); CBOW guesses
  a word from its neighbours. Words that occur in like company get like vectors.
Attention: A way to look something up by similarity: a query is compared with all keys, the scores
  become weights by a softmax, and the answer is the mean of the values with these weights. A
  decoder asks so at each step what it has to look at in the source.
Beam search: A search for a probable sequence that keeps a fixed number of the best beginnings at
  each step. Width 1 is greedy; a wider beam finds more probable sequences, which are not always
  better ones.
BLEU: A measure of translations: the geometric mean of the shares of n-grams, up to 4, that a
  reference has, too, clipped and added up over a corpus, times a penalty for being too short.
GRU: Gated recurrent unit: a recurrent cell with one state and two gates. The update gate mixes
  the old state with a new one, the reset gate says how much of the old one the new one looks at.
LSTM: Long short-term memory: a recurrent cell with a second state, on which only gates and a sum
  act, so that a gradient can pass through many steps. Three gates let in, forget and let out.
ROUGE: Measures of summaries by the overlap with a reference. ROUGE-L takes the longest common
  subsequence, and the harmonic mean of its shares in both texts.
Teacher forcing: Training a decoder with the right last token as its input at each step, not the
  one that it would have written itself.
Viterbi: An algorithm that finds the best of all paths through a table of tags by keeping, for
  each place and tag, the best path that ends there: time grows with the length, not
  exponentially.
BERT: An encoder of transformer blocks that sees a text from both sides and learned from riddles:
  hidden words, and whether two sentences follow one another. Its vectors are the start for
  classifiers, taggers and search engines.
chrF: A measure of translations: the mean over n of precision and recall of the n-grams of letters
  that a translation shares with a person's, recall counted twice as much. Unlike BLEU it also
  pays for half a word.
Induction head: A head of attention that finds the earlier copy of the present token, and looks at
  what came after it. With a head before it that notes the preceding token it copies what is
  repeated: the simplest learning in context.
KV cache: The keys and values of all tokens so far, which a decoder keeps while it writes, so that
  a new token costs one query instead of a whole text. Its size grows with the text.
MLM: Masked language modelling: a part of the tokens is chosen, most of them are hidden, some
  exchanged, some left, and the network says what stood there. BERT learned so.
Positional Encoding: What tells attention, to which a text is a bag, where a token stands: vectors
  of waves or learned ones that are added, rotations of queries and keys, or numbers added to the
  scores by distance.
Transformer: A network for sequences made of attention, by which tokens exchange, and of small
  networks, in which each token is worked on by itself, with residual connections and norms.
  Nothing in it goes step by step, so all places are computed at once.
"""


def glossary() -> dict[str, str]:
    """Some entries of the glossaries of weeks 01 to 08: {term: text}."""
    lines = re.sub(r"\n +", " ", _GLOSSARY).splitlines()
    return {term: text for term, text in (line.split(": ", 1) for line in lines)}


REFUSAL = "I do not know: the notes do not say."
CITED = re.compile(r"\s*\[\s*\d+(?:\s*,\s*\d+)*\s*\]")  # " [2]", "[1, 3]"
_SMALL_WORDS = """\
a an and are as at be been but by can did do does for from had has have how i in is it its of on or
so than that the their them then there these they this those to was were what when where which who
whose why will with you your not no
в во и из к как на не о от по с со что это у а но за для же ли бы
"""
_SMALL = frozenset(_SMALL_WORDS.split())


def words(text: str) -> list[str]:
    """The words of a text in small letters: runs of letters, digits and underscores."""
    return re.findall(r"\w+", text.lower())


def content_words(text: str) -> set[str]:
    """The words of a text but for small ones, such as articles and prepositions."""
    return set(words(text)) - _SMALL


def sentences(text: str) -> list[str]:
    """A text cut behind each ".", "!" or "?" that white space follows, and at line breaks."""
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n", text) if part.strip()]


def bm25(documents: Sequence[str], k: float = 1.2, b: float = 0.75) -> Callable[[str], np.ndarray]:
    """The scores of all documents for a query, by Okapi BM25 (week 06)."""
    counts = [Counter(words(document)) for document in documents]
    lengths = np.array([one.total() for one in counts])
    frequent = Counter(word for one in counts for word in one)

    def scores(query: str) -> np.ndarray:
        total = np.zeros(len(documents))
        for word in words(query):
            tf = np.array([one[word] for one in counts])
            df = frequent[word]
            weight = np.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
            total += weight * tf * (k + 1) / (tf + k * (1 - b + b * lengths / lengths.mean()))
        return total

    return scores


# -- Gains and their intervals -------------------------------------------------------------------

Row = tuple[str, float, float, float]  # name, difference, low, high


def verdict(low: float, high: float, better: str = "more") -> str:
    """What may be said of a difference with this interval. better: "more" or "less"."""
    if low <= 0 <= high:
        return "none: the interval holds 0"
    return "a gain" if (low > 0) == (better == "more") else "a loss"


def gains(rows: Sequence[Row], better: str = "more") -> str:
    """A table of differences, their intervals, and what may be said of them."""
    wide = max(len(name) for name, *_ in rows)
    lines = [
        f"{name:{wide}}  {d:+.3f}  [{low:+.3f}, {high:+.3f}]  {verdict(low, high, better)}"
        for name, d, low, high in rows
    ]
    return "\n".join(lines)


def gain_plot(rows: Sequence[Row]) -> Axes:
    """Differences as points with their intervals; those that hold 0 are grey."""
    ax = plt.subplots(figsize=(7, 0.5 * len(rows) + 1))[1]
    white = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}
    for y, (_, d, low, high) in enumerate(rows):
        color = "0.55" if low <= 0 <= high else PALETTE[2 if d > 0 else 1]
        ax.plot([low, high], [y, y], color=color, linewidth=3, solid_capstyle="round")
        ax.plot(d, y, "o", color=color, markersize=8)
        ax.annotate(
            f"{d:+.2f}", (d, y), (0, 7), textcoords="offset points", ha="center", bbox=white
        )
    ax.axvline(0, color="black", linewidth=1)
    ax.set(yticks=range(len(rows)), yticklabels=[name for name, *_ in rows])
    ax.set(xlabel="difference of mean scores", ylim=(len(rows) - 0.4, -0.8))
    ax.grid(axis="y", visible=False)
    return ax


def intervals_of(rows: Sequence[tuple[float, float, float]], truth: float) -> Axes:
    """Intervals side by side; those that miss the truth are in another colour."""
    ax = plt.subplots(figsize=(8, 2.8))[1]
    missed = 0
    for x, (d, low, high) in enumerate(rows):
        hit = low <= truth <= high
        missed += not hit
        ax.plot([x, x], [low, high], color=PALETTE[0] if hit else PALETTE[1], linewidth=2)
        ax.plot(x, d, ".", color=PALETTE[0] if hit else PALETTE[1])
    ax.axhline(truth, color="black", linewidth=1)
    ax.set(xlabel="experiment", ylabel="gain", title=f"{missed} of {len(rows)} miss the true gain")
    return ax


# -- Tests of practice_peft ----------------------------------------------------------------------


def slopes_of(
    made: Callable[[], nn.Module], *inputs: torch.Tensor, call: str
) -> dict[str, np.ndarray | None]:
    """The gradients of a module's parameters, by name; None for those that are frozen.

    made: gives the module, which may be a student's. The answer is weighted by numbers from -1 to
    1.3 and summed. Raises CheckFailed where it is no tensor, or hangs on no parameter.
    """
    import torch

    module = made()
    check.parameters_of(module, call)  # or it is no module
    with torch.enable_grad():
        result = module(*inputs)
        if not isinstance(result, torch.Tensor):
            raise CheckFailed(f"{call}: should: give a tensor")
        if not result.requires_grad:
            raise CheckFailed(f"{call}: should: let gradients through to what is trained")
        steps = torch.linspace(-1, 1.3, result.numel(), dtype=result.dtype).reshape(result.shape)
        named = dict(module.named_parameters())
        asked = {name: p for name, p in named.items() if p.requires_grad}
        found = torch.autograd.grad((result * steps).sum(), list(asked.values()), allow_unused=True)
    slopes = {
        name: np.zeros(tuple(p.shape)) if g is None else g.numpy(force=True)
        for (name, p), g in zip(asked.items(), found, strict=True)
    }
    return {name: slopes.get(name) for name in named}


def answer_in_eval(made: Callable[[], nn.Module], x: torch.Tensor, *, call: str) -> Any:
    """What a module answers in eval mode, plain; it gets back its mode."""
    module = made()
    check.parameters_of(module, call)  # or it is no module
    was = module.training
    try:
        return check.answer(module.eval().forward, x, call=call)
    finally:
        module.train(was)


def part_of(function: Callable[..., Any], key: str) -> Callable[..., Any]:
    """A function that gives one value of the table that the function gives."""

    def part(*arguments: Any) -> Any:
        table = function(*arguments)
        if not isinstance(table, dict) or key not in table:
            raise CheckFailed(f"should: give a table with {key}")
        return table[key]

    return part


def tiny_projections(layers: int, d: int, seed: int, dtype: Any = None) -> nn.Module:
    """A small network whose layers have linear maps `q_proj`, `v_proj` and `out`.

    x: (n, t, d) -> (n, t, d).
    """
    import torch
    from torch import nn

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(d)
            self.q_proj = nn.Linear(d, d + 1)
            self.v_proj = nn.Linear(d, d + 1, bias=False)
            self.out = nn.Linear(d + 1, d)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.norm(x)
            return x + self.out(torch.tanh(self.q_proj(h)) * self.v_proj(h))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(Layer() for _ in range(layers))
            self.q_proj = nn.LayerNorm(d)  # called like a linear map, and none

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                x = layer(x)
            return self.q_proj(x)

    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    network = Network()
    torch.random.set_rng_state(state)
    return network.to(dtype or torch.float64)


# -- Models --------------------------------------------------------------------------------------


def hub_model(name: str) -> tuple[Any, Any]:
    """A larger open model of the hub, and its tokenizer: for `full`, with a network."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name)


# -- Measures ------------------------------------------------------------------------------------


class Originals:
    """Layers of a model as they are now, to be put back whatever is done to them later."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        """Remember the places, and copies of the weights, of the layers with these own names."""
        self.kept = [
            (parent, name, layer, layer.weight, layer.weight.detach().clone())
            for parent in model.modules()
            for name, layer in parent.named_children()
            if name in names
        ]

    def restore(self) -> None:
        """Put the layers back into their places, with the weights that they had."""
        for parent, name, layer, weight, copied in self.kept:
            setattr(parent, name, layer)
            weight.data.copy_(copied)
            layer.weight = weight

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """In the block the layers are as they were; after it what was there comes back."""
        now = [
            (getattr(parent, name), layer.weight, layer.weight.detach().clone())
            for parent, name, layer, *_ in self.kept
        ]
        self.restore()
        try:
            yield
        finally:
            for (parent, name, layer, *_), (there, weight, copied) in zip(
                self.kept, now, strict=True
            ):
                layer.weight = weight
                weight.data.copy_(copied)
                setattr(parent, name, there)


def paired_interval(
    before: Sequence[float], after: Sequence[float], level: float = 0.95, draws: int = 4000
) -> tuple[float, float, float]:
    """The mean gain on the same questions, and its bootstrap interval: questions drawn in pairs."""
    gain = np.asarray(after, dtype=float) - np.asarray(before, dtype=float)
    picked = np.random.default_rng(0).integers(0, len(gain), size=(draws, len(gain)))
    low, high = np.quantile(gain[picked].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(gain.mean()), float(low), float(high)


# -- A policy that adds --------------------------------------------------------------------------


class Sums:
    """Two-digit sums as rows of digits: the last digits first, and the answer from its end.

    47 + 85 = 132 is asked as 7 5 4 8 and answered as 2 3 1. A tenth of the 10,000 questions is held
    out: `draw` never gives them, `held_out` gives nothing else.
    """

    def __init__(self) -> None:
        order = np.random.default_rng(9).permutation(10_000)
        self._test, self._train = order[:1000], order[1000:]

    def _rows(self, picked: np.ndarray) -> torch.Tensor:
        import torch

        a, b = picked // 100, picked % 100
        return torch.from_numpy(np.stack([a % 10, b % 10, a // 10, b // 10], axis=1))

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """n questions to learn from: (n, 4)."""
        import torch

        picked = torch.randint(len(self._train), (n,), generator=generator)
        return self._rows(self._train[picked.numpy()])

    def held_out(self, n: int = 1000) -> torch.Tensor:
        """The first n of the questions that are held out: (n, 4)."""
        return self._rows(self._test[:n])

    @staticmethod
    def answers(questions: torch.Tensor) -> torch.Tensor:
        """The right answers: (n, 4) -> (n, 3)."""
        import torch

        total = questions[:, 0] + questions[:, 1] + 10 * (questions[:, 2] + questions[:, 3])
        return torch.stack([total // 10**k % 10 for k in range(3)], dim=1)

    @staticmethod
    def text(question: Sequence[int], answer: Sequence[int]) -> str:
        """As people write it: "47 + 85 = 132"."""
        a, b, c, d = (int(v) for v in question)
        return f"{c}{a} + {d}{b} = " + "".join(str(int(v)) for v in reversed(list(answer)))


# -- Drawings of practice_peft -------------------------------------------------------------------


def mask_picture(tokens: Sequence[str], labels: Sequence[int], width: int = 78) -> Axes:
    """A conversation token by token; those that count in the loss are filled."""
    rows: list[list[tuple[int, str, bool]]] = [[]]
    place = 0
    for token, label in zip(tokens, labels, strict=True):
        shown = token.replace("\n", "⏎").replace(" ", "·")
        if place + len(shown) > width:
            rows.append([])
            place = 0
        rows[-1].append((place, shown, label >= 0))
        place += len(shown) + 1
    _, ax = plt.subplots(figsize=(10, 0.42 * len(rows) + 0.4))
    for i, row in enumerate(rows):
        for x, text, counts in row:
            box = {"facecolor": PALETTE[5] if counts else "0.94", "edgecolor": "none", "pad": 2.0}
            ax.text(x, -i, text, family="monospace", fontsize=9, va="center", bbox=box)
    ax.set(xlim=(-1, width + 2), ylim=(0.6 - len(rows), 0.6))
    ax.axis("off")
    return ax


def rank_picture(losses: Mapping[int, Sequence[float]], floors: Mapping[int, float]) -> Figure:
    """The error of adapters of several ranks, by step, with the floor that each rank has."""
    figure, ax = plt.subplots(figsize=(7.5, 4.2))
    for (rank, values), colour in zip(losses.items(), PALETTE, strict=False):
        ax.plot(values, color=colour, lw=2, label=f"rank {rank}")
        if floors[rank] > 0:
            ax.axhline(floors[rank], color=colour, ls=":", lw=1.2)
    ax.set(xlabel="step", ylabel="squared error", yscale="log", title="What a rank can learn")
    ax.legend(frameon=False, ncols=2)
    return figure


def prefix_picture(weights: np.ndarray, prefix: int) -> Axes:
    """Attention weights of one head; the columns left of the line are the prefix."""
    _, ax = plt.subplots(figsize=(5.6, 3.4))
    image = ax.imshow(weights, cmap="Blues", vmin=0, aspect="auto")
    ax.axvline(prefix - 0.5, color=PALETTE[1], lw=2)
    ax.set(xlabel="key: prefix | text", ylabel="query", title="A prefix that all queries see")
    columns = [f"p{i + 1}" for i in range(prefix)]
    columns += [str(i) for i in range(weights.shape[1] - prefix)]
    ax.set_xticks(range(weights.shape[1]), columns)
    ax.grid(False)
    plt.colorbar(image, ax=ax, label="weight")
    return ax


def strengths_picture(planted: np.ndarray, found: Mapping[int, np.ndarray]) -> Figure:
    """Strengths that were planted against those found, for several numbers of games."""
    figure, axes = plt.subplots(1, len(found), figsize=(3.5 * len(found), 3.5), sharey=True)
    low, high = planted.min() - 0.4, planted.max() + 0.4
    for ax, (games, values) in zip(np.ravel(axes), found.items(), strict=True):
        ax.plot([low, high], [low, high], color="0.6", ls=":")
        ax.scatter(planted, values, s=30)
        error = float(np.sqrt(np.mean((planted - values) ** 2)))
        ax.set(title=f"{games} games a pair, error {error:.2f}", xlabel="planted strength")
    np.ravel(axes)[0].set_ylabel("found strength")
    return figure


def tilt_picture(
    betas: np.ndarray, optimum: Mapping[float, np.ndarray], trained: Mapping[float, Any]
) -> Axes:
    """The probability of the preferred answer against beta: in closed form, and as trained."""
    _, ax = plt.subplots(figsize=(7.0, 4.0))
    for (share, curve), colour in zip(optimum.items(), PALETTE, strict=False):
        ax.plot(betas, curve, color=colour, label=f"preferred in {share:.0%}")
        points = trained[share]
        ax.plot(list(points), list(points.values()), "o", color=colour)
    ax.set(xscale="log", xlabel=r"$\beta$", ylabel="probability of answer A", ylim=(0, 1.03))
    ax.set_title("Dots: trained by your loss. Lines: closed form")
    ax.legend(frameon=False)
    return ax


def clip_picture(ratio: np.ndarray, terms: Mapping[str, np.ndarray], clip: float) -> Figure:
    """What one token adds to the objective, against the ratio of its probabilities."""
    figure, axes = plt.subplots(1, len(terms), figsize=(9.0, 3.4))
    for ax, (name, values) in zip(np.ravel(axes), terms.items(), strict=True):
        ax.plot(ratio, values, lw=2)
        ax.axvspan(1 - clip, 1 + clip, color=PALETTE[5], alpha=0.25, lw=0)
        ax.axvline(1, color="0.6", ls=":")
        ax.set(title=name, xlabel="new / old probability", ylabel="objective")
    return figure


def reward_picture(
    runs: Mapping[int, Sequence[float]], useful: Mapping[int, Sequence[float]], window: int = 10
) -> Figure:
    """The mean reward by step of each seed, and the share of groups that teach something."""
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.9))
    kernel = np.ones(window) / window
    for ax, series in zip(axes, (runs, useful), strict=True):
        for (seed, values), colour in zip(series.items(), PALETTE, strict=False):
            ax.plot(values, color=colour, alpha=0.2, lw=1)
            smooth = np.convolve(values, kernel, mode="valid")
            steps = np.arange(len(smooth)) + window - 1
            ax.plot(steps, smooth, color=colour, lw=2, label=f"seed {seed}")
        ax.set(xlabel="step", ylim=(0, 1.02))
    axes[0].set(ylabel="mean reward", title="Right answers among those drawn")
    axes[1].set(ylabel="share of groups", title="Groups that are not unanimous")
    axes[0].legend(frameon=False, loc="lower right")
    return figure


def memory_picture(table: Mapping[str, Mapping[str, float]]) -> Axes:
    """Stacked bars of megabytes, a bar for each way to train."""
    _, ax = plt.subplots(figsize=(8.5, 0.7 * len(table) + 1.4))
    places = np.arange(len(table))[::-1]
    left = np.zeros(len(table))
    for part, colour in zip(next(iter(table.values())), PALETTE, strict=False):
        values = np.array([row[part] for row in table.values()]) / 2**20
        ax.barh(places, values, left=left, height=0.55, color=colour, label=part)
        left += values
    for place, total in zip(places, left, strict=True):
        ax.text(total + left.max() * 0.01, place, f"{total:.0f}", va="center")
    ax.set_yticks(places, list(table))
    ax.set(xlabel="MiB", xlim=(0, left.max() * 1.12))
    ax.grid(False, axis="y")
    ax.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax


def gains_picture(rows: Mapping[str, tuple[float, float, float]]) -> Axes:
    """Gains with their intervals; those that hold 0 are grey."""
    _, ax = plt.subplots(figsize=(8.0, 0.5 * len(rows) + 1.2))
    for place, (mean, low, high) in zip(range(len(rows))[::-1], rows.values(), strict=True):
        colour = "0.55" if low <= 0 <= high else PALETTE[0]
        ax.plot([low, high], [place, place], color=colour, lw=3, solid_capstyle="butt")
        ax.plot(mean, place, "o", color=colour, ms=8)
    ax.axvline(0, color="0.3", lw=1)
    ax.set_yticks(range(len(rows))[::-1], list(rows))
    ax.set(xlabel="gain in the share of right answers, 95 % interval", ylim=(-0.6, len(rows) - 0.4))
    ax.grid(False, axis="y")
    return ax


def loss_picture(losses: Sequence[float]) -> Axes:
    """A loss by step."""
    _, ax = plt.subplots(figsize=(7.0, 3.2))
    ax.plot(losses, color=PALETTE[0], lw=2)
    ax.set(xlabel="step", ylabel="loss", ylim=(0, None))
    return ax
