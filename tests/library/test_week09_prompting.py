"""Week 09's prompting: its template, what writes texts, the sums, the glossary, the drawings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from practical_dl.weeks import week09

WEEKS = Path(__file__).parents[2] / "weeks"


class Letters:
    """A tokenizer of single letters; "." ends a turn."""

    eos_token_id = 46

    def __call__(self, text: str, add_special_tokens: bool = True) -> Any:
        return type("Ids", (), {"input_ids": [ord(letter) for letter in text]})

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        return "".join(map(chr, ids))


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config).eval()


# -- A chat and what writes -----------------------------------------------------------------------


def test_the_template_puts_the_systems_turn_before_others() -> None:
    template = jinja2.Template(week09.TEMPLATE)
    made = template.render(messages=[{"role": "user", "content": "Hi"}], add_generation_prompt=True)
    assert made == (
        f"<|im_start|>system\n{week09.SYSTEM}<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert template.render(messages=[], add_generation_prompt=False) == ""


@pytest.mark.parametrize("prompts", [["what is", "what was it", "who"], ["abc"], ["ab", "xyz"]])
def test_a_batch_writes_what_each_prompt_writes_alone(
    model: LlamaForCausalLM, prompts: list[str]
) -> None:
    found = week09.generate(model, Letters(), prompts, tokens=9, stop="")
    for prompt, (text,) in zip(prompts, found, strict=True):
        ids = [ord(letter) for letter in prompt]
        for _ in range(9):
            with torch.inference_mode():
                token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
            if token == Letters.eos_token_id:
                break
            ids.append(token)
        assert text == "".join(map(chr, ids[len(prompt) :])).strip()


def test_samples_follow_the_seed_and_the_temperature(model: LlamaForCausalLM) -> None:
    options: dict[str, Any] = {"tokens": 8, "samples": 4, "stop": ""}
    cold = week09.generate(model, Letters(), ["abc", "abd"], **options)
    assert all(len(set(texts)) == 1 for texts in cold)
    warm, same, other = (
        week09.generate(model, Letters(), ["abc", "abd"], temperature=2.0, seed=seed, **options)
        for seed in (1, 1, 2)
    )
    assert warm == same != other
    assert [len(texts) for texts in warm] == [4, 4]
    assert len(set(warm[0])) > 1


def test_a_text_ends_before_its_stop(model: LlamaForCausalLM) -> None:
    (whole,) = week09.generate(model, Letters(), ["question"], tokens=12, stop="")[0]
    stop = whole[4]
    (cut,) = week09.generate(model, Letters(), ["question"], tokens=12, stop=stop)[0]
    assert cut == whole.split(stop)[0].strip()


# -- Sums and the glossary ------------------------------------------------------------------------


def test_sums_are_right_and_differ() -> None:
    made = week09.sums(40, seed=1)
    assert len({one.question for one in made}) == 40
    assert made == week09.sums(40, seed=1) != week09.sums(40, seed=2)
    for one in made:
        a, sign, b, _, c = one.solution.split()
        assert int(c) == one.answer == int(a) + (1 if sign == "+" else -1) * int(b) > 0
        assert [int(x) for x in re.findall(r"\d+", one.question)] == [int(a), int(b)]


def test_the_examples_hold_no_test() -> None:
    tests = {one.question for one in week09.sums(200, seed=1)}
    assert not tests & {one.question for one in week09.sums(8, seed=2)}


def test_the_glossary_is_the_courses_own() -> None:
    """Where a week's glossary was changed, change the entry in `week09._GLOSSARY`, too."""
    real = {}
    for file in sorted(WEEKS.glob("week0[1-8]*/glossary.md")):
        for entry in file.read_text().split("\n## ")[1:]:
            term, text = entry.split("\n", 1)
            real[term] = re.sub(r"[*`]", "", " ".join(text.split()))
    for term, text in week09.glossary().items():
        assert text == real[term], term


def test_questions_ask_for_terms_of_the_glossary() -> None:
    terms = set(week09.glossary())
    assert {one.term for one in week09.QUESTIONS} - {""} <= terms
    assert {one.term for one in week09.RUSSIAN} <= terms
    assert sum(not one.term for one in week09.QUESTIONS) == 8
    for one in week09.QUESTIONS:
        assert not one.term or one.term.lower() not in one.text.lower()


def test_words_and_sentences() -> None:
    assert week09.words("It's ЁЖ-2!") == ["it", "s", "ёж", "2"]
    assert week09.content_words("What is the Loss of a net?") == {"loss", "net"}
    assert week09.sentences("A b. C 3.5 d!\nE? ") == ["A b.", "C 3.5 d!", "E?"]
    assert week09.CITED.sub("", "a [1], b[2, 3] [x]") == "a, b [x]"


def test_bm25_prefers_rare_words_and_short_documents() -> None:
    scores = week09.bm25(["the cat", "the dog and the bird in the tree", "the dog"])
    assert np.argsort(-scores("cat"))[0] == 0
    assert scores("dog")[2] > scores("dog")[1] > scores("dog")[0] == 0
    assert scores("cat")[0] > scores("the")[0]
    assert not scores("fish").any()


# -- Gains ----------------------------------------------------------------------------------------


def test_a_gain_is_named_by_its_interval() -> None:
    assert week09.verdict(-0.1, 0.2) == week09.verdict(0.0, 0.2) == "none: the interval holds 0"
    assert week09.verdict(0.1, 0.2) == week09.verdict(-0.2, -0.1, "less") == "a gain"
    assert week09.verdict(-0.2, -0.1) == week09.verdict(0.1, 0.2, "less") == "a loss"
    table = week09.gains([("a", 0.5, 0.25, 0.75), ("long name", -0.1, -0.3, 0.1)])
    assert table.splitlines()[0] == "a          +0.500  [+0.250, +0.750]  a gain"
    assert table.splitlines()[1].endswith("none: the interval holds 0")


def test_drawings_have_a_mark_for_each_row() -> None:
    ax = week09.gain_plot([("a", 0.5, 0.25, 0.75), ("b", -0.1, -0.3, 0.1)])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    ax = week09.intervals_of([(0.1, 0.0, 0.2), (0.5, 0.4, 0.6)], 0.1)
    assert ax.get_title() == "1 of 2 miss the true gain"
    plt.close("all")
