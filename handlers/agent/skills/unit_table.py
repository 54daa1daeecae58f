"""Units by the names of the CLDR and of `pint`, and what they are in one country and another."""

from __future__ import annotations

UNITS = {
    # The CLDR's name of a unit, and pint's.
    "length-kilometer": "kilometer",
    "length-meter": "meter",
    "length-decimeter": "decimeter",
    "length-centimeter": "centimeter",
    "length-millimeter": "millimeter",
    "length-mile": "mile",
    "length-mile-scandinavian": "scandinavian_mile",
    "length-yard": "yard",
    "length-foot": "foot",
    "length-inch": "inch",
    "length-nautical-mile": "nautical_mile",
    "length-light-year": "light_year",
    "mass-tonne": "metric_ton",
    "mass-kilogram": "kilogram",
    "mass-gram": "gram",
    "mass-milligram": "milligram",
    "mass-stone": "stone",
    "mass-pound": "pound",
    "mass-ounce": "ounce",
    "volume-cubic-meter": "meter ** 3",
    "volume-cubic-centimeter": "centimeter ** 3",
    "volume-hectoliter": "hectoliter",
    "volume-liter": "liter",
    "volume-deciliter": "deciliter",
    "volume-centiliter": "centiliter",
    "volume-milliliter": "milliliter",
    "volume-gallon": "gallon",
    "volume-quart": "quart",
    "volume-pint": "pint",
    "volume-cup": "cup",
    "volume-fluid-ounce": "fluid_ounce",
    "volume-tablespoon": "tablespoon",
    "volume-teaspoon": "teaspoon",
    "temperature-celsius": "degree_Celsius",
    "temperature-fahrenheit": "degree_Fahrenheit",
    "temperature-kelvin": "kelvin",
    "speed-kilometer-per-hour": "kilometer / hour",
    "speed-mile-per-hour": "mile / hour",
    "speed-meter-per-second": "meter / second",
    "speed-knot": "knot",
    "area-square-kilometer": "kilometer ** 2",
    "area-hectare": "hectare",
    "area-square-meter": "meter ** 2",
    "area-square-centimeter": "centimeter ** 2",
    "area-acre": "acre",
    "area-square-mile": "mile ** 2",
    "area-square-foot": "foot ** 2",
    "duration-week": "week",
    "duration-day": "day",
    "duration-hour": "hour",
    "duration-minute": "minute",
    "duration-second": "second",
    "duration-millisecond": "millisecond",
    "digital-terabyte": "terabyte",
    "digital-gigabyte": "gigabyte",
    "digital-megabyte": "megabyte",
    "digital-kilobyte": "kilobyte",
    "digital-byte": "byte",
    "digital-bit": "bit",
    "energy-kilowatt-hour": "kilowatt_hour",
    "energy-kilojoule": "kilojoule",
    "energy-joule": "joule",
    "energy-kilocalorie": "kilocalorie",
    "power-kilowatt": "kilowatt",
    "power-watt": "watt",
    "power-horsepower": "horsepower",
    "pressure-bar": "bar",
    "pressure-hectopascal": "hectopascal",
    "pressure-pound-force-per-square-inch": "psi",
}

IMPERIAL = {
    "gallon": "imperial_gallon",
    "quart": "imperial_quart",
    "pint": "imperial_pint",
    "fluid_ounce": "imperial_fluid_ounce",
}
"""What the same words mean in Britain and Ireland."""

METRIC = {
    "cup": "kitchen_cup",
    "tablespoon": "kitchen_tablespoon",
    "teaspoon": "kitchen_teaspoon",
    "horsepower": "metric_horsepower",
}
"""In every language but English the spoons are of 15 and 5 millilitres, a cup is taken for a quarter of a litre, and a
horse is a little weaker."""

GERMAN = {"pound": "german_pound"}
"""Half a kilogram, which is what a German market sells."""

SMALLER = {
    "length-foot": "length-inch",
    "length-meter": "length-centimeter",
    "mass-stone": "mass-pound",
    "mass-pound": "mass-ounce",
}
"""What a last number without a unit counts: "five foot ten", "ein Meter achtzig"."""

DEFINITIONS = (
    "scandinavian_mile = 10 * kilometer",
    "german_pound = 500 * gram",
    "kitchen_cup = 250 * milliliter",
    "kitchen_tablespoon = 15 * milliliter",
    "kitchen_teaspoon = 5 * milliliter",
)
"""What pint does not know, in its language."""
