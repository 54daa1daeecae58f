"""Time zones by the names of cities and countries, in the speaker's language."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from babel import Locale
from babel.core import get_global

_CITIES = {
    # Large cities that no time zone is called after.
    "America/New_York": "New York City|NYC|Manhattan|Brooklyn|Boston|Washington|Washington DC|Washington D.C.|Miami|"
    "Atlanta|Philadelphia|Pittsburgh|Orlando|Baltimore|Charlotte|Cleveland|Montreal|Montréal|Ottawa|Quebec|Québec|"
    "Nueva York|New York",
    "America/Chicago": "Houston|Dallas|Austin|San Antonio|New Orleans|Minneapolis|Milwaukee|St. Louis|Saint Louis|"
    "Memphis|Nashville|Kansas City|Oklahoma City",
    "America/Denver": "Salt Lake City|Colorado|Albuquerque|Boulder",
    "America/Los_Angeles": "LA|San Francisco|San Diego|San José|San Jose|Seattle|Portland|Las Vegas|Sacramento|"
    "Oakland|California|Kalifornien|Californie|Silicon Valley|Kalifornia",
    "Pacific/Honolulu": "Hawaii|Hawai|Maui|Waikiki",
    "America/Anchorage": "Alaska",
    "America/Edmonton": "Calgary|Banff",
    "America/Sao_Paulo": "Rio|Rio de Janeiro|Brasília|Brasilia",
    "America/Mexico_City": "Guadalajara|Puebla",
    "Europe/London": "UK|United Kingdom|Great Britain|Britain|England|Scotland|Wales|Edinburgh|Glasgow|Manchester|"
    "Liverpool|Birmingham|Oxford|Cambridge|Bristol|Leeds|Cardiff|Schottland|Skottland|Écosse|Inglaterra|Angleterre|"
    "Escocia|Storbritannien|Großbritannien|Grande-Bretagne|Gran Bretaña",
    "Europe/Berlin": "Munich|München|Múnich|Hamburg|Hambourg|Hamburgo|Cologne|Köln|Colonia|Frankfurt|Francfort|"
    "Fráncfort|Stuttgart|Dresden|Leipzig|Düsseldorf|Bremen|Hannover|Nürnberg|Nuremberg|Heidelberg|Bonn",
    "Europe/Paris": "Lyon|Marseille|Nice|Nizza|Niza|Bordeaux|Toulouse|Strasbourg|Straßburg|Lille|Nantes",
    "Europe/Madrid": "Barcelona|Barcelone|Sevilla|Séville|Seville|Valencia|Bilbao|Málaga|Malaga|Mallorca|Palma",
    "Europe/Lisbon": "Porto|Oporto",
    "Europe/Rome": "Milan|Mailand|Milano|Milán|Naples|Neapel|Napoli|Nápoles|Venice|Venedig|Venise|Venecia|Florence|"
    "Florenz|Florencia|Turin|Torino|Bologna|Palermo",
    "Europe/Zurich": "Geneva|Genf|Genève|Ginebra|Basel|Bern|Bâle|Berne|Berna|Lausanne",
    "Europe/Vienna": "Salzburg|Graz|Innsbruck|Linz",
    "Europe/Stockholm": "Gothenburg|Göteborg|Malmö|Malmo|Uppsala",
    "Europe/Oslo": "Bergen|Trondheim",
    "Europe/Amsterdam": "Rotterdam|The Hague|Den Haag|Utrecht|Holland|La Haye|La Haya|Eindhoven",
    "Europe/Brussels": "Antwerp|Antwerpen|Anvers|Bruges|Brügge|Ghent|Gent",
    "Europe/Warsaw": "Krakow|Krakau|Kraków|Cracovie|Cracovia|Danzig|Gdansk",
    "Europe/Moscow": "Saint Petersburg|St. Petersburg|Sankt Petersburg",
    "Europe/Istanbul": "Ankara|Izmir|Antalya",
    "Asia/Dubai": "Abu Dhabi",
    "Asia/Riyadh": "Mecca|Mekka|Jeddah",
    "Asia/Kolkata": "Mumbai|Bombay|Delhi|New Delhi|Neu-Delhi|Nueva Delhi|Bangalore|Bengaluru|Chennai|Hyderabad|Goa",
    "Asia/Shanghai": "Beijing|Peking|Pékin|Pekín|Shenzhen|Guangzhou|Wuhan",
    "Asia/Tokyo": "Osaka|Kyoto|Kioto|Nagoya|Yokohama|Sapporo|Hiroshima",
    "Asia/Seoul": "Busan",
    "Asia/Bangkok": "Phuket|Pattaya|Chiang Mai",
    "Asia/Makassar": "Bali",
    "Asia/Ho_Chi_Minh": "Hanoi|Saigon",
    "Australia/Sydney": "Canberra",
    "Australia/Brisbane": "Gold Coast|Cairns",
    "Pacific/Auckland": "Wellington|Christchurch",
    "Africa/Cairo": "Alexandria",
    "Africa/Johannesburg": "Cape Town|Kapstadt|Kapstaden|Le Cap|Ciudad del Cabo|Durban|Pretoria",
    "Africa/Casablanca": "Marrakesh|Marrakech|Marrakesch",
}

_AMERICA = ("USA", "US", "America", "Amerika", "Amérique", "États-Unis", "EE.UU.", "EEUU", "EUA")
"""What the United States are called beside their name."""

_MAIN_ZONES = {
    # Countries with several zones, of which nearly everybody lives in one.
    "AR": "America/Argentina/Buenos_Aires",
    "CL": "America/Santiago",
    "CN": "Asia/Shanghai",
    "CY": "Asia/Nicosia",
    "DE": "Europe/Berlin",
    "EC": "America/Guayaquil",
    "ES": "Europe/Madrid",
    "MY": "Asia/Kuala_Lumpur",
    "NZ": "Pacific/Auckland",
    "PT": "Europe/Lisbon",
    "UA": "Europe/Kyiv",
    "UZ": "Asia/Tashkent",
}


def zone_of(place: str, language: str) -> ZoneInfo | None:
    """The time zone of a city, or of a country that has one; None when nobody can tell."""
    name = _zones(language).get(_key(place))
    return ZoneInfo(name) if name else None


def zone_within(city: str, country: str, language: str) -> ZoneInfo | None:
    """The time zone of a city that is in this country (or in a land with the same time: "Edinburgh, Scotland"), else
    None: Paris in Texas is not the one that `zone_of` knows."""
    zone, other = (_zones(language).get(_key(name)) for name in (city, country))
    if zone is None:
        return None
    same_time = other is not None and _canonical(other) == _canonical(zone)
    territory = get_global("zone_territories").get(_canonical(zone))
    return ZoneInfo(zone) if same_time or territory == _territories(language).get(_key(country), "") else None


def _canonical(zone: str) -> str:
    """The name by which the CLDR knows a zone."""
    return str(get_global("zone_aliases").get(zone, zone))


@lru_cache(maxsize=16)
def _territories(language: str) -> Mapping[str, str]:
    """Codes of countries by the plain form of their names."""
    named = {_key(name): code for code, name in Locale.parse(language, sep="-").territories.items()}
    return {**named, **{_key(name): "US" for name in _AMERICA}}


@lru_cache(maxsize=16)
def _zones(language: str) -> Mapping[str, str]:
    """Zone names by the plain form of the place."""
    locale = Locale.parse(language, sep="-")
    known = available_timezones()
    zones: dict[str, str] = {}
    for zone in sorted(known):
        area, _, city = zone.partition("/")
        if city and area not in ("Etc", "US", "SystemV", "posix", "right"):
            zones[_key(city.rpartition("/")[2])] = zone
    for territory, its_zones in get_global("territory_zones").items():
        main = _MAIN_ZONES.get(territory) or (its_zones[0] if len(its_zones) == 1 else "")
        country = locale.territories.get(territory)
        if country and main in known:
            zones.setdefault(_key(country), main)
    for zone, names in locale.time_zones.items():
        if "city" in names and zone in known:
            zones[_key(names["city"])] = zone
    for zone, cities in _CITIES.items():
        zones.update((_key(city), zone) for city in cities.split("|"))
    return zones


def _key(place: str) -> str:
    """Without case, accents and signs, so that 'Zürich' and 'zurich' are one place."""
    plain = unicodedata.normalize("NFD", place.casefold())
    return "".join(char for char in plain if char.isalnum())
