"""Words that the heuristics of the memory go by, in English unless it says otherwise."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ONE_VALUE = _words(
    "address birthday name surname nickname age code pin phone number email location height weight size bedtime job "
    "employer workplace school username ssid spouse husband wife"
)
"""Attributes with one value at a time; 'door code' counts as its last word."""

MANY_VALUES = _words(
    "allergy intolerance child children kid kids son sons daughter daughters brother brothers sister sisters sibling "
    "siblings friend friends pet pets dog dogs cat cats hobby hobbies language languages medication medicine medicines "
    "appointment appointments"
)
"""Attributes whose values stand side by side."""

SAME_ATTRIBUTE = {
    "date of birth": "birthday",
    "birth date": "birthday",
    "birthdate": "birthday",
    "day of birth": "birthday",
    "home address": "address",
    "residence": "address",
    "home": "address",
    "allergies": "allergy",
    "phone": "phone number",
    "telephone number": "phone number",
    "mobile number": "phone number",
    "cell number": "phone number",
    "e-mail": "email",
    "e-mail address": "email",
    "email address": "email",
    "first name": "name",
    "place": "location",
    "whereabouts": "location",
}

SPELLINGS = {"favorite": "favourite", "color": "colour", "wi-fi": "wifi", "grey": "gray"}

ARTICLES = _words("the a an")

FILLERS = _words("on of at in to is are and very also")
"""What a value may have or lack without being another value: 'on 3 May', '3rd of May'."""

NUMBERS = {
    word: str(number)
    for words in (
        "one two three four five six seven eight nine ten eleven twelve",
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth",
    )
    for number, word in enumerate(words.split(), 1)
}
"""Spoken numbers, as far as dates and ages need them most."""

STATES = _words(
    "on off open opened closed shut locked unlocked running done ready finished empty full playing paused armed "
    "disarmed up down hot cold warm dark bright loud quiet here there home away asleep awake busy free "
    "available unavailable"
)
"""Of a thing at this moment: no fact to keep, and no contradiction of one."""

TIMES = _words(
    "monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays thursdays fridays saturdays "
    "sundays january february march april may june july august september october november december noon midnight "
    "tomorrow today spring summer autumn winter"
)

SELF = _words("i me my mine")
"""Who speaks."""

TOGETHER = _words("we us our")
"""Who speaks and those who live with them."""

SOMEBODY = _words("he she it they him them his her its their this that these those there here you your who what")
"""Whom only the conversation knows."""

AUXILIARIES = _words("would will could should might may must can shall used to if think say says said when people")
"""'I would like' is a wish, 'I think that Anna lives' an opinion: the sentence is not simply about its first words."""

COMMANDS = _words(
    "turn switch set dim brighten play pause stop start open close lock unlock raise lower increase decrease add "
    "remove delete cancel put show tell read say repeat skip next previous mute unmute volume louder quieter call run "
    "activate calculate convert translate search find give make"
)
ASKING = _words(
    "what what's who who's where where's when when's why how how's which whose is are was were do does did can could "
    "will would should may might has have"
)
SMALL_TALK = frozenset(
    ["hello", "hi", "hey", "thanks", "thank you", "good morning", "good night", "good evening", "okay", "never mind"]
)

STOP = _words(  # English
    "about above after again against all also always am an and any are aren't as at be because been before being "
    "below between both but by can can't could did didn't do does doesn't doing don't down during each few for from "
    "further get got had has have having he he's her here hers him his how i i'd i'll i'm i've if in into is isn't it "
    "it's its just let let's like likes me more most my myself near never no nor not now of off on once one only or "
    "other our ours out over own please remember said same say says she she's should so some such than that that's "
    "the their theirs them then there there's these they they're this those through to too under until up us very was "
    "we we're were what what's when where which while who whom why will with without would you you're your yours"
) | _words(  # what every sentence has in German, Swedish, French, Spanish
    "der die das den dem des ein eine einen einem einer und oder aber ist sind war bin hat haben ich du er sie es wir "
    "ihr mein meine dein deine sein seine unser unsere nicht kein keine mit von vom zum zur auf aus bei für dass auch "
    "sich nur noch schon wie was wer merk dir och eller men är var jag han hon den det att som inte med från till för "
    "har min mitt mina din ditt sin ett vår våra kom ihåg les une des est sont pas que qui dans sur avec pour par mon "
    "mes ton tes son ses notre nos nous vous ils elle elles los las una unos unas del por para con sobre está están "
    "soy eres mis tus sus nuestro nuestra"
)
"""Words that are no keywords."""
