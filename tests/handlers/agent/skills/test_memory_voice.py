"""What people say to the memory in each language, what is kept of it, and what is not the memory's business."""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from handlers.agent.schedule.entry import Heard
from handlers.agent.schedule.schedule import Schedule
from handlers.agent.skills import Skills, locale_of
from handlers.agent.skills import memory as module
from handlers.agent.skills.memory import MemorySkill, spoken_day
from handlers.agent.skills.schedule import ScheduleSkill
from handlers.agent.skills.standard import standard_skills
from tests.support.skills import NOW, ask, understood

REMEMBERED = {
    "en": {
        "Remember that my bike is red.": "my bike is red",
        "Please remember that Julia's birthday is on the 3rd of May!": "Julia's birthday is on the 3rd of May",
        "Can you remember that it's cold in the attic?": "it's cold in the attic",
        "remember that it is Tom's turn to cook": "it is Tom's turn to cook",
        "Remember that this is our last key.": "this is our last key",
        "remember my car is in the garage": "my car is in the garage",
        "Keep in mind that I don't eat fish.": "I don't eat fish",
        "Could you please note that the boiler was serviced in March?": "the boiler was serviced in March",
        "Make a note that the spare key is under the mat.": "the spare key is under the mat",
        "Don't forget that Tom smokes.": "Tom smokes",
        "I want you to remember that we moved in 2019.": "we moved in 2019",
        "Remember: the bus comes at 7:15.": "the bus comes at 7:15",
    },
    "de": {
        "Merk dir, dass mein Fahrrad rot ist.": "mein Fahrrad rot ist",
        "Merke dir bitte, dass Julia am 3. Mai Geburtstag hat!": "Julia am 3. Mai Geburtstag hat",
        "Kannst du dir merken, dass ich keinen Fisch esse?": "ich keinen Fisch esse",
        "Könntest du dir bitte merken, dass der Ersatzschlüssel unter der Matte liegt?": (
            "der Ersatzschlüssel unter der Matte liegt"
        ),
        "Merk dir mein Auto steht in der Garage": "mein Auto steht in der Garage",
        "Denk daran, dass Tom raucht.": "Tom raucht",
        "Vergiss nicht, dass es im Keller feucht ist.": "es im Keller feucht ist",
        "Bitte vergiss nicht, dass wir dienstags schwimmen.": "wir dienstags schwimmen",
        "Notier dir, dass die Heizung im März gewartet wurde.": "die Heizung im März gewartet wurde",
        "Speichere bitte, dass der Bus um 7:15 kommt.": "der Bus um 7:15 kommt",
    },
    "sv": {
        "Kom ihåg att min cykel är röd.": "min cykel är röd",
        "Kan du komma ihåg att Julia fyller år den 3 maj?": "Julia fyller år den 3 maj",
        "Snälla, kom ihåg att jag inte äter fisk!": "jag inte äter fisk",
        "kom ihåg min bil står i garaget": "min bil står i garaget",
        "Kom ihåg att det är kallt på vinden.": "det är kallt på vinden",
        "Notera att reservnyckeln ligger under mattan.": "reservnyckeln ligger under mattan",
        "Anteckna att pannan blev servad i mars.": "pannan blev servad i mars",
        "Glöm inte att Tom röker.": "Tom röker",
        "Glöm inte bort att bussen går 7:15.": "bussen går 7:15",
        "Lägg på minnet att vi badar på tisdagar.": "vi badar på tisdagar",
    },
    "fr": {
        "Souviens-toi que mon vélo est rouge.": "mon vélo est rouge",
        "Souviens toi que l'anniversaire de Julia est le 3 mai !": "l'anniversaire de Julia est le 3 mai",
        "Peux-tu te souvenir que je ne mange pas de poisson ?": "je ne mange pas de poisson",
        "Rappelle-toi qu'il fait froid au grenier.": "il fait froid au grenier",
        "Retiens que la clé est sous le paillasson.": "la clé est sous le paillasson",
        "Tu peux retenir que Tom fume ?": "Tom fume",
        "Note que la chaudière a été révisée en mars.": "la chaudière a été révisée en mars",
        "N'oublie pas que le bus passe à 7h15.": "le bus passe à 7h15",
        "N'oublie pas qu'on nage le mardi.": "on nage le mardi",
        "Garde en mémoire que ma voiture est au garage.": "ma voiture est au garage",
    },
    "es": {
        "Recuerda que mi bicicleta es roja.": "mi bicicleta es roja",
        "Por favor, recuerda que el cumpleaños de Julia es el 3 de mayo.": "el cumpleaños de Julia es el 3 de mayo",
        "¿Puedes recordar que no como pescado?": "no como pescado",
        "Acuérdate de que la llave está debajo del felpudo.": "la llave está debajo del felpudo",
        "Acuérdate que Tom fuma.": "Tom fuma",
        "Apunta que la caldera se revisó en marzo.": "la caldera se revisó en marzo",
        "Anota que el autobús pasa a las 7:15.": "el autobús pasa a las 7:15",
        "Ten en cuenta que hace frío en el desván.": "hace frío en el desván",
        "No olvides que nadamos los martes.": "nadamos los martes",
        "Quiero que recuerdes que mi coche está en el garaje.": "mi coche está en el garaje",
    },
}
"""Sentences, and what is kept of each."""

