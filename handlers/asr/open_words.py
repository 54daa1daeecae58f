"""Words after which a sentence is not over, by language."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class OpenWords:
    """All in lower case and without apostrophes, as `patience.words` makes them."""

    last: frozenset[str] = frozenset()
    """No sentence for an assistant ends with one of these: articles, possessives, prepositions, conjunctions,
    auxiliaries, subject pronouns."""

    verbs: frozenset[str] = frozenset()
    """Say nothing alone."""

    particles: frozenset[str] = frozenset()
    """Belong to such a verb ("turn on"), and end a sentence only when something stands between ("turn it on")."""

    endings: tuple[str, ...] = ()
    """Endings of several words."""

    number_of_units: re.Pattern[str] | None = None
    """An ending with a number whose unit is still to come."""

    hesitations: frozenset[str] = frozenset()
    """Sounds and calls that hold the floor, when there is nothing else."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ENGLISH = OpenWords(
    last=_set(
        "a an the this these my your his her its our their whose every each which "
        "of to for from with without at by into onto about between than as in near under above behind inside until "
        "and or but because so if when while that "
        "is are was were am be does did can could will would shall should may might must has have had "
        "whats wheres whos hows thats theres im youre were theyre its ive id ill lets whens "
        "i we he she they how many set"
    ),
    verbs=_set(
        "turn switch set put add remove create make start change dim brighten increase decrease raise lower "
        "activate deactivate enable disable open close lock unlock run play show tell give remind wake call "
        "send read find search move"
    ),
    particles=_set("on off up down out"),
    endings=(
        *("tell me", "remind me", "give me", "show me", "wake me", "let me", "can you", "could you", "would you"),
        *("will you", "do you", "what time", "what the", "how much", "how long", "turn all", "all of", "hey can"),
    ),
    number_of_units=re.compile(
        r"\btimer (of|for) (\d+|a|an|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|\w+ty)$"
    ),
    hesitations=_set("um uh uhm umm erm er ah oh ooh hm hmm mm mmm well so like hey hi ok okay please and you"),
)

_GERMAN = OpenWords(
    last=_set(
        "der die das den dem des ein eine einen einem einer mein meine meinen dein deine deinen im ins am beim vom zum "
        "zur und oder aber weil wenn dass ob für mit von zu nach bei in auf über unter ist sind war kann könntest "
        "soll wird würde hat habe wie welche welcher welches ich wir"
    ),
    verbs=_set(
        "mach mache schalte stell stelle setze füge spiel spiele öffne schließe dimme starte zeig zeige sag sage"
    ),
    endings=("sag mir", "zeig mir", "erinnere mich", "wie viel", "wie viele", "kannst du", "könntest du"),
    hesitations=_set("äh ähm hm hmm mm ach oh also ja hey hallo okay ok bitte"),
)

_FRENCH = OpenWords(
    last=_set(
        "le la les l un une des du de d mon ma mes ton ta tes son sa ses notre votre leur à au aux en dans sur pour "
        "avec sans par chez et ou mais si que qui quel quelle quels quelles est sont je nous il elle"
    ),
    verbs=_set("allume éteins mets règle ajoute lance ouvre ferme joue montre dis démarre augmente baisse active"),
    endings=("dis moi", "rappelle moi", "est ce que", "peux tu", "pourrais tu", "combien de"),
    hesitations=_set("euh heu hm hmm mm ah oh ben alors bon hé salut ok okay"),
)

_SPANISH = OpenWords(
    last=_set(
        "el la los las un una unos unas mi mis tu tus su sus de del a al en con sin por para sobre y e o pero si que "
        "cuando es está son hay como qué cuál cuánto cuánta"
    ),
    verbs=_set("enciende apaga pon ajusta añade abre cierra reproduce muestra dime inicia sube baja activa cambia"),
    endings=("puedes", "podrías", "cuánto tiempo"),
    hesitations=_set("eh em mm hm hmm ah oh pues bueno este oye hola vale ok okay"),
)

_SWEDISH = OpenWords(
    last=_set(
        "en ett den det de min mitt mina din ditt dina och eller men att som om när i på till från med utan för av vid "
        "under över är var har kan kunde ska skulle vill jag vi"
    ),
    verbs=_set("tänd släck sätt ställ slå lägg öppna stäng spela visa säg starta höj sänk ändra"),
    particles=_set("på av upp ner"),
    endings=("kan du", "hur många", "hur mycket", "påminn mig", "säg till"),
    hesitations=_set("eh öh hm hmm mm ah åh alltså så hej hallå okej ok"),
)

_LANGUAGES = {"en": _ENGLISH, "de": _GERMAN, "fr": _FRENCH, "es": _SPANISH, "sv": _SWEDISH}

_UNKNOWN = OpenWords()


def open_words(language: str) -> OpenWords:
    """The words of a primary language tag; none where nobody has listed them. Of 'auto', English, the likeliest."""
    return _LANGUAGES.get("en" if language == "auto" else language, _UNKNOWN)
