"""Secrets are found, and ordinary facts with numbers in them are not taken for secrets."""

from __future__ import annotations

import time

import pytest

from handlers.agent.memory.secrets import SecretKind, find_secret

CODE, PASSWORD, CARD, BANK, KEY, IDENTITY = SecretKind

SECRETS = [
    ("en", "The alarm code is 4711", CODE, "4711"),
    ("en", "remember that the garage code is now 5 8 3 2", CODE, "5 8 3 2"),
    ("en", "My PIN is 1234.", CODE, "1234"),
    ("en", "my pin number's 0815", CODE, "0815"),
    ("en", "The code for the back door of the garage is now 90210", CODE, "90210"),
    ("en", "the gate code was changed from 1234 to 5678", CODE, "5678"),
    ("en", "we changed the alarm code to 9944", CODE, "9944"),
    ("en", "alarm code 4711", CODE, "4711"),
    ("en", "Garage code: 4711#", CODE, "4711#"),
    ("en", "4711 is the code for the garage", CODE, "4711"),
    ("en", "4711 is our front door code", CODE, "4711"),
    ("en", "the combination of the safe is 12-34-56", CODE, "12-34-56"),
    ("en", "the door code is four seven one one", CODE, "four seven one one"),
    ("en", "the code is forty seven eleven", CODE, "forty seven eleven"),
    ("en", "the code of the shed is A47B", CODE, "A47B"),
    ("en", "enter 4711 to disarm the alarm", CODE, "4711"),
    ("en", "the safe opens with 9876", CODE, "9876"),
    ("en", "the number for the safe is 4711", CODE, "4711"),
    ("en", "the building code is 2580", CODE, "2580"),
    ("en", "the wifi password is swordfish", PASSWORD, "swordfish"),
    ("en", "the password for the guest wifi is hunter2", PASSWORD, "hunter2"),
    ("en", "wifi password Tr0ub4dor&3", PASSWORD, "Tr0ub4dor&3"),
    ("en", "password: correct-horse", PASSWORD, "correct-horse"),
    ("en", "swordfish is the wifi password", PASSWORD, "swordfish"),
    ("en", "my credit card is 4111 1111 1111 1111", CARD, "4111 1111 1111 1111"),
    ("en", "use 5500-0055-5555-5559 for the pizza", CARD, "5500-0055-5555-5559"),
    ("en", "amex 378282246310005", CARD, "378282246310005"),
    ("en", "the CVV is 123", CARD, "123"),
    ("en", "my debit card number is 1234 5678 9012", CARD, "1234 5678 9012"),
    ("en", "our account is GB82 WEST 1234 5698 7654 32", BANK, "GB82 WEST 1234 5698 7654 32"),
    ("en", "my account number is 12345678", BANK, "12345678"),
    ("en", "the api key is 8f3kd93jf02k", KEY, "8f3kd93jf02k"),
    ("en", "use sk-proj-abcdEFGH1234ijklMNOP5678 for it", KEY, "sk-proj-abcdEFGH1234ijklMNOP5678"),
    ("en", "my token is ghp_16C7e42F292c6912E7710c838347Ae178B4a", KEY, "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
    ("en", "it is dGhpc0lzQVNlY3JldDEyMzQ1Njc4", KEY, "dGhpc0lzQVNlY3JldDEyMzQ1Njc4"),
    ("en", "my social security number is 536-22-8145", IDENTITY, "536-22-8145"),
    ("en", "social security number 536228145", IDENTITY, "536228145"),
    ("en", "her national insurance number is QQ 12 34 56 C", IDENTITY, "12 34 56"),
    ("en", "it's AB123456C", IDENTITY, "AB123456C"),
    ("de", "Der Code für die Garage ist 4711", CODE, "4711"),
    ("de", "Der Alarmcode lautet jetzt 5 8 3 2", CODE, "5 8 3 2"),
    ("de", "Meine PIN ist 1234", CODE, "1234"),
    ("de", "EC-PIN 1234", CODE, "1234"),
    ("de", "die Zahlenkombination vom Fahrradschloss ist 815", CODE, "815"),
    ("de", "der Türcode ist siebenundvierzig elf", CODE, "siebenundvierzig elf"),
    ("de", "4711 ist der Code für das Tor", CODE, "4711"),
    ("de", "das WLAN-Passwort ist Schwertfisch", PASSWORD, "Schwertfisch"),
    ("de", "das Passwort vom Router lautet geheim123", PASSWORD, "geheim123"),
    ("de", "unsere IBAN ist DE89 3704 0044 0532 0130 00", BANK, "DE89 3704 0044 0532 0130 00"),
    ("de", "meine Kontonummer ist 532013000", BANK, "532013000"),
    ("de", "Sozialversicherungsnummer 65 170839 J 003", IDENTITY, "65 170839 J 003"),
    ("sv", "larmkoden är 4711", CODE, "4711"),
    ("sv", "portkoden är nu fyra sju ett ett", CODE, "fyra sju ett ett"),
    ("sv", "pinkoden till mobilen är 1234", CODE, "1234"),
    ("sv", "lösenordet till wifi är svärdfisk", PASSWORD, "svärdfisk"),
    ("sv", "mitt personnummer är 811218-9876", IDENTITY, "811218-9876"),
    ("fr", "le code de l'alarme est 4711", CODE, "4711"),
    ("fr", "le digicode est maintenant 58B32", CODE, "58B32"),
    ("fr", "le code d'entrée est quatre sept un un", CODE, "quatre sept un un"),
    ("fr", "le mot de passe du wifi est espadon", PASSWORD, "espadon"),
    ("fr", "mon numéro de sécu est 2 69 05 49 588 157 80", IDENTITY, "2 69 05 49 588 157 80"),
    ("es", "el código de la alarma es 4711", CODE, "4711"),
    ("es", "la clave de la puerta es ahora 5832", CODE, "5832"),
    ("es", "el código del garaje es cuatro siete uno uno", CODE, "cuatro siete uno uno"),
    ("es", "la contraseña del wifi es pezespada", PASSWORD, "pezespada"),
    ("es", "mi DNI es 12345678Z", IDENTITY, "12345678Z"),
]

ORDINARY = [
    ("en", "the wifi is fast"),
    ("en", "the flight is LH 400 on Monday"),
    ("en", "my phone number is 555 0123"),
    ("en", "call grandma at +49 170 4111111111111111"),
    ("en", "Anna's birthday is 12 May 1984"),
    ("en", "we live at 4711 Baker Street"),
    ("en", "the zip code is 90210"),
    ("en", "our area code is 415"),
    ("en", "the postcode of the school is 10115"),
    ("en", "the dishwasher shows error code 404"),
    ("en", "the discount code is SUMMER24"),
    ("en", "the code review is at 10:30"),
    ("en", "the code freeze is on 15 December 2025"),
    ("en", "what is the alarm code?"),
    ("en", "the alarm code is written on the fridge"),
    ("en", "the code is our anniversary"),
    ("en", "my PIN has four digits"),
    ("en", "the code is 200 lines long"),
    ("en", "the wifi password is on the fridge"),
    ("en", "I forgot my password"),
    ("en", "change the password tomorrow"),
    ("en", "the password manager is great"),
    ("en", "the password is printed on the router"),
    ("en", "what is the wifi password"),
    ("en", "this is the password"),
    ("en", "the password is too long"),
    ("en", "the parcel number is 003404341612345678901"),
    ("en", "the meter reads 123456 kilowatt hours"),
    ("en", "wake me at 0730"),
    ("en", "set the alarm for 7 30"),
    ("en", "the alarm is at 6 15 tomorrow"),
    ("en", "the oven takes 200 degrees for 45 minutes"),
    ("en", "bowling pins are 15 inches tall"),
    ("en", "the pin board is in the hall"),
    ("en", "a combination of garlic and lemon is good"),
    ("en", "1984 is a good book"),
    ("en", "the key is under the mat"),
    ("en", "Lena's shoe size is 38"),
    ("en", "look at https://example.com/a/b/c/dGhpc0lzQVNlY3JldDEyMzQ1"),
    ("en", "the sensor is sensor.living_room_temperature_and_humidity_2"),
    ("en", "the train leaves at 2024-05-12 10:30:00"),
    ("en", "use 2000 grams of flour"),
    ("en", "the bus is number 4711"),
    ("de", "die Postleitzahl ist 10115"),
    ("de", "der Fehlercode der Spülmaschine ist 404"),
    ("de", "das WLAN-Passwort steht auf dem Kühlschrank"),
    ("de", "das Passwort ist zu lang"),
    ("de", "meine Telefonnummer ist 0170 1234567"),
    ("de", "der Flug ist LH 400"),
    ("de", "das WLAN ist schnell"),
    ("de", "der Termin ist am 12.05.2026 um 10:30 Uhr"),
    ("de", "der Code ist 300 Zeilen lang"),
    ("sv", "postnumret är 11122"),
    ("sv", "rabattkoden är SOMMAR24"),
    ("sv", "lösenordet är på kylskåpet"),
    ("sv", "mitt telefonnummer är 070-123 45 67"),
    ("fr", "le code postal est 75011"),
    ("fr", "le mot de passe est sur le frigo"),
    ("fr", "mon numéro de téléphone est 06 12 34 56 78"),
    ("es", "el código postal es 28013"),
    ("es", "la contraseña está en la nevera"),
    ("es", "mi teléfono es 612 345 678"),
]


@pytest.mark.parametrize(("language", "text", "kind", "value"), SECRETS)
def test_a_secret_is_found(language: str, text: str, kind: SecretKind, value: str) -> None:
    for given in (language, None):
        secret = find_secret(text, given)
        assert secret is not None, given
        assert secret.kind is kind
        assert value in text[secret.start : secret.end]


@pytest.mark.parametrize(("language", "text"), ORDINARY)
def test_an_ordinary_fact_is_none(language: str, text: str) -> None:
    assert find_secret(text, language) is None
    assert find_secret(text) is None


def test_a_region_and_an_unknown_language_are_served() -> None:
    assert find_secret("der Code ist 4711", "de-AT") is not None
    assert find_secret("the code is 4711", "it") is not None


@pytest.mark.parametrize(
    "text", ["code " * 400, "a" * 2000, "1 " * 1000, "password for " * 150, "is the " * 280, "x-" * 999]
)
def test_no_text_takes_long(text: str) -> None:
    find_secret("code is 1")  # compiled
    begin = time.process_time()
    find_secret(text)
    assert time.process_time() - begin < 2.0