KNOWN: dict[str, dict[str, list[str]]] = {
    "en": {
        "RememberShared": [
            "Remember for everyone that the bins go out on Tuesday.",
            "Note for all of us that Tom left",
        ],
        "KnowMe": ["What do you know about me?", "What have you learned about me?", "Tell me what you know about me."],
        "KnowAbout": ["What do you remember about Julia?", "What did I tell you about the car?"],
        "ForgetThat": [
            "Forget that.",
            "Please forget what I just said.",
            "Don't remember that!",
            "Delete that memory.",
            "Forget that again.",
        ],
        "ForgetAbout": [
            "Forget everything about Julia.",
            "Forget everything you know about Julia!",
            "Can you please forget everything I told you about the car?",
            "Forget what I said about work",
            "Delete all you know about my bike.",
        ],
        "ForgetMe": ["Forget everything about me.", "Forget all you know about me", "Delete my memories."],
        "WhoTold": ["Who told you that?", "Who told you?", "How do you know that?", "Where did you hear that?"],
        "PrivateOn": ["Private mode.", "Turn on private mode.", "Go private.", "Stop remembering things."],
        "PrivateOff": ["Turn off private mode.", "Private mode off.", "You may remember things again."],
        "Cancel": ["Forget it.", "Forget about it.", "Never mind."],
    },
    "de": {
        "RememberShared": [
            "Merk dir für alle, dass dienstags die Tonne rauskommt.",
            "Merk dir für die ganze Familie: x y z",
        ],
        "KnowMe": ["Was weißt du über mich?", "Was hast du dir über mich gemerkt?", "Weißt du etwas über mich?"],
        "KnowAbout": [
            "Was hast du dir über Julia gemerkt?",
            "Was habe ich dir über das Auto erzählt?",
            "Was weißt du über meinen Hund?",
        ],
        "ForgetThat": [
            "Vergiss das.",
            "Vergiss das bitte wieder.",
            "Vergiss, was ich gerade gesagt habe.",
            "Merk dir das nicht.",
        ],
        "ForgetAbout": [
            "Vergiss alles über Julia.",
            "Bitte vergiss alles, was du über Julia weißt.",
            "Vergiss alles, was ich dir über Julia erzählt habe.",
            "Lösche alles über mein Fahrrad.",
        ],
        "ForgetMe": ["Vergiss alles über mich.", "Vergiss alles, was du über mich weißt.", "Lösch meine Erinnerungen."],
        "WhoTold": ["Wer hat dir das gesagt?", "Woher weißt du das?", "Wann habe ich dir das gesagt?"],
        "PrivateOn": ["Privatmodus an.", "Schalte den Privatmodus ein.", "Merk dir ab jetzt nichts mehr."],
        "PrivateOff": ["Privatmodus aus.", "Beende den Privatmodus.", "Du darfst dir wieder etwas merken."],
        "Cancel": ["Vergiss es.", "Schon gut."],
    },
    "sv": {
        "RememberShared": [
            "Kom ihåg för alla att soporna hämtas på tisdag.",
            "Kom ihåg för hela familjen att Tom har rest.",
        ],
        "KnowMe": ["Vad vet du om mig?", "Vad kommer du ihåg om mig?", "Vet du något om mig?"],
        "KnowAbout": ["Vad minns du om Julia?", "Vad har jag sagt till dig om bilen?", "Vad vet du om min hund?"],
        "ForgetThat": ["Glöm det där.", "Glöm det jag nyss sa.", "Kan du glömma det?", "Kom inte ihåg det."],
        "ForgetAbout": [
            "Glöm allt om Julia.",
            "Glöm allt du vet om Julia.",
            "Radera allt om min cykel.",
            "Kan du glömma bort allt jag har sagt om jobbet?",
        ],
        "ForgetMe": ["Glöm allt om mig.", "Glöm allt du vet om mig.", "Ta bort mina minnen."],
        "WhoTold": ["Vem sa det till dig?", "Vem har berättat det?", "Hur vet du det?", "När sa jag det?"],
        "PrivateOn": ["Privat läge.", "Slå på privat läge.", "Kom inte ihåg något från och med nu."],
        "PrivateOff": ["Stäng av privat läge.", "Privat läge av.", "Du får komma ihåg saker igen."],
        "Cancel": ["Glöm det.", "Strunt samma."],
    },
    "fr": {
        "RememberShared": [
            "Retiens pour tout le monde que les poubelles sortent le mardi.",
            "Note pour toute la famille que Tom est parti.",
        ],
        "KnowMe": ["Que sais-tu sur moi ?", "Qu'est-ce que tu sais de moi ?", "De quoi te souviens-tu ?"],
        "KnowAbout": [
            "De quoi te souviens-tu au sujet de Julia ?",
            "Qu'est-ce que je t'ai dit à propos du vélo ?",
            "Que sais-tu de mon chien ?",
        ],
        "ForgetThat": ["Oublie cela.", "Oublie ce que je viens de dire.", "Ne retiens pas ça.", "Efface ce souvenir."],
        "ForgetAbout": [
            "Oublie tout sur Julia.",
            "Oublie tout ce que tu sais sur Julia.",
            "Peux-tu oublier tout ce que je t'ai dit sur Julia ?",
            "Efface tout à propos du vélo.",
        ],
        "ForgetMe": ["Oublie tout ce que tu sais sur moi.", "Oublie tout sur moi.", "Efface mes souvenirs."],
        "WhoTold": [
            "Qui t'a dit ça ?",
            "Qui te l'a dit ?",
            "Comment le sais-tu ?",
            "Quand est-ce que je t'ai dit ça ?",
        ],
        "PrivateOn": ["Mode privé.", "Active le mode privé.", "Ne retiens plus rien à partir de maintenant."],
        "PrivateOff": ["Désactive le mode privé.", "Quitte le mode privé.", "Tu peux de nouveau retenir des choses."],
        "Cancel": ["Oublie ça.", "Laisse tomber."],
    },
    "es": {
        "RememberShared": [
            "Recuerda para todos que la basura sale el martes.",
            "Apunta para la familia que Tom se fue.",
        ],
        "KnowMe": ["¿Qué sabes sobre mí?", "¿Qué sabes de mí?", "¿Qué recuerdas de mí?", "¿Sabes algo de mí?"],
        "KnowAbout": ["¿Qué recuerdas sobre Julia?", "¿Qué te dije sobre el coche?", "¿Qué sabes de mi perro?"],
        "ForgetThat": ["Olvida eso.", "Olvida lo que acabo de decir.", "No recuerdes eso.", "Borra ese recuerdo."],
        "ForgetAbout": [
            "Olvida todo sobre Julia.",
            "Olvida todo lo que sabes sobre Julia.",
            "Por favor, olvida lo que te dije sobre Julia.",
            "Borra todo sobre mi bicicleta.",
        ],
        "ForgetMe": ["Olvida todo lo que sabes sobre mí.", "Olvida todo sobre mí.", "Borra mis recuerdos."],
        "WhoTold": ["¿Quién te dijo eso?", "¿Quién te lo ha dicho?", "¿Cómo lo sabes?", "¿Cuándo te dije eso?"],
        "PrivateOn": ["Modo privado.", "Activa el modo privado.", "No recuerdes nada a partir de ahora."],
        "PrivateOff": ["Desactiva el modo privado.", "Sal del modo privado.", "Puedes volver a recordar cosas."],
        "Cancel": ["Olvídalo.", "Da igual."],
    },
}
"""By language and intent."""

