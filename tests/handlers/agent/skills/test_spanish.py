"""Spanish: what skills understand, what they say, and what they leave to the language model."""

from __future__ import annotations

import pytest

from handlers.agent.skills import Skills
from tests.support.skills import ask, understood

KNOWN = {
    "GetTime": [
        "¿Qué hora es?",
        "¿Me das la hora?",
        "Dime la hora, por favor.",
        "¿Puedes decirme qué hora es?",
        "Hola, ¿qué hora es?",
        "¿Y qué hora es?",
    ],
    "GetDate": ["¿Qué día es hoy?", "¿A qué día estamos?", "¿Cuál es la fecha de hoy?", "¿Qué fecha es hoy?"],
    "Greeting": ["¡Hola!", "Buenos días, Meadowlark.", "Buenas tardes.", "Hola, ¿qué tal?", "¿Cómo estás?"],
    "Goodbye": ["Adiós.", "¡Hasta luego!", "Hasta mañana."],
    "Thanks": ["Gracias.", "¡Muchas gracias!", "Vale, gracias.", "Gracias, está muy bien.", "Gracias, eso es todo."],
    "Cancel": [
        "Para.",
        "Cancela.",
        "Cállate.",
        "Silencio.",
        "Olvídalo.",
        "Eso es todo.",
        "Nada.",
        "Vale, para.",
        "Da igual, olvídalo.",
    ],
    "Yes": [
        "Sí.",
        "Sí, por favor.",
        "Claro que sí.",
        "Hazlo.",
        "Sí, hazlo.",
        "Adelante.",
        "Confirmo.",
        "Correcto.",
        "De acuerdo.",
    ],
    "No": ["No.", "No, gracias.", "Mejor no.", "No lo hagas.", "No, déjalo.", "Ahora no.", "Para nada."],
    "Repeat": ["¿Puedes repetirlo?", "¿Qué has dicho?", "¿Perdón?", "Otra vez, por favor.", "Repite eso."],
    "VolumeUp": ["Más alto.", "Sube el volumen.", "¡Habla más alto!", "Súbelo.", "¿Puedes hablar un poco más alto?"],
    "VolumeDown": ["Más bajo.", "Baja el volumen.", "No tan alto."],
    "Capabilities": ["¿Qué puedes hacer?", "¿Quién eres?", "¿Cómo te llamas?", "Ayuda."],
}

SLOTS = [
    ("¿Qué hora es en Nueva York?", "GetTimeThere", {"place": "Nueva York"}),
    ("¿Qué hora es ahora en Tokio, por favor?", "GetTimeThere", {"place": "Tokio"}),
    ("¿Qué día es mañana?", "GetDateOf", {"day": "mañana"}),
    ("Hora actual en Los Ángeles", "GetTimeThere", {"place": "Los Ángeles"}),
    ("¿Qué hora es allí en Sídney?", "GetTimeThere", {"place": "Sídney"}),
    ("¿Cuánto es el 20% de descuento sobre 50?", "Calculate", {"expression": "20% de descuento sobre 50"}),
    ("Pon el volumen al máximo.", "VolumeTo", {}),
    ("¿Qué día cae Navidad?", "GetDateOf", {"day": "Navidad"}),
    ("¿Qué fecha es el próximo viernes?", "GetDateOf", {"day": "el próximo viernes"}),
    ("¿Cuántos días faltan para Navidad?", "GetDaysUntil", {"day": "Navidad"}),
    ("¿Cuántos días faltan para el 24 de diciembre?", "GetDaysUntil", {"day": "el 24 de diciembre"}),
    ("¿Cuánto es el 15 por ciento de 80?", "Calculate", {"expression": "15 por ciento de 80"}),
    ("doce por siete", "Calculate", {"expression": "doce por siete"}),
    ("¿Cuántos gramos hay en una onza?", "ConvertUnits", {"unit": "gramos", "quantity": "una onza"}),
    ("Convierte 5 millas a kilómetros.", "ConvertUnits", {"quantity": "5 millas", "unit": "kilómetros"}),
    ("Pon el volumen al 30 por ciento.", "VolumeTo", {"level": "30 por ciento"}),
    ("Un poco más bajo", "VolumeDown", {"amount": "small"}),
]

