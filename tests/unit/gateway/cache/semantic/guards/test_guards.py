"""Each guard in both directions: pairs that one answer serves, and pairs that only look alike."""

from __future__ import annotations

import pytest

from gateway.cache.semantic.guards import GUARDS, VERIFIABLE, failed, features_of
from tests.bench.traps import EDITS, traps

SAME = [
    ("How do I bake sourdough bread?", "how can I bake sourdough bread"),
    ("What's the best way to bake sourdough bread?", "How should one bake sourdough bread?"),
    ("How can I improve my Spanish?", "How do I improve my Spanish"),
    ("How can I boost my Spanish?", "How do I improve my Spanish?"),
    ("How far is 5 km?", "How far is 5 kilometers?"),
    ("Can I run 10,000 m?", "can I run 10000 metres"),
    ("What can I buy for $20?", "What can I buy for 20 dollars?"),
    ("What did I win in twenty-five games?", "What did I win in 25 games?"),
    ("Who came 2nd in the Giro?", "Who came second in the Giro?"),
    ("Which iPhone7 case fits?", "Which iPhone 7 case fits?"),
    ("What ended World War II?", "What ended World War 2?"),
    ("What happened in Jan 1990?", "What happened in January 1990?"),
    ("Why don't cats like water?", "Why do cats not like water?"),
    ("Is Mars habitable or not?", "Is Mars habitable?"),
    ("Is Anna or Bob taller?", "Is Bob or Anna taller?"),
    ("What joins machine learning and big data?", "What joins big data and machine learning?"),
    ("What is the difference between tea and coffee?", "What is the difference between coffee and tea?"),
    ("In Peru, how can I rent a bike?", "How can I rent a bike in Peru?"),
    ("What is the colour of copper?", "What is the color of copper?"),
    ("Who were the leaders of ancient Sparta?", "Who was the leader of ancient Sparta?"),
    ("How do I get to the Uffizi?", "How do you get to the Uffizi?"),
    ("How does one visit Petra?", "How do I visit Petra?"),
    ("What does Pericles argue?", "What do Pericles argue?"),
    ("How do I get to Zanzibbar?", "How do I get to Zanzibar?"),
]
DIFFERENT = [
    ("numbers", "What can I buy for $20?", "What can I buy for $25?"),
    ("numbers", "What can I buy for $20?", "What can I buy for 20 euros?"),
    ("numbers", "Is 5 kg a lot?", "Is 5 lbs a lot?"),
    ("numbers", "What is new in Python 3.1?", "What is new in Python 3.10?"),
    ("numbers", "What is new in iOS 16?", "What is new in iOS17?"),
    ("numbers", "Who won in 1998?", "Who won in 2002?"),
    ("numbers", "Who came 2nd?", "Who came third?"),
    ("numbers", "Can I retire in two years?", "Can I retire in one year?"),
    ("numbers", "What opens in May?", "What opens in June?"),
    ("numbers", "What opens on Monday?", "What opens on Sunday?"),
    ("numbers", "Who started World War I?", "Who started World War II?"),
    ("numbers", "Is 3 million enough?", "Is 3 thousand enough?"),
    ("numbers", "Is -5 degrees cold?", "Is 5 degrees cold?"),
    ("numbers", "Is a half enough?", "Is a quarter enough?"),
    ("polarity", "Should I invest in gold?", "Should I not invest in gold?"),
    ("polarity", "Why does ice float?", "Why doesn't ice float?"),
    ("polarity", "Can I fly with a passport?", "Can I fly without a passport?"),
    ("polarity", "How do I increase blood pressure?", "How do I lower blood pressure?"),
    ("polarity", "What are the pros of nuclear power?", "What are the cons of nuclear power?"),
    ("polarity", "Is it legal to busk?", "Is it illegal to busk?"),
    ("polarity", "What is the best pizza?", "What is the worst pizza?"),
    ("polarity", "Are all swans white?", "Are some swans white?"),
    ("polarity", "How do I turn on a Volvo radio?", "How do I turn off a Volvo radio?"),
    ("polarity", "Does he snore?", "Does she snore?"),
    ("names", "How do I rent a bike in Peru?", "How do I rent a bike in Chile?"),
    ("names", "how do i rent a bike in peru", "how do i rent a bike in chile"),
    ("names", "How do I rent a bike?", "How do I rent a bike in Peru?"),
    ("names", "Is vitamin C good?", "Is vitamin D good?"),
    ("names", "How hard is C++?", "How hard is C#?"),
    ("names", "Who is Mark's wife in the film?", "Who is Bill's wife in the film?"),
    ("names", 'What does "break even" mean?', 'What does "break in" mean?'),
    ("names", "Is Austria rich?", "Is Australia rich?"),
    ("names", "Who rules in the US?", "Who rules in the UK?"),
    ("names", "Is US steel strong?", "Is steel strong?"),
    ("names", "Чем известен Толстой?", "Чем известен Чехов?"),
    ("names", "कि का अर्थ", "की का अर्थ"),
    ("scope", "How do I clean a window?", "How do I clean a broken car window?"),
    ("scope", "What does a nurse earn?", "What does a nurse earn in a small town?"),
    ("wording", "How do I make a quill pen?", "How do I use a quill pen?"),
    ("wording", "How do I clean a window?", "How do I clean a car window?"),
    ("wording", "What are the effects of smoking?", "What are the side effects of smoking?"),
    ("wording", "How do I become a lawyer?", "How do I become a nurse?"),
    ("form", "How do planes fly?", "Why do planes fly?"),
    ("form", "When does Venus rise?", "Where does Venus rise?"),
    ("form", "How much salt is in bread?", "How old is bread?"),
    ("form", "Summarize the French Revolution", "List the French Revolution"),
    ("form", "What happens if I eat soap?", "Can I eat soap?"),
    ("form", "Should I refinance?", "Can I refinance?"),
    ("tense", "Who is the king of Sparta?", "Who was the king of Sparta?"),
    ("tense", "Does the sun burn out?", "Will the sun burn out?"),
    ("persons", "Does he trust me?", "Do I trust him?"),
    ("persons", "What is your name?", "What is my name?"),
    ("roles", "When did Athens attack Sparta?", "When did Sparta attack Athens?"),
    ("roles", "How do I convert PDF to Word?", "How do I convert Word to PDF?"),
    ("roles", "Is Java faster than Rust?", "Is Rust faster than Java?"),
    ("roles", "Was Athens beaten by Sparta?", "Was Sparta beaten by Athens?"),
    ("roles", "Did Athens fear Sparta and Corinth?", "Did Sparta fear Athens and Corinth?"),
    ("roles", "Should I stretch before running?", "Should I stretch during running?"),
    ("roles", "Is 1/2 in lowest terms?", "Is 2/1 in lowest terms?"),
    ("roles", "Do dogs fear cats?", "Do cats fear dogs?"),
    ("roles", "How do I fly from Oslo to Rome?", "How do I fly from Rome to Oslo?"),
    ("roles", "How long is the train from Oslo?", "How long is the train to Oslo?"),
    ("length", "Why?", "Why would that ever have been so for them both here?"),
]
REAL = [
    # BANKING77 (CC BY 4.0, Casanueva et al. 2020), and sentences of ours.
    "I am still waiting on my card?",
    "What can I do if my card still hasn't arrived after 2 weeks?",
    "How do I learn to juggle three balls?",
    "Why does my bread not rise in winter?",
    "Why do owls hunt at night?",
    "Should I buy a house before I marry?",
    "what is the best soil for tomatoes",
    "How can I increase the range of a router?",
    "Where does the Nile begin?",
]


