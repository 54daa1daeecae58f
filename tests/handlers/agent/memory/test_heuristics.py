"""What patterns find in a sentence, and above all what they must not find."""

from __future__ import annotations

import pytest

from handlers.agent.memory.heuristics import (
    Fact,
    describe,
    find_fact,
    find_keywords,
    has_many_values,
    has_one_value,
    is_state,
    may_hold_facts,
    normalise,
    normalise_attribute,
    replaces,
    same_value,
    takes_back,
)


@pytest.mark.parametrize(
    ("sentence", "subject", "attribute", "value"),
    [
        ("The code of the garage is 4411", "garage", "code", "4411"),
        ("the garage code is 4411.", "garage", "code", "4411"),
        ("The garage’s code is 4411", "garage", "code", "4411"),
        ("Remember that the garage's code is now 5522!", "garage", "code", "5522"),
        ("My birthday is on 3 May", "anna", "birthday", "on 3 may"),
        ("Anna's date of birth is 3 May", "anna", "birthday", "3 may"),
        ("I was born on 3 May", "anna", "birthday", "3 may"),
        ("my sister's birthday is 4 July", "anna's sister", "birthday", "4 july"),
        ("the birthday of my sister is 4 July", "anna's sister", "birthday", "4 july"),
        ("I like coffee", "anna", "opinion of coffee", "likes"),
        ("I hate coffee", "anna", "opinion of coffee", "dislikes"),
        ("I don't like coffee", "anna", "opinion of coffee", "dislikes"),
        ("Tom really loves coffee", "tom", "opinion of coffee", "likes"),
        ("I'm allergic to nuts", "anna", "allergy", "nuts"),
        ("My son Max is allergic to milk", "max", "allergy", "milk"),
        ("Tom lives in Berlin", "tom", "address", "berlin"),
        ("we live at 5 Elm Street", "household", "address", "5 elm street"),
        ("my favorite color is blue", "anna", "favourite colour", "blue"),
        ("Anna's phone number is 55512", "anna", "phone number", "55512"),
        ("the spare key is under the mat", "spare key", "location", "under mat"),
        ("my passport is in the top drawer", "anna's passport", "location", "in top drawer"),
        ("my dog is called Rex", "anna's dog", "name", "rex"),
        ("Leo is 7 years old", "leo", "age", "7"),
        ("the bin collection is on Tuesday", "bin collection", "time", "on tuesday"),
    ],
)
def test_facts(sentence: str, subject: str, attribute: str, value: str) -> None:
    fact = find_fact(sentence, "Anna")
    assert fact is not None
    assert (fact.subject, fact.attribute, fact.value) == (subject, attribute, value)


@pytest.mark.parametrize(
    "sentence",
    [
        "the light is on",
        "the kitchen light is off now",
        "the door is locked",
        "it's raining",
        "what is the code of the garage?",
        "he likes tea",
        "their address is 5 Elm Street",
        "I would like a coffee",
        "I'd like coffee",
        "I think Tom lives in Berlin",
        "I like it",
        "my birthday is not on 3 May",
        "turn on the light",
        "",
        "the code of " * 40 + " is 1",
    ],
)
def test_what_is_no_fact(sentence: str) -> None:
    assert find_fact(sentence, "Anna") is None


@pytest.mark.parametrize(
    "sentence", ["my birthday is 3 May", "I like coffee", "I live in Berlin", "my dog is called Rex"]
)
def test_nobody_knows_who_an_unknown_voice_is(sentence: str) -> None:
    assert find_fact(sentence) is None


def test_facts_about_things_need_no_speaker() -> None:
    assert find_fact("the code of the garage is 4411") == Fact("garage", "code", "4411")


@pytest.mark.parametrize(
    "sentence", ["Der Code der Garage ist 4411", "Mein Geburtstag ist am 3. Mai", "Mi cumpleaños es el 3 de mayo"]
)
def test_other_languages_have_keywords_but_no_facts(sentence: str) -> None:
    meaning = describe(sentence, "Anna")
    assert meaning.keywords
    assert (meaning.subject, meaning.attribute) == ("", "")


