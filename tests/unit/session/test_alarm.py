"""Alarms: who has waited for how long."""

import random

from moqvox.session.lite.alarm import Alarm


def test_an_alarm_is_set_exactly_while_a_name_waits():
    dice = random.Random(3)
    alarm, now, waits = Alarm(1.0), 0.0, set()
    for _ in range(500):
        now += dice.random() / 2
        name = dice.randrange(4)
        match dice.choice(("start", "stop", "expire", "expire", "clear")):
            case "start":
                alarm.start(name)
                waits.add(name)
            case "stop":
                alarm.stop(name)
                waits.discard(name)
            case "expire":
                waits -= set(alarm.expire(now))
            case "clear":
                alarm.clear()
                waits.clear()
        assert alarm.is_set is bool(waits)
        assert (alarm.deadline() is not None) is bool(waits)
    assert now > 100


def test_a_name_is_due_so_long_after_the_time_was_told():
    alarm = Alarm(1.0)
    alarm.start(5)
    assert alarm.expire(10.0) == []
    assert alarm.deadline() == 11.0
    assert alarm.expire(11.0) == [5]
    assert not alarm.is_set
