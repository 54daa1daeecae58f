"""The words by which secrets are known, by language, as parts of regular expressions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SecretWords:
    """What tells of a secret in one language."""

    code: str
    """Words for a code that opens something."""
    login: str
    """Words for a password."""
    harmless: str
    """What looks like one of these but opens nothing: 'zip code'."""
    be: str
    """What stands between the word and its value."""
    change: str
    """'changed … to'."""
    no_login: str
    """What follows 'the password is' without being it."""
    unit: str
    """What makes a number a measure."""
    identity: str
    account: str
    numbers: str
    """Number words as they are spoken one after another."""


ENGLISH = SecretWords(
    code=r"(?:pass|key|access|entry|door|gate|alarm|lock|garage)?codes?|pins?|puk|combinations?"
    r"|(?:number|digits) (?:for|of|to) (?:the|my|our) (?:\w+ )?(?:safe|alarm|lock|padlock|vault)",
    login=r"pass ?words?|pass ?phrases?|passkeys?|(?:wi-?fi|network|security) keys?|code ?words?|secret answers?",
    harmless=r"(?:zip|post|postal|area|country|dial(?:l?ing)?|dress|source|error|fault|status|qr|bar|promo|promotion|"
    r"discount|coupon|voucher|colou?r|morse|product|fire|tax|highway|penal|airport|iata|exit|return)[ -]?codes?"
    r"|codes? (?:reviews?|freeze|base|of (?:conduct|honou?r|practice)|editor|names?|red|blue|club|camp)|codenames?"
    r"|barcodes?|postcodes?"
    r"|(?:bowling|rolling|safety|drawing|hair|clothes) pins?|pins? ?boards?",
    be=r"is|was|are|will be|reads?|equals|has been|became|becomes",
    change=r"(?:changed|set|updated|reset|switched)(?: from \S+)? to",
    no_login=r"on|in|under|at|by|with|from|behind|written|stored|saved|kept|hidden|the|a|an|my|our|your|his|her|their"
    r"|not|no|too|very|so|really|quite|pretty|still|wrong|right|correct|long|longer|short|shorter|hard|easy|weak|strong"
    r"|stronger|secure|safe|secret|private|gone|lost|old|new|needed|required|expired|expiring|about|due|case|what|where|"
    r"changed|printed|known|important|good|bad|better|different|complicated|simple|always|never|only|something|nothing|for|to|as"
    r"|that|this|it|working|fine|ok|okay|missing|visible|encrypted|protected|set|being|going|up|out|and|or|you|annoying",
    unit=r"lines?|digits?|characters?|letters?|years?|days?|hours?|minutes?|seconds?|pages?|euros?|dollars?|pounds?"
    r"|percent|times|people|met(?:er|re)s?|feet|kilos?|[km]b",
    identity=r"(?:social security|national insurance|ssn|nino)(?: number)?|identity (?:card )?number|tax (?:id|number)",
    account=r"(?:bank )?account number",
    numbers=r"zero|oh|nought|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|"
    r"eigh|nine)teen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|double|triple",
)

GERMAN = SecretWords(
    code=r"(?:[a-zäöüß]+-?)?codes?|(?:[a-zäöüß]+-)?pin(?:-?(?:nummer|code))?|puk|geheimzahl(?:en)?|geheimnummer"
    r"|(?:zahlen|schloss)-?kombination(?:en)?|kombination",
    login=r"(?:[a-zäöüß0-9-]+-?)?pass(?:wort|wörter)|(?:[a-zäöüß0-9-]+-?)?kennw(?:ort|örter)|losungswort"
    r"|(?:wlan|netzwerk|sicherheits)-?schlüssel",
    harmless=r"(?:fehler|farb|quell|rabatt|gutschein|länder|strich|qr|bar|dress|zip|post|produkt|aktions|flughafen|"
    r"morse|status|open-?source)-?codes?|codename|barcodes?|pinnwand",
    be=r"ist|war|sind|lautet|lautete|heißt|wird|bleibt",
    change=r"(?:wurde|ist|haben wir|habe ich)(?: jetzt| nun)?(?: von \S+)? (?:auf|in) (?=\S+(?: \S+)* ge[aä]ndert)"
    r"|geändert(?: von \S+)? (?:auf|in)",
    no_login=r"auf|in|im|unter|am|an|beim|bei|mit|von|hinter|der|die|das|ein|eine|mein|unser|dein|nicht|kein|zu|sehr"
    r"|so|ganz|ziemlich|noch|falsch|richtig|lang|länger|kurz|kürzer|schwer|leicht|schwach|stark|stärker|sicher|geheim|privat|weg"
    r"|verloren|alt|neu|nötig|abgelaufen|wichtig|gut|schlecht|besser|anders|kompliziert|einfach|immer|nie|nur|etwas|nichts"
    r"|für|als|dass|da|dort|wo|was|es|gespeichert|notiert|aufgeschrieben|geändert|bekannt|gerade|schon|wieder|und|oder",
    unit=r"zeilen?|ziffern?|stellen?|stellig|zeichen|buchstaben|jahre?|tage?|stunden?|minuten?|sekunden?|seiten?|euro"
    r"|prozent|mal|leute|meter|kilo",
    identity=r"(?:sozialversicherungs|rentenversicherungs|steueridentifikations|steuer|personalausweis)-?nummer|steuer-?id",
    account=r"konto-?nummer",
    numbers=r"null|eins?|zwei|zwo|drei|vier|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf|(?:drei|vier|fünf|sech|sieb|acht|"
    r"neun)zehn|(?:\w+und)?(?:zwanzig|dreißig|vierzig|fünfzig|sechzig|siebzig|achtzig|neunzig)"
    r"|\w*(?:hundert|tausend)\w*",
)

SWEDISH = SecretWords(
    code=r"(?:[a-zåäö]+-?)?kod(?:en|er|erna)?|pin(?:-?kod(?:en)?)?|puk-?kod(?:en)?|kombination(?:en)?",
    login=r"(?:[a-zåäö0-9-]+-?)?lösenord(?:et)?|lösen(?:et)?|kodord(?:et)?|nätverksnyckel(?:n)?",
    harmless=r"(?:fel|färg|käll|rabatt|lands|streck|qr-?|kampanj|produkt|kläd|morse|status)-?kod(?:en|er|erna)?"
    r"|postnummer",
    be=r"är|var|blir|lyder|heter",
    change=r"(?:ändrad|ändrats|ändrades|bytt|bytts|byttes)(?: från \S+)? till",
    no_login=r"på|i|under|vid|hos|med|från|bakom|en|ett|den|det|min|vår|din|inte|ingen|för|mycket|så|väldigt|ganska"
    r"|fortfarande|fel|rätt|lång|långt|längre|kort|kortare|svår|svårt|lätt|svag|svagt|stark|starkt|säkert|hemligt|privat|borta"
    r"|gammalt|nytt|viktigt|bra|dåligt|bättre|annorlunda|enkelt|alltid|aldrig|bara|något|inget|som|att|där|vad|sparat|skrivet"
    r"|ändrat|känt|redan|samma|till|och|eller",
    unit=r"rader?|siffror|siffrig|tecken|bokstäver|år|dagar?|timmar?|minuter?|sekunder?|sidor|kronor|procent|gånger|meter",
    identity=r"personnummer|personnumret|samordningsnummer",
    account=r"kontonummer|kontonumret",
    numbers=r"noll|ett|två|tre|fyra|fem|sex|sju|åtta|nio|tio|elva|tolv|(?:tret|fjor|fem|sex|sjut|ar|nit)ton"
    r"|(?:tjugo|trettio|fyrtio|femtio|sextio|sjuttio|åttio|nittio)\w*|hundra|tusen",
)

FRENCH = SecretWords(
    code=r"(?:digi)?codes?(?: (?:pin|secret|d'accès|d'entrée|confidentiel))?|pins?|combinaisons?",
    login=r"mots? de passe|phrases? secrètes?|clés? (?:wi-?fi|du wi-?fi|de sécurité|réseau)",
    harmless=r"codes? (?:postal|postaux|promo|de réduction|de la route|d'erreur|erreur|source|couleur|qr|barres?|civil|"
    r"pénal|du travail|vestimentaire|pays|produit|morse)|codes?-barres?",
    be=r"est|était|sont|sera|devient",
    change=r"(?:changé|passé|modifié)(?: de \S+)? (?:à|en|pour)",
    no_login=r"sur|dans|sous|à|au|chez|avec|de|derrière|le|la|les|un|une|mon|ma|notre|ton|ta|pas|trop|très|si|assez"
    r"|plutôt|encore|faux|bon|correct|long|plus|court|difficile|facile|faible|fort|sûr|secret|privé|perdu|vieux|nouveau"
    r"|nécessaire|expiré|important|mauvais|meilleur|différent|compliqué|simple|toujours|jamais|écrit|noté|enregistré|changé"
    r"|connu|déjà|où|ce|que|pour|et|ou|celui|en",
    unit=r"lignes?|chiffres?|caractères?|lettres?|ans?|années?|jours?|heures?|minutes?|secondes?|pages?|euros?|fois"
    r"|mètres?",
    identity=r"numéros? (?:de )?(?:sécurité sociale|sécu|la sécurité sociale)|numéro fiscal",
    account=r"numéro de compte",
    numbers=r"zéro|une?|deux|trois|quatre|cinq|six|sept|huit|neuf|dix|onze|douze|treize|quatorze|quinze|seize|vingts?"
    r"|trente|quarante|cinquante|soixante|cents?|mille",
)

SPANISH = SecretWords(
    code=r"códigos?(?: (?:pin|secreto|de acceso|de entrada))?|claves?(?: (?:secreta|de acceso))?|pins?"
    r"|combinaci(?:ón|ones)",
    login=r"contraseñas?|palabras? (?:clave|de paso)|claves? (?:del? )?(?:la )?(?:wi-?fi|red)",
    harmless=r"códigos? (?:postal(?:es)?|de barras|de error|de área|de país|de descuento|promocional|fuente|qr|"
    r"de color|de vestimenta|civil|penal|morse|de producto)",
    be=r"es|era|son|será|queda",
    change=r"(?:cambiad[oa]|cambió|cambiamos)(?: de \S+)? (?:a|por)",
    no_login=r"en|sobre|bajo|con|de|del|detrás|el|la|los|las|un|una|mi|nuestra|tu|no|muy|tan|demasiado|bastante|aún"
    r"|todavía|incorrecta|correcta|larga|más|corta|difícil|fácil|débil|fuerte|segura|secreta|privada|perdida|vieja|nueva"
    r"|necesaria|importante|buena|mala|mejor|distinta|complicada|simple|siempre|nunca|escrita|anotada|guardada|cambiada"
    r"|conocida|ya|donde|lo|que|para|y|o|igual",
    unit=r"líneas?|dígitos?|cifras?|caracteres|letras?|años?|días?|horas?|minutos?|segundos?|páginas?|euros?|veces|metros?",
    identity=r"números? de (?:la )?seguridad social|dni|nie",
    account=r"número de (?:la )?cuenta",
    numbers=r"cero|un[oa]?|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|once|doce|trece|catorce|quince|dieci\w+"
    r"|veint\w+|treinta|cuarenta|cincuenta|sesenta|setenta|ochenta|noventa|cien(?:to)?|mil",
)

LANGUAGES = {"en": ENGLISH, "de": GERMAN, "sv": SWEDISH, "fr": FRENCH, "es": SPANISH}
