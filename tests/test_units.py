"""Numbers for people."""

from __future__ import annotations

import pytest

from hwnas.units import change, duration, plural, scale, show, tied


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00132, "s", "1.32 ms"),
        (0.0009996, "s", "1000 µs"),
        (0.000132, "s", "132 µs"),
        (12.3456, "s", "12.3 s"),
        (0.0, "s", "0 ns"),
        (0.98123, "%", "98.1 %"),
        (1.0, "%", "100.0 %"),
        (76.448, "percent", "76.4 %"),
        (2_202_009, "bytes", "2.10 MiB"),
        (512, "bytes", "512 B"),
        (42e6, "MACs", "42.0 M"),
        (42e6, "", "42.0 M"),
        (640, "", "640"),
        (7, "", "7"),
        (0.5, "", "0.500"),
        (-3.25, "", "−3.25"),
        (-4e24, "", "−4.00e+24"),
        (3.2e-6, "J", "3.20 µJ"),
        (81.5, "fps", "81.5 fps"),
    ],
)
def test_shows_values_in_the_unit_that_suits_them(value, unit, text):
    assert show(value, unit) == text


def test_values_side_by_side_share_a_scale():
    own = scale("s", [0.00231, 0.0009])
    assert (own(0.00231), own(0.0009), own.number(0.0009)) == ("2.31 ms", "0.900 ms", "0.900")


@pytest.mark.parametrize(
    ("now", "then", "unit", "text"),
    [
        (1.32, 2.31, "s", "−43 %"),
        (2.31, 1.32, "s", "+75 %"),
        (1.0, 1.001, "s", "±0 %"),
        (0.981, 0.984, "%", "−0.3 points"),
        (0.984, 0.981, "%", "+0.3 points"),
        (0.98, 0.98, "%", "±0.0 points"),
        (76.448, 77.1, "percent", "−0.7 points"),
        (-1.0, 2.0, "", ""),
        (1.0, 0.0, "", ""),
    ],
)
def test_tells_a_change(now, then, unit, text):
    assert change(now, then, unit) == text


def test_tells_durations_and_counts():
    assert [duration(seconds) for seconds in (2.13, 42.4, 366, 11_100)] == ["2.1 s", "42 s", "6 min", "3 h 05 min"]
    assert [plural(count, "network") for count in (0, 1, 1200)] == ["0 networks", "1 network", "1,200 networks"]


def test_numbers_are_tied_to_their_units():
    assert tied("from 2.31 ms (-43 %) to 3 more") == "from 2.31\u00a0ms (-43\u00a0%) to 3 more"