@pytest.mark.parametrize(("asked", "stored"), SAME)
def test_what_one_answer_serves_passes_every_guard(asked: str, stored: str) -> None:
    assert failed(features_of(asked), features_of(stored)) == ()


@pytest.mark.parametrize(("guard", "asked", "stored"), DIFFERENT)
def test_what_differs_in_a_guards_matter_is_refused_by_it(guard: str, asked: str, stored: str) -> None:
    one, other = features_of(asked), features_of(stored)

    assert guard in failed(one, other)
    assert failed(one, other) == failed(other, one)


def test_every_guard_has_a_pair_that_only_it_explains() -> None:
    assert {guard for guard, _, _ in DIFFERENT} == {name for name, _ in GUARDS}


def test_no_trap_passes_the_final_guards() -> None:
    found = list(traps(REAL * 8, seed=11))

    assert {trap.kind for trap in found} == set(EDITS)
    final = {name for name, _ in GUARDS} - VERIFIABLE
    passed = [trap for trap in found if final.isdisjoint(failed(features_of(trap.original), features_of(trap.edited)))]
    assert passed == []


def test_traps_are_the_same_for_the_same_seed() -> None:
    assert list(traps(REAL, seed=5)) == list(traps(REAL, seed=5))
    assert list(traps(REAL, seed=5)) != list(traps(REAL, seed=6))