NOT_FOR_SKILLS = [
    "¿A qué hora abre el banco?",
    "¿Qué hora es cuando sale el tren?",
    "¿Qué hora es en Narnia?",
    "¿Cuándo pasa el autobús?",
    "¿Qué día es mejor para una barbacoa?",
    "¿Cuándo es el cumpleaños de Ana?",
    "¿Cuántos días tiene febrero?",
    "¿Cuántas personas viven en Madrid?",
    "¿Cuánto dura la película?",
    "¿Qué es el amor?",
    "¿Y qué?",
    "¿Y tú?",
    "Bueno, ¿y qué hacemos?",
    "¿Qué es hoy en la tele?",
    "Gracias, pero no es eso.",
    "Pon la calefacción al máximo.",
    "¿Cuánto sale el pan?",
    "¿Cuál es la raíz del problema?",
    "¿Cuánto cuesta un café?",
    "¿Cuántas tazas hay en el armario?",
    "Convierte este archivo a PDF.",
    "Enciende la luz.",
    "Sube la calefacción.",
    "Baja la luz del dormitorio.",
    "Gracias por la comida de ayer.",
    "Para la música.",
    "Sí, pero solo el rojo.",
    "No, el otro.",
    "Di hola en francés.",
    "¿Quién es el presidente?",
    "¿Qué puedes hacer contra el ruido?",
    "Hazlo mañana.",
]


@pytest.mark.parametrize(
    ("said", "intent"), [(said, intent) for intent, sentences in KNOWN.items() for said in sentences]
)
def test_a_sentence_is_known(skills: Skills, said: str, intent: str) -> None:
    found = understood(skills, said, "es")
    assert found is not None
    assert found[0] == intent


@pytest.mark.parametrize(("said", "intent", "slots"), SLOTS)
def test_the_places_of_a_sentence_are_as_they_were_said(
    skills: Skills, said: str, intent: str, slots: dict[str, str]
) -> None:
    assert understood(skills, said, "es") == (intent, slots)


@pytest.mark.parametrize("said", NOT_FOR_SKILLS)
def test_a_near_miss_goes_to_the_language_model(skills: Skills, said: str) -> None:
    assert understood(skills, said, "es") is None


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("¿Qué hora es?", "Son las 15:05."),
        ("¿Qué hora es en Tokio?", "En Tokio son las 22:05."),
        ("¿Qué hora es en Auckland?", "En Auckland es la 1:05 del jueves."),
        ("¿Qué día es hoy?", "Hoy es miércoles 3 de junio de 2026."),
        ("¿Qué día es pasado mañana?", "Es el viernes 5 de junio de 2026."),
        ("¿Cuándo es Pascua?", "Es el domingo 28 de marzo de 2027."),
        ("¿Qué hora es en París, Francia?", "En París, Francia son las 15:05."),
        ("¿Cuándo es Pascua este año?", "Fue el domingo 5 de abril de 2026."),
        ("¿Cuánto son tres cuartos de 60?", "Tres cuartos de 60 es 45."),
        ("¿Cuántos días faltan para Navidad?", "Faltan 205 días para Navidad."),
        ("¿Cuántos días faltan para mañana?", "Falta un día para mañana."),
        ("¿Cuánto es 3,5 más 2,25?", "3,5 más 2,25 es 5,75."),
        ("¿Cuál es la raíz cuadrada de 2?", "La raíz cuadrada de 2 es aproximadamente 1,41."),
        ("¿Cuánto es 7 dividido entre cero?", "No se puede dividir entre cero."),
        ("¿Cuánto es 3 menos 5?", "3 menos 5 es menos 2."),
        ("¿Cuántas tazas hay en un litro?", "1 litro son 4 tazas."),
        (
            "¿Cuánto son 70 grados Fahrenheit en Celsius?",
            "70 grados Fahrenheit son aproximadamente 21,1 grados Celsius.",
        ),
        ("Un metro ochenta en centímetros", "1 metro 80 centímetros son 180 centímetros."),
    ],
)
async def test_what_is_said(skills: Skills, said: str, answer: str) -> None:
    reply = await ask(skills, said, "es")
    assert reply is not None
    assert reply.text == answer