OTHERS = {
    "en": [
        "What do you know about black holes?",
        "What do you know about Julia Roberts?",
        "Tell me about the war.",
        "Remember to buy milk.",
        "Remember to call mum at five.",
        "Please remember to water the plants.",
        "Don't forget to lock the door.",
        "Don't forget the milk.",
        "Do you remember the nineties?",
        "Do you remember when we went to Paris?",
        "Remember me?",
        "Remember when we met?",
        "Remember this.",
        "Remember that.",
        "Remember the Alamo.",
        "Tell everyone that dinner is ready.",
        "Why do people forget things?",
        "How do I forget somebody?",
        "I forgot my keys.",
        "I forget everything about maths.",
        "How does memory work?",
        "Delete that.",
        "Delete everything.",
        "Who told the first joke?",
        "Who said I have a dream?",
        "What is private browsing?",
        "How do you know when a mango is ripe?",
        "What does forget mean?",
    ],
    "de": [
        "Was weißt du über schwarze Löcher?",
        "Was weißt du über Berlin?",
        "Erzähl mir vom Krieg.",
        "Denk daran, Milch zu kaufen.",
        "Vergiss nicht, die Tür abzuschließen.",
        "Vergiss die Milch nicht.",
        "Merk dir das.",
        "Merk dir was.",
        "Merk dir, wann der Bus kommt.",
        "Erinnerst du dich an die neunziger Jahre?",
        "Warum vergisst man Dinge?",
        "Wie vergisst man jemanden?",
        "Ich habe meinen Schlüssel vergessen.",
        "Ich habe alles über Mathe vergessen.",
        "Wie funktioniert das Gedächtnis?",
        "Lösch das.",
        "Lösche alles.",
        "Wer hat das Telefon erfunden?",
        "Wer hat gesagt: Ich bin ein Berliner?",
        "Was ist privates Surfen?",
        "Woher weiß man, ob eine Mango reif ist?",
        "Was bedeutet vergessen?",
        "Wie merke ich mir Namen?",
        "Kannst du dir Namen merken?",
        "Wann wurde das Tor erfunden?",
    ],
    "sv": [
        "Vad vet du om svarta hål?",
        "Vad vet du om Stockholm?",
        "Berätta om kriget.",
        "Kom ihåg mig.",
        "Kom ihåg det.",
        "Kom ihåg vad klockan är.",
        "Kom ihåg mjölken.",
        "Glöm inte mjölken.",
        "Glöm inte låsa dörren.",
        "Minns du nittiotalet?",
        "Kommer du ihåg när vi var i Paris?",
        "Varför glömmer man saker?",
        "Hur glömmer man någon?",
        "Jag glömde mina nycklar.",
        "Jag har glömt allt om matte.",
        "Hur fungerar minnet?",
        "Radera det.",
        "Ta bort allt.",
        "Vem uppfann telefonen?",
        "Vem sa att jag har en dröm?",
        "Vad är privat surfning?",
        "Hur vet man om en mango är mogen?",
        "Vad betyder glömma?",
        "Hur kommer jag ihåg namn?",
        "Vad minns fiskar?",
    ],
    "fr": [
        "Que sais-tu sur les trous noirs ?",
        "Que sais-tu de Paris ?",
        "Parle-moi de la guerre.",
        "N'oublie pas d'acheter du lait.",
        "N'oublie pas le lait.",
        "Souviens-toi de moi.",
        "Souviens-toi d'appeler maman.",
        "Retiens ça.",
        "Note le prix du pain.",
        "Te souviens-tu des années quatre-vingt-dix ?",
        "Tu te souviens de notre voyage à Paris ?",
        "Pourquoi oublie-t-on des choses ?",
        "Comment oublier quelqu'un ?",
        "J'ai oublié mes clés.",
        "J'ai tout oublié en maths.",
        "Comment fonctionne la mémoire ?",
        "Efface ça.",
        "Supprime tout le texte.",
        "Qui a inventé le téléphone ?",
        "Qui a dit : je fais un rêve ?",
        "Qu'est-ce que la navigation privée ?",
        "Comment savoir si une mangue est mûre ?",
        "Que veut dire oublier ?",
        "Comment retenir les noms ?",
        "De quoi se souviennent les poissons ?",
    ],
    "es": [
        "¿Qué sabes sobre los agujeros negros?",
        "¿Qué sabes de Madrid?",
        "Háblame de la guerra.",
        "No olvides comprar leche.",
        "No te olvides de la leche.",
        "Acuérdate de mí.",
        "Acuérdate de llamar a mamá.",
        "Recuerda eso.",
        "Recuerda comprar leche.",
        "¿Te acuerdas de los años noventa?",
        "¿Recuerdas cuando fuimos a París?",
        "¿Por qué olvidamos las cosas?",
        "¿Cómo olvidar a alguien?",
        "He olvidado mis llaves.",
        "He olvidado todo sobre matemáticas.",
        "¿Cómo funciona la memoria?",
        "Borra eso.",
        "Borra todo el texto.",
        "¿Quién inventó el teléfono?",
        "¿Quién dijo tengo un sueño?",
        "¿Qué es la navegación privada?",
        "¿Cómo se sabe si un mango está maduro?",
        "¿Qué significa olvidar?",
        "¿Cómo recuerdo los nombres?",
        "¿Qué recuerdan los peces?",
    ],
}
"""What goes to a language model, or to another skill."""

