"""The words that numbers and signs are read with: one table a language, and a language is nothing but its table.

espeak-ng (inside Piper) reads digits, decimals, thousands, percent and ordinals like "1st" itself. The tables hold
what it was heard to get wrong in Piper 1.8 with en-us, de, fr, es and sv; `spoken.py` says what with each rule.
A unit is singular and plural; a currency is singular, plural and its hundredth's singular and plural.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Unit = tuple[str, str]
Currency = tuple[str, str, str, str]


@dataclass(frozen=True)
class Clock:
    """How a time of day is read where the digits alone are not enough. `{h}` and `{m}` are numbers."""

    full: str
    """14:00."""
    few: str
    """14:05; espeak says "fourteen zero five"."""
    rest: str
    """14:30."""
    full_to_12: str = ""
    """7:00, where that differs from 14:00."""
    midnight: str = ""
    """0:00, where that has a word."""


@dataclass(frozen=True, eq=False)  # a table is itself, so that patterns made of it can be cached
class Words:
    """Everything that depends on the language."""

    minus: str
    plus_minus: str
    times: str
    divided: str
    equals: str
    less: str
    more: str
    at_most: str
    at_least: str
    about: str
    to: str
    and_: str
    per: str
    dot: str
    at: str
    number: str
    squared: str
    cubed: str
    power: str
    date: str
    months: str
    """Twelve names with spaces between."""
    clock: Clock
    units: dict[str, Unit]
    currencies: dict[str, Currency]
    scales: dict[str, str]
    fractions: dict[str, str]
    abbreviations: dict[str, str] = field(default_factory=dict)
    comma: str = ""
    """Word for the decimal comma, where espeak reads it wrong."""
    one_below: float = 1.0
    """Amounts up to here take the singular: 1, or just below 2 in French."""


def _prefixed(names: dict[str, Unit], prefixes: dict[str, str]) -> dict[str, Unit]:
    """Each unit with each prefix: "W" with "k" is "kW"."""
    return {
        prefix + unit: (word + one, word + many)
        for unit, (one, many) in names.items()
        for prefix, word in prefixes.items()
    }


def _same(words: dict[str, str]) -> dict[str, Unit]:
    return {unit: (word, word) for unit, word in words.items()}


_METRIC = {"k": "kilo", "M": "mega", "m": "milli"}
_BINARY = {"k": "kilo", "K": "kilo", "M": "mega", "G": "giga", "T": "tera"}

_ENGLISH = Words(
    minus="minus",
    plus_minus="plus or minus",
    times="times",
    divided="divided by",
    equals="equals",
    less="less than",
    more="more than",
    at_most="at most",
    at_least="at least",
    about="about",
    to="to",
    and_="and",
    per="per",
    dot="dot",
    at="at",
    number="number",
    squared="squared",
    cubed="cubed",
    power="to the power of",
    date="{month} {day}, {year}",
    months="January February March April May June July August September October November December",
    clock=Clock(full="{h} hundred", few="{h} oh {m}", rest="{h}:{m}", full_to_12="{h} o'clock", midnight="midnight"),
    units={
        **_prefixed(
            {"W": ("watt", "watts"), "Wh": ("watt hour", "watt hours"), "V": ("volt", "volts"), "A": ("amp", "amps")},
            {"": "", **_METRIC, "G": "giga", "µ": "micro"},
        ),
        **_prefixed(
            {"m": ("meter", "meters"), "g": ("gram", "grams"), "s": ("second", "seconds")},
            {"": "", "m": "milli", "µ": "micro", "n": "nano"},
        ),
        **_prefixed({"l": ("liter", "liters"), "L": ("liter", "liters")}, {"": "", "m": "milli", "c": "centi"}),
        **_prefixed({"Hz": ("hertz", "hertz")}, {"": "", "k": "kilo", "M": "mega", "G": "giga"}),
        **_prefixed({"Pa": ("pascal", "pascals")}, {"": "", "h": "hecto", "k": "kilo", "M": "mega"}),
        **_prefixed({"B": ("byte", "bytes"), "bit": ("bit", "bits")}, _BINARY),
        "bit": ("bit", "bits"),
        **_prefixed({"bps": ("bit per second", "bits per second")}, {"": "", **_BINARY}),
        **_prefixed(
            {"Ah": ("amp hour", "amp hours"), "VA": ("volt amp", "volt amps")}, {"": "", "k": "kilo", "m": "milli"}
        ),
        **_prefixed({"Ω": ("ohm", "ohms"), "J": ("joule", "joules")}, {"": "", "k": "kilo", "M": "mega"}),
        **_prefixed({"cal": ("calorie", "calories")}, {"": "", "k": "kilo"}),
        "°C": ("degree Celsius", "degrees Celsius"),
        "°F": ("degree Fahrenheit", "degrees Fahrenheit"),
        "°": ("degree", "degrees"),
        "K": ("kelvin", "kelvin"),
        "%": ("percent", "percent"),
        "‰": ("per thousand", "per thousand"),
        "km": ("kilometer", "kilometers"),
        "cm": ("centimeter", "centimeters"),
        "mi": ("mile", "miles"),
        "ft": ("foot", "feet"),
        "yd": ("yard", "yards"),
        "m²": ("square meter", "square meters"),
        "km²": ("square kilometer", "square kilometers"),
        "cm²": ("square centimeter", "square centimeters"),
        "ft²": ("square foot", "square feet"),
        "sq ft": ("square foot", "square feet"),
        "ha": ("hectare", "hectares"),
        "m³": ("cubic meter", "cubic meters"),
        "cm³": ("cubic centimeter", "cubic centimeters"),
        "s²": ("second squared", "seconds squared"),
        "gal": ("gallon", "gallons"),
        "kg": ("kilogram", "kilograms"),
        "t": ("ton", "tons"),
        "lb": ("pound", "pounds"),
        "lbs": ("pound", "pounds"),
        "oz": ("ounce", "ounces"),
        "min": ("minute", "minutes"),
        "mins": ("minute", "minutes"),
        "sec": ("second", "seconds"),
        "secs": ("second", "seconds"),
        "h": ("hour", "hours"),
        "hr": ("hour", "hours"),
        "hrs": ("hour", "hours"),
        "KiB": ("kibibyte", "kibibytes"),
        "MiB": ("mebibyte", "mebibytes"),
        "GiB": ("gibibyte", "gibibytes"),
        "TiB": ("tebibyte", "tebibytes"),
        "bar": ("bar", "bar"),
        "mbar": ("millibar", "millibars"),
        "psi": ("P S I", "P S I"),
        "inHg": ("inch of mercury", "inches of mercury"),
        "mmHg": ("millimeter of mercury", "millimeters of mercury"),
        "BTU": ("B T U", "B T U"),
        "N": ("newton", "newtons"),
        "lx": ("lux", "lux"),
        "lm": ("lumen", "lumens"),
        "dB": ("decibel", "decibels"),
        "dBm": ("decibel milliwatt", "decibel milliwatts"),
        "ppm": ("part per million", "parts per million"),
        "ppb": ("part per billion", "parts per billion"),
        "rpm": ("revolution per minute", "revolutions per minute"),
        "fps": ("frame per second", "frames per second"),
        "px": ("pixel", "pixels"),
        "mph": ("mile per hour", "miles per hour"),
        "kph": ("kilometer per hour", "kilometers per hour"),
        "kn": ("knot", "knots"),
    },
    currencies={
        "€": ("euro", "euros", "cent", "cents"),
        "EUR": ("euro", "euros", "cent", "cents"),
        "$": ("dollar", "dollars", "cent", "cents"),
        "USD": ("dollar", "dollars", "cent", "cents"),
        "£": ("pound", "pounds", "penny", "pence"),
        "GBP": ("pound", "pounds", "penny", "pence"),
        "¥": ("yen", "yen", "", ""),
        "₹": ("rupee", "rupees", "paisa", "paise"),
        "CHF": ("franc", "francs", "centime", "centimes"),
        "SEK": ("krona", "kronor", "öre", "öre"),
    },
    scales={
        "k": "thousand",
        "K": "thousand",
        "M": "million",
        "m": "million",
        "bn": "billion",
        "B": "billion",
        "thousand": "thousand",
        "million": "million",
        "billion": "billion",
        "trillion": "trillion",
    },
    fractions={
        "½": "a half",
        "¼": "a quarter",
        "¾": "three quarters",
        "⅓": "a third",
        "⅔": "two thirds",
        "⅛": "an eighth",
    },
    # espeak knows these but ends a sentence at the dot, or spells the letters ("vs", "approx").
    abbreviations={
        "Dr.": "Dr",
        "Mr.": "Mr",
        "Mrs.": "Mrs",
        "Ms.": "Ms",
        "Prof.": "Professor",
        "St.": "St",
        "Mt.": "Mount",
        "No.": "number",
        "no.": "number",
        "vs.": "versus",
        "approx.": "approximately",
    },
)

_GERMAN = Words(
    minus="minus",
    plus_minus="plus minus",
    times="mal",
    divided="geteilt durch",
    equals="gleich",
    less="kleiner als",
    more="größer als",
    at_most="höchstens",
    at_least="mindestens",
    about="etwa",
    to="bis",
    and_="und",
    per="pro",
    dot="Punkt",
    at="ät",
    number="Nummer",
    squared="hoch zwei",
    cubed="hoch drei",
    power="hoch",
    date="{day}. {month} {year}",
    months="Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    clock=Clock(full="{h} Uhr", few="{h} Uhr {m}", rest="{h} Uhr {m}"),
    units={
        **_same(
            {
                "°C": "Grad Celsius",
                "°F": "Grad Fahrenheit",
                "°": "Grad",
                "%": "Prozent",
                "km": "Kilometer",
                "m": "Meter",
                "cm": "Zentimeter",
                "mm": "Millimeter",
                "m²": "Quadratmeter",
                "m³": "Kubikmeter",
                "l": "Liter",
                "ml": "Milliliter",
                "kg": "Kilogramm",
                "g": "Gramm",
                "W": "Watt",
                "kW": "Kilowatt",
                "Wh": "Wattstunden",
                "kWh": "Kilowattstunden",
                "V": "Volt",
                "A": "Ampere",
                "Hz": "Hertz",
                "hPa": "Hektopascal",
                "bar": "Bar",
                "MB": "Megabyte",
                "GB": "Gigabyte",
                "lx": "Lux",
                "dB": "Dezibel",
            }
        ),
        "h": ("Stunde", "Stunden"),
        "min": ("Minute", "Minuten"),
        "Min": ("Minute", "Minuten"),
        "s": ("Sekunde", "Sekunden"),
    },
    currencies={
        "€": ("Euro", "Euro", "Cent", "Cent"),
        "EUR": ("Euro", "Euro", "Cent", "Cent"),
        "$": ("Dollar", "Dollar", "Cent", "Cent"),
        "£": ("Pfund", "Pfund", "Penny", "Pence"),
        "CHF": ("Franken", "Franken", "Rappen", "Rappen"),
    },
    scales={"Mio.": "Millionen", "Millionen": "Millionen", "Milliarden": "Milliarden", "Mrd.": "Milliarden"},
    fractions={"½": "ein halb", "¼": "ein Viertel", "¾": "drei Viertel", "⅓": "ein Drittel", "⅔": "zwei Drittel"},
    # espeak spells these letter by letter and ends a sentence at their dots.
    abbreviations={
        "z.B.": "zum Beispiel",
        "z. B.": "zum Beispiel",
        "d.h.": "das heißt",
        "d. h.": "das heißt",
        "bzw.": "beziehungsweise",
        "usw.": "und so weiter",
        "ca.": "circa",
        "Nr.": "Nummer",
        "Dr.": "Doktor",
        "Hr.": "Herr",
        "Fr.": "Frau",
    },
)

_FRENCH = Words(
    minus="moins",
    plus_minus="plus ou moins",
    times="fois",
    divided="divisé par",
    equals="égale",
    less="inférieur à",
    more="supérieur à",
    at_most="au plus",
    at_least="au moins",
    about="environ",
    to="à",
    and_="et",
    per="par",
    dot="point",
    at="arobase",
    number="numéro",
    squared="au carré",
    cubed="au cube",
    power="puissance",
    date="{day} {month} {year}",
    months="janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    clock=Clock(full="{h} heures", few="{h} heures {m}", rest="{h} heures {m}", midnight="minuit"),
    units={
        "°C": ("degré Celsius", "degrés Celsius"),
        "°F": ("degré Fahrenheit", "degrés Fahrenheit"),
        "°": ("degré", "degrés"),
        "%": ("pour cent", "pour cent"),
        "km": ("kilomètre", "kilomètres"),
        "m": ("mètre", "mètres"),
        "cm": ("centimètre", "centimètres"),
        "mm": ("millimètre", "millimètres"),
        "m²": ("mètre carré", "mètres carrés"),
        "m³": ("mètre cube", "mètres cubes"),
        "l": ("litre", "litres"),
        "L": ("litre", "litres"),
        "ml": ("millilitre", "millilitres"),
        "kg": ("kilogramme", "kilogrammes"),
        "g": ("gramme", "grammes"),
        "W": ("watt", "watts"),
        "kW": ("kilowatt", "kilowatts"),
        "Wh": ("wattheure", "wattheures"),
        "kWh": ("kilowattheure", "kilowattheures"),
        "V": ("volt", "volts"),
        "A": ("ampère", "ampères"),
        "Hz": ("hertz", "hertz"),
        "hPa": ("hectopascal", "hectopascals"),
        "Mo": ("mégaoctet", "mégaoctets"),
        "Go": ("gigaoctet", "gigaoctets"),
        "h": ("heure", "heures"),
        "min": ("minute", "minutes"),
        "s": ("seconde", "secondes"),
    },
    currencies={
        "€": ("euro", "euros", "centime", "centimes"),
        "EUR": ("euro", "euros", "centime", "centimes"),
        "$": ("dollar", "dollars", "cent", "cents"),
        "£": ("livre", "livres", "penny", "pence"),
        "CHF": ("franc", "francs", "centime", "centimes"),
    },
    scales={"k": "mille", "millions": "millions", "million": "million", "milliards": "milliards"},
    fractions={"½": "un demi", "¼": "un quart", "¾": "trois quarts", "⅓": "un tiers", "⅔": "deux tiers"},
    # espeak spells these and ends a sentence at the dot.
    abbreviations={"M.": "monsieur", "Mme.": "madame", "p. ex.": "par exemple", "p.ex.": "par exemple"},
    one_below=1.999,
)

_SPANISH = Words(
    minus="menos",
    plus_minus="más menos",
    times="por",
    divided="dividido por",
    equals="igual a",
    less="menor que",
    more="mayor que",
    at_most="como máximo",
    at_least="como mínimo",
    about="aproximadamente",
    to="a",
    and_="y",
    per="por",
    dot="punto",
    at="arroba",
    number="número",
    squared="al cuadrado",
    cubed="al cubo",
    power="elevado a",
    date="{day} de {month} de {year}",
    months="enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    clock=Clock(full="{h} horas", few="{h} y {m}", rest="{h} y {m}", midnight="medianoche"),
    units={
        "°C": ("grado Celsius", "grados Celsius"),
        "°F": ("grado Fahrenheit", "grados Fahrenheit"),
        "°": ("grado", "grados"),
        "%": ("por ciento", "por ciento"),
        "km": ("kilómetro", "kilómetros"),
        "m": ("metro", "metros"),
        "cm": ("centímetro", "centímetros"),
        "mm": ("milímetro", "milímetros"),
        "m²": ("metro cuadrado", "metros cuadrados"),
        "m³": ("metro cúbico", "metros cúbicos"),
        "l": ("litro", "litros"),
        "ml": ("mililitro", "mililitros"),
        "kg": ("kilogramo", "kilogramos"),
        "g": ("gramo", "gramos"),
        "W": ("vatio", "vatios"),
        "kW": ("kilovatio", "kilovatios"),
        "Wh": ("vatio hora", "vatios hora"),
        "kWh": ("kilovatio hora", "kilovatios hora"),
        "V": ("voltio", "voltios"),
        "A": ("amperio", "amperios"),
        "Hz": ("hercio", "hercios"),
        "hPa": ("hectopascal", "hectopascales"),
        "MB": ("megabyte", "megabytes"),
        "GB": ("gigabyte", "gigabytes"),
        "h": ("hora", "horas"),
        "min": ("minuto", "minutos"),
        "s": ("segundo", "segundos"),
    },
    currencies={
        "€": ("euro", "euros", "céntimo", "céntimos"),
        "EUR": ("euro", "euros", "céntimo", "céntimos"),
        "$": ("dólar", "dólares", "centavo", "centavos"),
        "£": ("libra", "libras", "penique", "peniques"),
    },
    scales={"mil": "mil", "millones": "millones de", "millón": "millón de"},
    fractions={"½": "medio", "¼": "un cuarto", "¾": "tres cuartos", "⅓": "un tercio", "⅔": "dos tercios"},
    # espeak knows these but ends a sentence at the dot.
    abbreviations={"Sr.": "señor", "Sra.": "señora", "Dr.": "doctor", "Dra.": "doctora", "p. ej.": "por ejemplo"},
)

_SWEDISH = Words(
    minus="minus",
    plus_minus="plus minus",
    times="gånger",
    divided="delat med",
    equals="är lika med",
    less="mindre än",
    more="större än",
    at_most="högst",
    at_least="minst",
    about="ungefär",
    to="till",
    and_="och",
    per="per",
    dot="punkt",
    at="snabel-a",
    number="nummer",
    squared="i kvadrat",
    cubed="i kubik",
    power="upphöjt till",
    date="{day} {month} {year}",
    months="januari februari mars april maj juni juli augusti september oktober november december",
    clock=Clock(full="{h}", few="{h} noll {m}", rest="{h}:{m}"),
    units={
        **_same(
            {
                "°C": "grader Celsius",
                "°F": "grader Fahrenheit",
                "%": "procent",
                "km": "kilometer",
                "m": "meter",
                "cm": "centimeter",
                "mm": "millimeter",
                "m²": "kvadratmeter",
                "m³": "kubikmeter",
                "l": "liter",
                "ml": "milliliter",
                "kg": "kilo",
                "g": "gram",
                "W": "watt",
                "kW": "kilowatt",
                "V": "volt",
                "A": "ampere",
                "Hz": "hertz",
                "hPa": "hektopascal",
                "MB": "megabyte",
                "GB": "gigabyte",
            }
        ),
        "°": ("grad", "grader"),
        "Wh": ("wattimme", "wattimmar"),
        "kWh": ("kilowattimme", "kilowattimmar"),
        "h": ("timme", "timmar"),
        "min": ("minut", "minuter"),
        "s": ("sekund", "sekunder"),
    },
    currencies={
        "kr": ("krona", "kronor", "öre", "öre"),
        "SEK": ("krona", "kronor", "öre", "öre"),
        "€": ("euro", "euro", "cent", "cent"),
        "EUR": ("euro", "euro", "cent", "cent"),
        "$": ("dollar", "dollar", "cent", "cent"),
        "£": ("pund", "pund", "penny", "pence"),
    },
    scales={"miljoner": "miljoner", "miljarder": "miljarder"},
    fractions={
        "½": "en halv",
        "¼": "en fjärdedel",
        "¾": "tre fjärdedelar",
        "⅓": "en tredjedel",
        "⅔": "två tredjedelar",
    },
    # espeak reads the dots of these as "punkt".
    abbreviations={"t.ex.": "till exempel", "bl.a.": "bland annat", "d.v.s.": "det vill säga", "kl.": "klockan"},
    comma="komma",
)

WORDS: dict[str, Words] = {"en": _ENGLISH, "de": _GERMAN, "fr": _FRENCH, "es": _SPANISH, "sv": _SWEDISH}
"""By primary language. What is not here is read without a table: signs and units stay as they are written."""
