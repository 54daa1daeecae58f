"""French: what skills understand, what they say, and what they leave to the language model."""

from __future__ import annotations

import pytest

from handlers.agent.skills import Skills
from tests.support.skills import ask, understood

KNOWN = {
    "GetTime": [
        "Quelle heure est-il ?",
        "Il est quelle heure ?",
        "Quelle heure est-il, s'il te plaît ?",
        "Tu peux me dire l'heure ?",
        "Tu as l'heure ?",
        "Bonjour, quelle heure est-il ?",
        "Alors, il est quelle heure ?",
    ],
    "GetDate": ["Quel jour sommes-nous ?", "On est quel jour aujourd'hui ?", "Quelle est la date d'aujourd'hui ?"],
    "Greeting": ["Bonjour !", "Salut Meadowlark.", "Bonsoir.", "Comment ça va ?", "Salut, ça va ?"],
    "Goodbye": ["Bonne nuit.", "Au revoir !", "À demain."],
    "Thanks": [
        "Merci.",
        "Merci beaucoup !",
        "Merci bien.",
        "D'accord, merci.",
        "Merci, c'est parfait.",
        "Merci, c'est tout.",
    ],
    "Cancel": [
        "Stop.",
        "Annule.",
        "Arrête !",
        "Tais-toi.",
        "Laisse tomber.",
        "C'est tout.",
        "Ok, stop.",
        "Tant pis, laisse tomber.",
    ],
    "Yes": [
        "Oui.",
        "Oui, s'il te plaît.",
        "Ouais.",
        "Bien sûr.",
        "Vas-y.",
        "Oui, vas-y.",
        "Je confirme.",
        "Fais-le.",
        "Tout à fait.",
    ],
    "No": [
        "Non.",
        "Non merci.",
        "Nan.",
        "Surtout pas !",
        "Non, ne fais pas ça.",
        "Pas maintenant.",
        "Non, laisse tomber.",
    ],
    "Repeat": ["Tu peux répéter ?", "Qu'est-ce que tu as dit ?", "Pardon ?", "Répète, s'il te plaît."],
    "VolumeUp": [
        "Plus fort.",
        "Monte le son.",
        "Augmente le volume.",
        "Parle plus fort !",
        "Peux-tu parler plus fort ?",
    ],
    "VolumeDown": ["Moins fort.", "Baisse le son.", "Parle moins fort !"],
    "Capabilities": ["Que sais-tu faire ?", "Qui es-tu ?", "Comment tu t'appelles ?", "Aide-moi."],
}

SLOTS = [
    ("Quelle heure est-il à New York ?", "GetTimeThere", {"place": "New York"}),
    ("Il est quelle heure au Japon, s'il te plaît ?", "GetTimeThere", {"place": "Japon"}),
    ("Quel jour sera-t-on demain ?", "GetDateOf", {"day": "demain"}),
    ("Heure actuelle à Los Angeles", "GetTimeThere", {"place": "Los Angeles"}),
    ("Quelle heure est-il là-bas à Sydney ?", "GetTimeThere", {"place": "Sydney"}),
    ("C'est combien 15% de 80 ?", "Calculate", {"expression": "15% de 80"}),
    ("15 % de 80, c'est combien ?", "Calculate", {"expression": "15 % de 80"}),
    ("Combien font 20% de réduction sur 50 ?", "Calculate", {"expression": "20% de réduction sur 50"}),
    ("Mets le volume au maximum.", "VolumeTo", {}),
    ("Quel jour tombe Noël ?", "GetDateOf", {"day": "Noël"}),
    ("On est le combien vendredi prochain ?", "GetDateOf", {"day": "vendredi prochain"}),
    ("Combien de jours reste-t-il avant Noël ?", "GetDaysUntil", {"day": "Noël"}),
    ("Combien de jours avant le 24 décembre ?", "GetDaysUntil", {"day": "le 24 décembre"}),
    ("Combien font 15 pour cent de 80 ?", "Calculate", {"expression": "15 pour cent de 80"}),
    ("douze fois sept", "Calculate", {"expression": "douze fois sept"}),
    ("Combien de grammes dans une once ?", "ConvertUnits", {"unit": "grammes", "quantity": "une once"}),
    ("Convertis 5 miles en kilomètres.", "ConvertUnits", {"quantity": "5 miles", "unit": "kilomètres"}),
    ("Mets le volume à 30 pour cent.", "VolumeTo", {"level": "30 pour cent"}),
    ("Un peu moins fort", "VolumeDown", {"amount": "small"}),
]