LANGUAGES = sorted(KNOWN)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Skills:
    """All skills, so that none takes another's sentences."""
    schedule = Schedule(tmp_path_factory.mktemp("schedule") / "schedule.db", _nobody)
    return Skills([*standard_skills(), ScheduleSkill(schedule), MemorySkill(None)])


async def _nobody(*_: object) -> Heard:
    return Heard.NOBODY


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_to_be_remembered(together: Skills, language: str) -> None:
    found = {said: understood(together, said, language) for said in REMEMBERED[language]}
    assert found == {said: ("Remember", {"memory": kept}) for said, kept in REMEMBERED[language].items()}


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_sentence_has_its_intent(together: Skills, language: str) -> None:
    wanted = {said: intent for intent, sentences in KNOWN[language].items() for said in sentences}
    found = {said: understood(together, said, language) for said in wanted}
    assert {said: match and match[0] for said, match in found.items()} == wanted
    assert sum(map(len, KNOWN[language].values())) + len(REMEMBERED[language]) >= 25


@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_else_is_left_alone(together: Skills, language: str) -> None:
    memory = MemorySkill(None).intents
    found = {said: understood(together, said, language) for said in OTHERS[language]}
    assert {said: match for said, match in found.items() if match is not None and match[0] in memory} == {}
    assert len(OTHERS[language]) >= 25