CONTRADICTIONS = [
    ("the garage code is 4411", "the code of the garage is 5522"),
    ("my birthday is 3 May", "Anna's birthday is on 4 May"),
    ("I like coffee", "I hate coffee"),
    ("Anna likes coffee", "I don't like coffee any more"),
    ("I live in Berlin", "I moved to Paris"),
    ("my favourite colour is blue", "my favorite color is red"),
    ("the spare key is under the mat", "the spare key is now at Tom's"),
    ("Anna's doctor is Berg", "my doctor is now Lind"),
    ("my dog is called Rex", "the name of my dog is Bo"),
]


@pytest.mark.parametrize(("old", "new"), CONTRADICTIONS)
def test_contradictions(old: str, new: str) -> None:
    before, after = find_fact(old, "Anna"), find_fact(new, "Anna")
    assert before is not None
    assert after is not None
    assert replaces(after, before)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("I am allergic to nuts", "I am allergic to fish"),
        ("my child is Max", "my child is Mia"),
        ("my hobby is chess", "my hobby is now football"),
        ("Anna likes coffee", "Tom hates coffee"),
        ("I like coffee", "I hate tea"),
        ("I like dogs", "I like cats"),
        ("Anna's birthday is 3 May", "Tom's birthday is 4 June"),
        ("my birthday is 3 May", "my sister's birthday is 4 July"),
        ("the garage code is 4411", "the front door code is 5522"),
        ("my birthday is 3 May", "I was born on 3 May 1990"),
        ("I live in Berlin", "I live at 5 Elm Street in Berlin"),
        ("my birthday is on the 3rd of May", "my birthday is 3 May"),
        ("Anna's doctor is Berg", "Anna's doctor is Lind"),
        ("the bin collection is on Tuesday", "the bin collection is on Friday"),
        ("I like coffee", "I love coffee"),
    ],
)
def test_what_may_both_be_true(old: str, new: str) -> None:
    before, after = find_fact(old, "Anna"), find_fact(new, "Anna")
    assert before is not None
    assert after is not None
    assert not replaces(after, before)


def test_on_and_off_are_states_and_contradict_nothing() -> None:
    assert is_state("The light is on")
    assert is_state("the kitchen light is now turned off.")
    assert is_state("Anna is away")
    assert not is_state("the spare key is under the mat")
    assert not is_state("I hate coffee")


def test_keywords_are_names_and_numbers_first() -> None:
    assert find_keywords("Remember that the spare key is with Mrs. Berg in Graz") == (
        "mrs",
        "berg",
        "graz",
        "spare",
        "key",
    )
    assert find_keywords("Anna's flight lands at 18:05 on Friday")[0] in {"18", "friday"}
    assert find_keywords("is it on?") == ()


def test_keywords_have_a_bound() -> None:
    assert len(find_keywords(" ".join(f"word{number}" for number in range(100)))) == 8


def test_normalised_forms() -> None:
    assert normalise("The  Garage’s «Code»!") == "garage's code"
    assert normalise("WiFi Name") == normalise("Wi-Fi name")
    assert normalise_attribute("Date of Birth") == normalise_attribute("birthday")
    assert same_value("the 3rd of May", "3 may")
    assert not same_value("3 May", "4 May")


def test_cardinality() -> None:
    assert has_one_value("garage code")
    assert has_one_value("opinion of coffee")
    assert has_many_values("food allergy")
    assert not has_one_value("doctor")
    assert takes_back("I'm no longer allergic to nuts")
    assert takes_back("I don't eat meat anymore")
    assert not takes_back("I am allergic to nuts")


@pytest.mark.parametrize(
    ("words", "worth"),
    [
        ("turn on the light", False),
        ("set my alarm for six", False),
        ("what's the weather like today", False),
        ("who is the mayor of Berlin", False),
        ("when is my birthday", False),
        ("thank you very much", False),
        ("good night everybody", False),
        ("yes please", False),
        ("my birthday is 3 May", True),
        ("call me Annie from now on", True),
        ("Anna's flight lands at six", True),
        ("What can I cook tonight? Anna is vegetarian.", True),
        ("meine Schwester wohnt in Graz", True),
    ],
)
def test_what_is_worth_asking_a_model_about(words: str, worth: bool) -> None:
    assert may_hold_facts(words) is worth
