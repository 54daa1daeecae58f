"""Timers, alarms and reminders by voice."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from babel import Locale
from babel.lists import format_list
from rapidfuzz import fuzz

from handlers.agent.schedule.durations import find_durations, parse_duration, say_duration
from handlers.agent.schedule.entry import Entry, Kind, Owner, ScheduleError, ScheduleFullError
from handlers.agent.schedule.schedule import FURTHEST, LONGEST_TIMER, Schedule
from handlers.agent.schedule.times import FoundTime, When, find_time, is_no_time, parse_time
from handlers.agent.schedule.words import LANGUAGES, words
from handlers.agent.skills.schedule_words import say_due
from handlers.agent.skills.stage import Match, Occasion, Phrases, Reply

_ASKED_SECONDS = 30.0
"""After this, a few words are no answer to our question any more."""

_MOST_ASKED = 100
"""Places whose answer we wait for."""

_NAME_WORDS = 4
"""A name has no more; what has is no timer but a question for the language model."""

_ALIKE = 70
"""Of 100, how alike a spoken name must be to a known one: "pastor", as Whisper may hear it, is 72 like "pasta"."""

_TEXT_WORDS = 8
"""Of an answer to "What shall I remind you of?"; a longer one is something else."""

_MOST_TIMERS = 5
"""Set in one sentence."""

_SHOWN = 5
"""Entries that are read out; nobody remembers more."""

Finish = Callable[[str, Occasion, Phrases], Awaitable[Reply]]
Choose = Callable[[Entry, Occasion, Phrases], Awaitable[Reply]]


@dataclass(frozen=True)
class _Asked:
    """A question of ours that waits for its answer."""

    understands: Callable[[str], bool]
    finish: Finish
    expires: float = field(default_factory=lambda: time.monotonic() + _ASKED_SECONDS)


_ONLY_ASKS = frozenset(
    {"TimerAsk", "TimerLeft", "TimerList", "AlarmAsk", "AlarmList", "ReminderAsk", "ReminderList", "Cancel"}
)
"""Intents that change nothing; and "stop", so that what rings is silenced also when nothing can be written down."""


@dataclass(frozen=True)
class _NewTimer:
    seconds: float
    name: str = ""


class ScheduleSkill:
    """What is said about the schedule of the house.

    It also takes "stop" (Cancel), for what rings; so it stands behind the skill that answers it otherwise.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._asked: OrderedDict[str, _Asked] = OrderedDict()
        for language in LANGUAGES:  # makes the tables of words, which the first sentence need not wait for
            find_time("at 7 in 20 minutes", language, schedule.clock.now())
        self._perform: dict[str, Callable[[Match, Occasion, Phrases], Awaitable[Reply]]] = {
            "TimerSet": self._set_timers,
            "TimerAsk": self._ask_duration,
            "TimerLeft": self._tell_left,
            "TimerList": self._tell_left,
            "TimerCancel": self._cancel_timer,
            "TimerCancelAll": self._cancel_all,
            "TimerPause": self._pause_timer,
            "TimerResume": self._resume_timer,
            "TimerAdd": self._extend_timer,
            "TimerRemove": self._extend_timer,
            "AlarmSet": self._set_alarm,
            "AlarmAsk": self._ask_time,
            "AlarmList": self._tell_alarms,
            "AlarmCancel": self._cancel_alarm,
            "AlarmCancelAll": self._cancel_all,
            "ReminderSet": self._set_reminder,
            "ReminderAsk": self._ask_what,
            "ReminderList": self._tell_reminders,
            "ReminderCancel": self._cancel_reminder,
            "ReminderCancelAll": self._cancel_all,
            "ScheduleAnswer": self._answer,
            "Cancel": self._stop,
        }

    @property
    def intents(self) -> frozenset[str]:
        return frozenset(self._perform)

    @property
    def acts(self) -> frozenset[str]:
        return frozenset(self._perform) - _ONLY_ASKS

    @property
    def discreet(self) -> bool:
        return False

    def accepts(self, match: Match, phrases: Phrases) -> bool:
        """Whether durations and times are ones; a bare word is only an answer to a question of ours."""
        slots, language = match.slots, match.language
        match match.intent:
            case "TimerSet":
                return bool(_new_timers(match, phrases)) or self._timer_end(match) is not None
            case "TimerLeft" | "TimerCancel" if "timer_about" in slots:
                return any(_named(timer, slots["timer_about"], phrases) for timer in self._schedule.entries(Kind.TIMER))
            case "TimerAdd" | "TimerRemove":
                if _change(match, phrases) is None:
                    return False
            case "AlarmSet":
                said = _alarm_words(match)
                return self._alarm_time(said, language) is not None or self._is_no_time(said, language)
            case "AlarmCancel" | "AlarmList" if "alarm_time" in slots:
                return self._alarm_time(slots["alarm_time"], language) is not None
            case "ReminderSet":
                said = slots.get("reminder_what", "")
                if _behind(said, phrases.words("reminder_leads")):
                    return True
                return self._find_time(said, phrases) is not None
            case "ScheduleAnswer":
                said = slots.get("timer_name", "")
                now = time.monotonic()
                return bool(said.strip()) and any(
                    asked.expires > now and asked.understands(said) for asked in self._asked.values()
                )
        name = slots.get("timer_name")
        if name is None or (match.intent != "TimerAsk" and _only_duration(name, phrases) is not None):
            return True
        return 0 < len(_bare(name, phrases).split()) <= _NAME_WORDS

    async def perform(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        place = occasion.request.session.place
        if match.intent != "ScheduleAnswer":
            self._asked.pop(place, None)
        try:
            return await self._perform[match.intent](match, occasion, phrases)
        except ScheduleFullError:
            return Reply(phrases.say("ScheduleFull"))
        except ScheduleError:
            return Reply(phrases.say("ScheduleFailed"))

    async def _set_timers(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        end = self._timer_end(match)
        timers = _new_timers(match, phrases)
        if end is not None:
            clock = self._schedule.clock
            timers = [_NewTimer(clock.instant(end.at) - clock.wall())]
        return await self._start(timers, occasion, phrases)

    def _timer_end(self, match: Match) -> When | None:
        """The time of day of "a timer until half past seven"; only behind "until" may it also read as a length."""
        until = match.slots.get("timer_until")
        said = match.slots.get("timer_time", "") if until is None else until
        if until is None and parse_duration(said, match.language) is not None:
            return None
        when = parse_time(said, match.language, self._schedule.clock.now())
        if when is None or not when.timed or when.after is not None or when.repeat:
            return None
        return when if when.sure or until is not None else None

    async def _start(self, timers: Sequence[_NewTimer], occasion: Occasion, phrases: Phrases) -> Reply:
        if not all(1 <= timer.seconds <= LONGEST_TIMER for timer in timers):
            return Reply(phrases.say("TimerTooLong"))
        said = []
        for timer in timers:
            await self._schedule.timer(_owner(occasion), timer.seconds, timer.name)
            duration = say_duration(timer.seconds, occasion.locale)
            said.append(phrases.say("TimerNew", duration=duration, name=timer.name) if timer.name else duration)
        return Reply(phrases.say("TimerSet", timers=_upper(format_list(said, locale=occasion.locale))))

    async def _ask_duration(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        name = match.slots.get("timer_name", "")

        async def finish(said: str, occasion: Occasion, phrases: Phrases) -> Reply:
            seconds = _asked_duration(said, phrases)
            return await self._start([_NewTimer(seconds or 0, name)], occasion, phrases)

        self._ask(occasion, lambda said: _asked_duration(said, phrases) is not None, finish)
        return Reply(phrases.say("TimerHowLong"))

    async def _tell_left(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        name = match.slots.get("timer_name") or match.slots.get("timer_about", "")
        found = self._timers(name, occasion, phrases)
        if not found:
            return self._no_timer(name, occasion, phrases)
        if len(found) == 1:
            [timer] = found
            if self._schedule.left(timer) <= 0:
                return Reply(phrases.say("TimerOver"))
            left = say_duration(max(1.0, self._schedule.left(timer)), occasion.locale)
            if timer.remaining is not None:
                return Reply(phrases.say("TimerPaused", left=_upper(left)))
            if timer.name and not name:
                return Reply(phrases.say("TimerLeftNamed", left=_upper(left), name=timer.name))
            return Reply(phrases.say("TimerLeft", left=_upper(left)))
        items = []
        for timer in found[:_SHOWN]:
            left = self._said_left(timer, occasion, phrases)
            alike = {
                other.duration
                for other in found
                if not other.name and self._said_left(other, occasion, phrases) == left
            }
            if timer.name or len(alike) > 1 or self._schedule.left(timer) <= 0:
                left = phrases.say("TimerItem", what=self._what(timer, occasion.locale), left=left)
            items.append(left)  # without a name the time that is left tells most of them apart
        items += _more(found, phrases)
        return Reply(phrases.say("TimersAre", count=len(found), list="; ".join(items)))

    def _said_left(self, timer: Entry, occasion: Occasion, phrases: Phrases) -> str:
        """What is said of a timer in a list, without what it is called."""
        left = self._schedule.left(timer)
        if left <= 0:
            return phrases.say("TimerItemOver")
        name = "TimerItemLeft" if timer.remaining is None else "TimerItemPaused"
        return phrases.say(name, left=say_duration(max(1.0, left), occasion.locale))

    def _no_timer(self, name: str, occasion: Occasion, phrases: Phrases) -> Reply:
        """There is none, or none that is called so: "pasta", "3 minute"."""
        if not name:
            return Reply(phrases.say("TimerNone"))
        duration = _only_duration(name, phrases)
        return Reply(
            phrases.say("TimerNoneNamed", name=name if duration is None else say_duration(duration, occasion.locale))
        )

    async def _cancel_timer(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        satellite = occasion.request.session.satellite
        named = match.slots.get("timer_name") or match.slots.get("timer_about")
        if not named and (self._schedule.silence(satellite) or self._schedule.rang(satellite)):
            return Reply(phrases.say("ScheduleStopped"))

        async def cancel(timer: Entry, occasion: Occasion, phrases: Phrases) -> Reply:
            await self._schedule.cancel([timer])
            return Reply(phrases.say("TimerCancelled", what=self._what(timer, occasion.locale)))

        return await self._choose_timer(match, occasion, phrases, cancel)

    async def _pause_timer(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        async def pause(timer: Entry, occasion: Occasion, phrases: Phrases) -> Reply:
            paused = timer if timer.remaining is not None else await self._schedule.pause(timer)
            left = say_duration(max(1.0, self._schedule.left(paused)), occasion.locale)
            return Reply(phrases.say("TimerPaused", left=_upper(left)))

        return await self._choose_timer(match, occasion, phrases, pause, lambda timer: timer.remaining is None)

    async def _resume_timer(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        async def resume(timer: Entry, occasion: Occasion, phrases: Phrases) -> Reply:
            running = await self._schedule.resume(timer) if timer.remaining is not None else timer
            left = say_duration(max(1.0, self._schedule.left(running)), occasion.locale)
            return Reply(phrases.say("TimerLeft", left=_upper(left)))

        return await self._choose_timer(match, occasion, phrases, resume, lambda timer: timer.remaining is not None)

    async def _extend_timer(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        seconds = _change(match, phrases) or 0.0
        if match.intent == "TimerRemove":
            seconds = -seconds

        async def extend(timer: Entry, occasion: Occasion, phrases: Phrases) -> Reply:
            if not 0 < self._schedule.left(timer) + seconds <= LONGEST_TIMER:
                return Reply(phrases.say("TimerTooShort" if seconds < 0 else "TimerTooLong"))
            changed = await self._schedule.extend(timer, seconds)
            left = say_duration(max(1.0, self._schedule.left(changed)), occasion.locale)
            return Reply(phrases.say("TimerLeft", left=_upper(left)))

        return await self._choose_timer(match, occasion, phrases, extend)

    async def _choose_timer(
        self,
        match: Match,
        occasion: Occasion,
        phrases: Phrases,
        act: Choose,
        fits: Callable[[Entry], bool] = lambda timer: True,
    ) -> Reply:
        """Act on the timer that is meant, or ask which one that is. Of several, those that `fits` come first."""
        name = match.slots.get("timer_name") or match.slots.get("timer_about", "")
        found = self._timers(name, occasion, phrases)
        if not found:
            return self._no_timer(name, occasion, phrases)
        if len(found) > 1:
            found = [timer for timer in found if fits(timer)] or found
        if len({self._what(timer, occasion.locale) for timer in found}) == 1:  # the first of two that are called alike
            return await act(found[0], occasion, phrases)

        def named(said: str) -> list[Entry]:
            return [one for one in found if _named(one, said, phrases)]

        async def finish(said: str, occasion: Occasion, phrases: Phrases) -> Reply:
            return await act(named(said)[0], occasion, phrases)

        self._ask(occasion, lambda said: len(named(said)) == 1, finish)
        choices = [self._what(timer, occasion.locale) for timer in found[:_SHOWN]]
        return Reply(phrases.say("ScheduleWhich", list=format_list(choices, style="or", locale=occasion.locale)))

    def _timers(self, name: str, occasion: Occasion, phrases: Phrases) -> list[Entry]:
        """Timers of this place; with a name also those of others, where none here is called so."""
        owner = _owner(occasion)
        here = self._schedule.here(Kind.TIMER, owner)
        if not name:
            return here or self._schedule.visible(Kind.TIMER, owner)
        for timers in (here, self._schedule.visible(Kind.TIMER, owner)):
            if named := [timer for timer in timers if _named(timer, name, phrases)]:
                nameless = [timer for timer in named if not timer.name]  # "the 5 minute timer" beside one for eggs
                return nameless if len(nameless) == 1 else named
        return []

    async def _set_alarm(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        return await self._set_alarm_for(_alarm_words(match), "waking" in match.slots, occasion, phrases)

    async def _set_alarm_for(self, said: str, waking: bool, occasion: Occasion, phrases: Phrases) -> Reply:
        when = self._alarm_time(said, phrases.language, waking=waking)
        if when is None and self._is_no_time(said, phrases.language):
            return Reply(phrases.say("TimeUnknown"))
        problem = self._problem(when, phrases)
        if when is None or problem is not None:
            return problem or Reply(phrases.say("ScheduleFailed"))
        alarm = await self._schedule.alarm(_owner(occasion), when.at, when.repeat)
        return Reply(phrases.say("AlarmSet", when=self._say_due(alarm, occasion, phrases)))

    async def _ask_time(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        async def finish(said: str, occasion: Occasion, phrases: Phrases) -> Reply:
            return await self._set_alarm_for(said, "waking" in match.slots, occasion, phrases)

        self._ask(occasion, lambda said: self._alarm_time(said, phrases.language) is not None, finish)
        return Reply(phrases.say("AlarmWhen"))

    async def _tell_alarms(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        found = self._alarms(occasion)
        if not found:
            return Reply(phrases.say("AlarmNone"))
        return Reply(phrases.say("AlarmsAre", count=len(found), list=self._list(found, occasion, phrases)))

    async def _cancel_alarm(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        satellite = occasion.request.session.satellite
        said = match.slots.get("alarm_time", "")
        if not said and (self._schedule.silence(satellite) or self._schedule.rang(satellite)):
            return Reply(phrases.say("ScheduleStopped"))
        found = self._alarms(occasion)

        def meant(said: str) -> list[Entry]:
            when = self._alarm_time(said, phrases.language)
            return [alarm for alarm in found if when is not None and _same_time(alarm, when)]

        async def cancel(said: str, occasion: Occasion, phrases: Phrases) -> Reply:
            [alarm, *_] = meant(said) if said else found
            await self._schedule.cancel([alarm])
            return Reply(phrases.say("AlarmCancelled", when=self._say_due(alarm, occasion, phrases)))

        candidates = meant(said) if said else found
        if not candidates:
            return Reply(phrases.say("AlarmNoneThen" if said and found else "AlarmNone"))
        if len(candidates) == 1:
            return await cancel(said, occasion, phrases)
        self._ask(occasion, lambda said: len(meant(said)) == 1, cancel)
        choices = [self._say_due(alarm, occasion, phrases) for alarm in candidates[:_SHOWN]]
        return Reply(phrases.say("ScheduleWhich", list=format_list(choices, style="or", locale=occasion.locale)))

    def _alarms(self, occasion: Occasion) -> list[Entry]:
        owner = _owner(occasion)
        return self._schedule.here(Kind.ALARM, owner) or self._schedule.visible(Kind.ALARM, owner)

    def _alarm_time(self, said: str, language: str, *, waking: bool = False) -> When | None:
        """A time, also "in 20 minutes"; a length of time alone is none."""
        return parse_time(said, language, self._schedule.clock.now(), waking=waking)

    def _is_no_time(self, said: str, language: str) -> bool:
        return is_no_time(said, language, self._schedule.clock.now())

    async def _set_reminder(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        return await self._set_reminder_for(match.slots["reminder_what"], occasion, phrases)

    async def _ask_what(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        self._ask(occasion, lambda said: _is_text(said, phrases), self._set_reminder_for)
        return Reply(phrases.say("ReminderWhat"))

    async def _set_reminder_for(self, said: str, occasion: Occasion, phrases: Phrases) -> Reply:
        found = self._find_time(said, phrases)
        if found is None or not found.rest:
            return self._ask_when(said, found, occasion, phrases)
        return await self._remind(found.rest, found.when, occasion, phrases)

    def _ask_when(self, said: str, found: FoundTime | None, occasion: Occasion, phrases: Phrases) -> Reply:
        """Only what or only when was said: ask for the other."""
        if found is not None:
            when = found.when

            async def take_text(said: str, occasion: Occasion, phrases: Phrases) -> Reply:
                return await self._remind(_without(said, phrases), when, occasion, phrases)

            self._ask(occasion, lambda said: _is_text(said, phrases), take_text)
            return Reply(phrases.say("ReminderWhat"))
        text = _without(said, phrases)

        def understands(said: str) -> bool:
            return parse_time(said, phrases.language, self._schedule.clock.now()) is not None

        async def take_time(said: str, occasion: Occasion, phrases: Phrases) -> Reply:
            when = parse_time(said, phrases.language, self._schedule.clock.now())
            return await self._remind(text, when, occasion, phrases)

        self._ask(occasion, understands, take_time)
        return Reply(phrases.say("ReminderWhen"))

    async def _remind(self, text: str, when: When | None, occasion: Occasion, phrases: Phrases) -> Reply:
        problem = self._problem(when, phrases)
        if when is None or problem is not None:
            return problem or Reply(phrases.say("ScheduleFailed"))
        at = when.at if when.after is None else when.after
        entry = await self._schedule.reminder(_owner(occasion), text, at, when.repeat)
        if when.after is not None:
            said = phrases.say("WhenIn", duration=say_duration(when.after, occasion.locale))
        else:
            said = self._say_due(entry, occasion, phrases)
        return Reply(phrases.say("ReminderSet", when=said, text=text))

    async def _tell_reminders(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        found = self._schedule.visible(Kind.REMINDER, _owner(occasion))
        if not found:
            return Reply(phrases.say("ReminderNone"))
        return Reply(phrases.say("RemindersAre", count=len(found), list=self._list(found, occasion, phrases)))

    async def _cancel_reminder(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        about = _without(match.slots.get("reminder_about", ""), phrases)
        found = self._schedule.visible(Kind.REMINDER, _owner(occasion))

        def meant(said: str) -> list[Entry]:
            return [entry for entry in found if _about(entry.text, said)]

        async def cancel(said: str, occasion: Occasion, phrases: Phrases) -> Reply:
            [entry, *_] = meant(said) if said else found
            await self._schedule.cancel([entry])
            return Reply(phrases.say("ReminderCancelled", text=entry.text))

        candidates = meant(about) if about else found
        if not candidates:
            return Reply(
                phrases.say("ReminderNoneAbout", text=about) if about and found else phrases.say("ReminderNone")
            )
        if len(candidates) == 1:
            return await cancel(about, occasion, phrases)
        self._ask(occasion, lambda said: len(meant(said)) == 1, cancel)
        choices = [entry.text for entry in candidates[:_SHOWN]]
        return Reply(phrases.say("ScheduleWhich", list=format_list(choices, style="or", locale=occasion.locale)))

    async def _cancel_all(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        """Of this place; where there are none, those of the others ("all" is said to be sure)."""
        kind = Kind(match.intent.removesuffix("CancelAll").lower())
        owner = _owner(occasion)
        found = self._schedule.here(kind, owner) or self._schedule.visible(kind, owner)
        if not found:
            return Reply(phrases.say(f"{kind.capitalize()}None"))
        others = len(self._schedule.visible(kind, owner)) - len(found)
        await self._schedule.cancel(found)
        said = phrases.say(f"{kind.capitalize()}sCancelled", count=len(found))
        return Reply(f"{said} {phrases.say('StillElsewhere', count=others)}" if others else said)

    async def _answer(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        """Only the place that was asked can answer, and `accepts` does not know where a sentence was said: elsewhere it
        answers nothing, and a question that it does not fit stays open."""
        place, said = occasion.request.session.place, match.slots["timer_name"]
        asked = self._asked.get(place)
        if asked is None or asked.expires <= time.monotonic() or not asked.understands(said):
            return Reply(phrases.say("ScheduleNoQuestion"))
        del self._asked[place]
        return await asked.finish(said, occasion, phrases)

    async def _stop(self, match: Match, occasion: Occasion, phrases: Phrases) -> Reply:
        """ "Stop" ends what rings here; our question, if there is one, is withdrawn already."""
        self._schedule.silence(occasion.request.session.satellite)
        return Reply(phrases.say("Cancel"))

    def _ask(self, occasion: Occasion, understands: Callable[[str], bool], finish: Finish) -> None:
        self._asked[occasion.request.session.place] = _Asked(understands, finish)
        while len(self._asked) > _MOST_ASKED:
            self._asked.popitem(last=False)

    def _find_time(self, said: str, phrases: Phrases) -> FoundTime | None:
        """The time in a sentence and what is to be said then; also "daran, morgen um 8 den Müll rauszubringen"."""
        now = self._schedule.clock.now()
        found = find_time(said, phrases.language, now) or find_time(_without(said, phrases), phrases.language, now)
        return FoundTime(found.when, _without(found.rest, phrases)) if found else None

    def _problem(self, when: When | None, phrases: Phrases) -> Reply | None:
        clock = self._schedule.clock
        if when is None:
            return None
        wait = when.after if when.after is not None else clock.instant(when.at) - clock.wall()
        if wait <= 0:
            return Reply(phrases.say("TimePassed"))
        return Reply(phrases.say("TimeTooFar")) if wait > FURTHEST else None

    def _list(self, found: Sequence[Entry], occasion: Occasion, phrases: Phrases) -> str:
        items = []
        for entry in found[:_SHOWN]:
            when = self._say_due(entry, occasion, phrases)
            if self._schedule.left(entry) <= 0:
                when = phrases.say("IsDue", when=when)
            items.append(phrases.say("ReminderItem", text=entry.text, when=when) if entry.text else when)
        if more := _more(found, phrases):
            return "; ".join([*items, *more])
        return "; ".join(items) if found[0].text else format_list(items, locale=occasion.locale)

    def _say_due(self, entry: Entry, occasion: Occasion, phrases: Phrases) -> str:
        return say_due(entry, self._schedule.clock, occasion.locale, phrases)

    def _what(self, timer: Entry, locale: Locale) -> str:
        return timer.name or say_duration(timer.duration, locale)


def _new_timers(match: Match, phrases: Phrases) -> list[_NewTimer]:
    """The timers of "5 minutes for pasta and 10 minutes for eggs"; empty where anything else is said."""
    text = match.slots.get("timer_time", "")
    found = find_durations(text, match.language)
    if not 0 < len(found) <= _MOST_TIMERS:
        return []
    edges = [0, *(edge for duration in found for edge in (duration.start, duration.end)), len(text)]
    between = [_bare(text[start:end], phrases) for start, end in zip(edges[::2], edges[1::2], strict=True)]
    given = _bare(match.slots.get("timer_name", ""), phrases)
    if len(found) == 1:
        names = [given or " ".join(filter(None, between))]
    elif between[0] and not between[-1]:  # "pasta for 5 minutes and eggs for 10 minutes"
        names = between[:-1]
    elif not between[0]:
        names = between[1:]
    else:
        return []
    if any(len(name.split()) > _NAME_WORDS or re.search(r"\d", name) for name in names):
        return []
    if between[0] and _speaks_of_one(text[: found[0].start], between[0], phrases):
        return []
    return [_NewTimer(duration.seconds, name) for duration, name in zip(found, names, strict=True)]


def _speaks_of_one(before: str, name: str, phrases: Phrases) -> bool:
    """Whether what stands before a length of time speaks of a timer that is there, and is no name of a new one:
    "cancel the" of "cancel the 3 minute timer"."""
    last = before.casefold().split()[-1]
    return last in phrases.words("definite") or name.casefold().split()[0] in phrases.words("actions")


def _change(match: Match, phrases: Phrases) -> float | None:
    """Seconds of "5 minutes"; in a place that wants it, of "5 more minutes" and not without the "more"."""
    if "timer_more" not in match.slots:
        seconds = parse_duration(match.slots.get("timer_time", ""), match.language)
        return seconds if seconds is None or seconds > 0 else None
    more = "|".join(map(re.escape, phrases.words("more")))
    said, found = re.subn(rf"(?<!\w)(?:{more})(?!\w)", " ", match.slots["timer_more"], flags=re.IGNORECASE)
    if not found:
        return None
    seconds = parse_duration(said, match.language) or parse_duration(f"1 {said.strip()}", match.language)
    return seconds if seconds is None or seconds > 0 else None


def _alarm_words(match: Match) -> str:
    """The time and the day of "a 9 a.m. alarm for Saturday", which stand in two places."""
    return f"{match.slots.get('alarm_time', '')} {match.slots.get('alarm_day', '')}".strip()


def _bare(text: str, phrases: Phrases) -> str:
    """A name without the small words around it."""
    small = set(phrases.words("timer_fillers"))
    spoken = re.findall(r"\w[\w'’&-]*(?<!-)", text)
    while spoken and spoken[0].casefold() in small:
        spoken.pop(0)
    while spoken and spoken[-1].casefold() in small:
        spoken.pop()
    return " ".join(spoken)


def _only_duration(said: str, phrases: Phrases) -> float | None:
    """The length of time in "for 10 minutes, please"."""
    found = find_durations(said, phrases.language)
    if len(found) != 1 or _bare(said[: found[0].start] + said[found[0].end :], phrases):
        return None
    return found[0].seconds


def _asked_duration(said: str, phrases: Phrases) -> float | None:
    """The answer to "For how long?": a lone number is minutes."""
    seconds = _only_duration(said, phrases)
    if seconds is None and (numbers := [word for word in words(said, phrases.language) if word.text.isdigit()]):
        return _only_duration(f"{said[: numbers[-1].end]} min {said[numbers[-1].end :]}", phrases)
    return seconds


def _is_text(said: str, phrases: Phrases) -> bool:
    """Whether the answer to "What shall I remind you of?" can be one; a question is none."""
    first = said.casefold().replace("’", "'").lstrip("¿¡ ").split(" ", 1)[0].strip(",.!?")
    return 0 < len(said.split()) <= _TEXT_WORDS and first not in phrases.words("questions")


def _more(found: Sequence[Entry], phrases: Phrases) -> list[str]:
    """What stands at the end of a list for the entries that are not read out."""
    left = len(found) - _SHOWN
    return [phrases.say("AndMore", count=left)] if left > 0 else []


def _without(text: str, phrases: Phrases) -> str:
    """What a reminder is about, without the words that lead to it: "to", "that", "daran, dass"."""
    leads = [*phrases.words("reminder_leads"), *phrases.words("reminder_links")]
    text = text.strip(" ,;:.!?")
    while rest := _behind(text, leads):
        text = rest
    return text


def _behind(text: str, leads: Sequence[str]) -> str:
    """What follows the longest of these words at the beginning of a text; empty where none is there."""
    lower = text.casefold().replace("’", "'")
    for lead in sorted(leads, key=len, reverse=True):
        rest = text[len(lead) :]
        if lower.startswith(lead) and (lead.endswith("'") or not rest[:1].isalnum()):
            return rest.strip(" ,;:.!?")
    return ""


def _named(timer: Entry, said: str, phrases: Phrases) -> bool:
    """Whether a timer is called so, or is for so long."""
    duration = _only_duration(said, phrases)
    if duration is not None:
        return abs(timer.duration - duration) < 1
    name, said = _bare(timer.name, phrases).casefold(), _bare(said, phrases).casefold()
    return bool(name) and bool(said) and (name == said or fuzz.ratio(name, said) >= _ALIKE)


def _about(text: str, said: str) -> bool:
    """Whether a reminder is about something: its words, or words that sound like them."""
    return fuzz.partial_ratio(text.casefold(), said.casefold()) >= _ALIKE if len(said) > 2 else False


def _same_time(alarm: Entry, when: When) -> bool:
    """Whether an alarm rings at a time of day; "7" is any of the two, and "tomorrow" any alarm of that day."""
    hour, minute = (int(part) for part in alarm.wall[11:16].split(":"))
    if not when.timed:
        return alarm.wall[:10] == when.at.date().isoformat()
    same_hour = hour % 12 == when.at.hour % 12 if when.either else hour == when.at.hour
    return same_hour and minute == when.at.minute and when.repeat <= alarm.repeat


def _owner(occasion: Occasion) -> Owner:
    session = occasion.request.session
    return Owner(session.satellite, session.user, session.language)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