def test_the_subject_is_what_was_named(together: Skills) -> None:
    for language, said, subject in (
        ("en", "Forget everything you know about my red bike.", "my red bike"),
        ("de", "Vergiss alles, was du über Julia Meier weißt.", "Julia Meier"),
        ("sv", "Glöm allt du vet om jobbet.", "jobbet"),
        ("fr", "Oublie tout ce que tu sais à propos du vélo.", "vélo"),
        ("es", "Olvida todo lo que sabes sobre la escuela.", "la escuela"),
    ):
        assert understood(together, said, language) == ("ForgetAbout", {"subject": subject})


def test_nothing_is_meant_by_oneself(together: Skills) -> None:
    for language, said in (
        ("en", "forget everything about it"),
        ("de", "vergiss alles über das"),
        ("fr", "oublie tout sur ça"),
    ):
        found = understood(together, said, language)
        assert found is None or found[0] != "ForgetAbout", said


def _files() -> Iterator[tuple[str, dict[str, dict[str, object]]]]:
    for language in LANGUAGES:
        path = Path(module.__file__).parent / language / "memory.yaml"
        yield language, yaml.safe_load(path.read_text(encoding="utf-8"))


def test_each_language_says_the_same_things_with_the_same_places() -> None:
    """A response that is missing would be English in the middle of a French conversation."""
    english = dict(_files())["en"]

    def places(response: object) -> set[str | None]:
        text = response["other"] if isinstance(response, dict) else response
        assert isinstance(text, str)
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for language, content in _files():
        assert content["responses"].keys() == english["responses"].keys(), language
        assert content["intents"].keys() == english["intents"].keys() == MemorySkill(None).intents, language
        for name, response in english["responses"].items():
            assert places(content["responses"][name]) == places(response), (language, name)


def test_no_other_file_uses_the_same_names() -> None:
    """The files of a language are merged: of two responses, word lists or rules with one name, one would be lost."""
    for language, content in _files():
        for path in (Path(module.__file__).parent / language).glob("*.yaml"):
            if path.name != "memory.yaml":
                other = yaml.safe_load(path.read_text(encoding="utf-8"))
                for section in ("responses", "words", "lists", "expansion_rules", "intents"):
                    both = content.get(section, {}).keys() & other.get(section, {}).keys()
                    assert both == set(), (path, section)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["today", "yesterday", "on June 1, 2026", "some time ago"]),
        ("de", ["heute", "gestern", "am 1. Juni 2026", "irgendwann"]),
        ("sv", ["idag", "igår", "den 1 juni 2026", "för en tid sedan"]),
        ("fr", ["aujourd'hui", "hier", "le 1 juin 2026", "il y a quelque temps"]),
        ("es", ["hoy", "ayer", "el 1 de junio de 2026", "hace algún tiempo"]),
    ],
)
def test_when_something_was_told(together: Skills, language: str, words: list[str]) -> None:
    phrases, now = together.phrases(language), NOW.timestamp()
    times = [now - 3600, now - 86_400, now - 2 * 86_400, 1e17]
    assert [spoken_day(at, NOW, locale_of(language), phrases) for at in times] == words


async def test_without_a_memory_it_says_so(together: Skills) -> None:
    off = Skills([MemorySkill(None, switched_off=True)])
    broken, switched_off = await ask(together, "Remember that my bike is red."), await ask(off, "Forget that.")
    assert broken is not None
    assert switched_off is not None
    assert broken.text == "Sorry, I can't reach my memory right now."
    assert switched_off.text == "My memory is switched off."