NOT_FOR_SKILLS = [
    "À quelle heure ouvre la banque ?",
    "Quelle heure est-il quand le train part ?",
    "Quelle heure est-il à Narnia ?",
    "À quelle heure passe le bus ?",
    "Quel jour est le meilleur pour un barbecue ?",
    "C'est quand l'anniversaire d'Anna ?",
    "Combien de jours y a-t-il en février ?",
    "Combien d'habitants y a-t-il à Paris ?",
    "Combien de temps dure le film ?",
    "C'est quoi l'amour ?",
    "Et comment ?",
    "Et toi ?",
    "Bon appétit.",
    "C'est combien le pain ?",
    "C'est super cher.",
    "Merci, mais ce n'est pas ça.",
    "Mets le chauffage à fond.",
    "Heure d'été",
    "On a quelle heure de train ?",
    "Quelle est la racine du mal ?",
    "Combien coûte un café ?",
    "Combien de tasses y a-t-il dans le placard ?",
    "Convertis ce fichier en PDF.",
    "Allume la lumière.",
    "Monte le chauffage.",
    "Baisse la lumière de la chambre.",
    "Merci pour le repas d'hier.",
    "Arrête la musique.",
    "Oui, mais seulement le rouge.",
    "Non, l'autre.",
    "Dis bonjour en espagnol.",
    "Qui est le président ?",
    "Que peux-tu faire contre le bruit ?",
    "Plus fort que toi est une chanson.",
]


@pytest.mark.parametrize(
    ("said", "intent"), [(said, intent) for intent, sentences in KNOWN.items() for said in sentences]
)
def test_a_sentence_is_known(skills: Skills, said: str, intent: str) -> None:
    found = understood(skills, said, "fr")
    assert found is not None
    assert found[0] == intent


@pytest.mark.parametrize(("said", "intent", "slots"), SLOTS)
def test_the_places_of_a_sentence_are_as_they_were_said(
    skills: Skills, said: str, intent: str, slots: dict[str, str]
) -> None:
    assert understood(skills, said, "fr") == (intent, slots)


@pytest.mark.parametrize("said", NOT_FOR_SKILLS)
def test_a_near_miss_goes_to_the_language_model(skills: Skills, said: str) -> None:
    assert understood(skills, said, "fr") is None


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("Quelle heure est-il ?", "Il est 15:05."),
        ("Quelle heure est-il au Japon ?", "Au Japon, il est 22:05."),
        ("Quelle heure est-il à Auckland ?", "À Auckland, il est 01:05, jeudi."),
        ("Quel jour sommes-nous ?", "Nous sommes le mercredi 3 juin 2026."),
        ("Quel jour sera-t-on après-demain ?", "C'est le vendredi 5 juin 2026."),
        ("C'est quand Pâques ?", "C'est le dimanche 28 mars 2027."),
        ("Il est quelle heure à Paris, en France ?", "À Paris, en France, il est 15:05."),
        ("C'est quand Pâques cette année ?", "C'était le dimanche 5 avril 2026."),
        ("Combien font les trois quarts de 60 ?", "Trois quarts de 60, ça fait 45."),
        ("Combien de jours avant Noël ?", "Il reste 205 jours."),
        ("Combien de jours avant demain ?", "Il reste 1 jour."),
        ("Combien font 3,5 plus 2,25 ?", "3,5 plus 2,25, ça fait 5,75."),
        ("Quelle est la racine carrée de 2 ?", "La racine carrée de 2, ça fait environ 1,41."),
        ("Combien font 7 divisé par zéro ?", "On ne peut pas diviser par zéro."),
        ("Combien font 3 moins 5 ?", "3 moins 5, ça fait moins 2."),
        ("Combien font quatre-vingt-dix-sept plus trois ?", "Quatre-vingt-dix-sept plus trois, ça fait 100."),
        ("Combien de tasses y a-t-il dans un litre ?", "1 litre, ça fait 4 tasses."),
        (
            "Combien font 70 degrés Fahrenheit en Celsius ?",
            "70 degrés Fahrenheit, ça fait environ 21,1 degrés Celsius.",
        ),
        ("Un mètre quatre-vingts en centimètres", "1 mètre 80 centimètres, ça fait 180 centimètres."),
    ],
)
async def test_what_is_said(skills: Skills, said: str, answer: str) -> None:
    reply = await ask(skills, said, "fr")
    assert reply is not None
    assert reply.text == answer
