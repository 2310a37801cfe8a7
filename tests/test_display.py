import errno
import io
import re
import signal
from fractions import Fraction

import numpy as np
import pytest
from rich.console import Console

from hwnas import display
from hwnas.display import Display, describe
from hwnas.errors import Interrupted
from hwnas.progress import Progress

BEST = {"feasible": 8, "over_limit": 0, "failed": 0, "best": {"latency": 0.00132, "accuracy": 0.981}}
UNITS = {"latency": "s", "accuracy": "%"}


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(display, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def no_wishes(monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def plain() -> Console:
    return Console(file=io.StringIO(), width=80)


def terminal(width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width)


def said(console: Console) -> list[str]:
    return console.file.getvalue().splitlines()


def screen(console: Console) -> list[str]:
    """What stands on a terminal after all of it was written: the few control codes that a live display needs."""
    lines, row, column = [""], 0, 0
    for code, text in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z]|[\r\n])|([^\x1b\r\n]+)", console.file.getvalue()):
        if text:
            lines[row] = (lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]).rstrip()
            column += len(text)
        elif code == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif code == "\r":
            column = 0
        elif code.endswith("A"):
            row -= int(code[2:-1])
        elif code == "\x1b[2K":
            lines[row] = ""
        else:
            assert code[-1] in "mhl", code
    return [line for line in lines if line]


# --- plain lines -----------------------------------------------------------------------------------------------------


def test_plain_lines_come_every_few_seconds_and_once_at_the_end(clock):
    console = plain()
    show = Display(console, UNITS)
    with show.shown():
        for done in range(101):
            show(Progress("search", done, 100, BEST))
            clock.now += 0.2
        show(Progress("search", 100, 100, {"failed": 1}))
        show(Progress("export"))
    lines = said(console)
    facts = "feasible 8 · best latency 1.32 ms, accuracy 98.1 %"
    assert lines[0] == f"search 0/100: {facts}"
    assert lines[1] == f"search 25/100 (5.0 s, about 15 s left): {facts}"
    assert [line.split()[1].strip(":") for line in lines[:-1]] == ["0/100", "25/100", "50/100", "75/100", "100/100"]
    assert lines[-2:] == [f"search 100/100 (20 s): {facts.replace(' · ', ' · failed 1 · ', 1)}", "export"]
    assert "\x1b" not in console.file.getvalue()


@pytest.mark.parametrize("again", [1, 2, 5])
def test_no_line_stands_there_twice(clock, again):
    console = plain()
    show = Display(console)
    with show.shown():
        for done in (0, *[8] * again):
            show(Progress("confirm", done, 8))
    assert said(console) == ["confirm 0/8", "confirm 8/8 (0.0 s)"]


def test_a_phase_that_ends_quickly_is_said_whole_before_the_next(clock):
    console = plain()
    show = Display(console)
    with show.shown():
        for phase in ("one", "two"):
            for done in range(4):
                show(Progress(phase, done, 3))
    assert said(console) == ["one 0/3", "one 3/3 (0.0 s)", "two 0/3", "two 3/3 (0.0 s)"]


def test_an_error_leaves_what_was_reached(clock):
    console = plain()
    show = Display(console)
    with pytest.raises(ZeroDivisionError), show.shown():
        show(Progress("search", 1, 9))
        clock.now += 4
        show(Progress("search", 3, 9))
        raise ZeroDivisionError
    assert said(console) == ["search 1/9", "search 3/9 (4.0 s, about 12 s left)"]


def test_what_an_earlier_session_did_says_nothing_about_the_speed(clock):
    console = plain()
    show = Display(console)
    with show.shown():
        show(Progress("search", 90, 100))
        clock.now += 10
        show(Progress("search", 95, 100))
    assert said(console)[-1] == "search 95/100 (10 s, about 10 s left)"


def test_messages_have_a_line_and_change_no_figures(clock):
    console = plain()
    show = Display(console)
    with show.shown():
        show(Progress("train", message="reused [bold]the[/nothing] :warning: of runs/a [b]"))
        show(Progress("search", 4, 9))
        show(Progress("search", message="a warm start"))
        show(Progress("search", 5, 9))
    assert said(console) == [
        "  reused [bold]the[/nothing] :warning: of runs/a [b]",
        "search 4/9",
        "  a warm start",
        "search 5/9 (0.0 s)",
    ]


def test_a_block_may_be_entered_again_in_the_same_phase(clock):
    for console in (plain(), terminal()):
        show = Display(console)
        for done in (1, 2):
            with show.shown():
                show(Progress("search", done, 2))
        text = console.file.getvalue()
        assert text.index("1/2") < text.index("2/2")


@pytest.mark.parametrize("make", [plain, terminal])
def test_quiet_says_nothing(make):
    console = make()
    show = Display(console, quiet=True)
    with show.shown():
        show(Progress("search", 1, 2, message="hear, hear"))
        show(Progress("export"))
    assert console.file.getvalue() == ""


# --- a terminal ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_phase_leaves_its_finished_bar(clock, width):
    console = terminal(width)
    show = Display(console, UNITS)
    with show.shown():
        show(Progress("checking the limit on accuracy", 0, 8))
        clock.now += 3
        show(Progress("checking the limit on accuracy", 8, 8))
        show(Progress("noise floor"))
        clock.now += 100
        show(Progress("search", 4, 16, BEST))
        show(Progress("search", message="a warm start"))
        clock.now += 35
        show(Progress("search", 12, 16, {"hypervolume": 0.3824}))
        show(Progress("export"))
    lines = screen(console)
    assert all(len(line) <= width for line in lines)
    limit, noise, message, search, facts, export = lines
    assert re.fullmatch(r"checking the limit.* ━+  8/8  3 s", limit)
    assert re.fullmatch(r"noise floor +━+ +2 min", noise)
    assert message == "  a warm start"
    assert re.fullmatch(r"search +━+  12/16  35 s", search)
    assert facts.startswith("  feasible 8 · best latency 1.32 ms, accuracy 98.1 %")
    assert re.fullmatch(r"export +━+ +0 s", export)


def test_a_bar_shows_how_far_it_is_and_how_long_it_takes(clock):
    console = terminal()
    show = Display(console, UNITS)
    with pytest.raises(ZeroDivisionError), show.shown():
        show(Progress("search", 0, 1000))
        clock.now += 90 * 60
        show(Progress("search", 500, 1000, BEST))
        raise ZeroDivisionError
    bar, facts = screen(console)
    assert re.fullmatch(r"search +━+[╸╺]?━+  500/1000  1 h 30 min, about 1 h 30 min left", bar)
    assert len(bar) <= 80 and facts == "  feasible 8 · best latency 1.32 ms, accuracy 98.1 %"


def test_the_bar_is_there_while_it_is_drawn_and_the_cursor_comes_back():
    console = terminal()
    show = Display(console)
    with show.shown():
        show(Progress("search", 1, 4))
        assert "search" in screen(console)[-1]
        assert "\x1b[?25l" in console.file.getvalue()
    assert console.file.getvalue().endswith("\x1b[?25h")


def test_no_color_is_respected(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    console = terminal()
    show = Display(console)
    with show.shown():
        show(Progress("search", 1, 4))
        show._on_interrupt(signal.SIGINT, None)
    assert "search" in console.file.getvalue()
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", console.file.getvalue())


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    console = terminal()
    show = Display(console)
    with show.shown():
        show(Progress("search", 1, 4))
    assert said(console) == ["search 1/4"]


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def test_the_first_interrupt_stops_at_the_next_report_and_the_second_at_once(clock):
    before = signal.getsignal(signal.SIGINT)
    console = plain()
    show = Display(console)
    with pytest.raises(Interrupted), show.shown():
        show(Progress("search", 1, 4))
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        show(Progress("search", 2, 4))
    assert signal.getsignal(signal.SIGINT) is before
    asked = "stopping after the measurement in hand; Ctrl-C again to stop at once"
    assert said(console) == ["search 1/4", asked, "search 2/4 (0.0 s)"]


def test_an_interrupt_is_heard_in_quiet_too():
    show = Display(plain(), quiet=True)
    with show.shown():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted):
            show(Progress("search", 1, 4))


# --- whatever comes --------------------------------------------------------------------------------------------------


class Gone(io.StringIO):
    """A terminal that was closed."""

    closed_ = False

    def write(self, text: str, /) -> int:
        if self.closed_:
            raise OSError(errno.EIO, "Input/output error")
        return super().write(text)


@pytest.mark.parametrize("live", [False, True])
def test_work_goes_on_when_the_terminal_is_gone(clock, live):
    file = Gone()
    show = Display(Console(file=file, force_terminal=live, width=80))
    done = []
    with show.shown():
        for step in range(4):
            file.closed_ = step >= 1
            show(Progress(f"phase {step}", step, 3, message="still there"))
            done.append(step)
    assert done == [0, 1, 2, 3]


ODD = {
    "nan": float("nan"),
    "inf": float("-inf"),
    "none": None,
    "text": "[red]two\nlines[/blue]",
    "true": True,
    "list": [1, [2]],
    "array": np.arange(3),
    "scalar": np.float32(0.25),
    "whole": np.int64(3),
    "huge": 10**400,
    "fraction": Fraction(10**400, 3),
    "zero": 0,
    "bytes": b"\xff",
    "nested": {"a": None, "b": "many", "c": float("nan"), "d": {"e": 1}, 5: 1.0},
    "empty": {},
    7: 1.5,
}


@pytest.mark.parametrize("name", list(ODD), ids=str)
@pytest.mark.parametrize("make", [plain, terminal])
def test_odd_facts_are_shown_somehow(make, name):
    console = make()
    show = Display(console, {str(name): "s", "nested": "s", "a": "s", "b": "bytes", "c": "s"})
    with show.shown():
        show(Progress("search", 1, 4, {name: ODD[name]}))
    assert "search" in console.file.getvalue()


@pytest.mark.parametrize("make", [plain, terminal])
@pytest.mark.parametrize(("done", "total"), [(5, 4), (-1, 4), (1, -4), (0, 0), (3, 0), (10**30, 10**30)])
def test_odd_figures_are_shown_somehow(make, done, total):
    console = make()
    show = Display(console)
    with show.shown():
        show(Progress("[odd]", done, total))
        show(Progress("[odd]", 2 * done, total))
        show(Progress("", done, total))
    assert "[odd]" in console.file.getvalue()


def test_facts_in_words():
    assert describe({}, {}) == ""
    assert describe({"now": "elastic kernel", "epoch": 3, "loss": 2.3049}, {}) == "elastic kernel · epoch 3 · loss 2.30"
    assert (
        describe({"failed": 0, "over_limit": 2, "best": {}, "hypervolume": 0.0}, {}) == "over limit 2 · hypervolume 0"
    )
    assert describe({"best": {"latency": 37e-6, "macs": 2.21e6, "mine": -0.5}}, {"latency": "s", "macs": "MACs"}) == (
        "best latency 37.0 µs, macs 2.21 M, mine −0.500"
    )
    assert describe({"text": "two\n  lines", "nothing": None, "nan": float("nan")}, {}) == "text two lines · nan nan"


def test_what_a_search_tells_of_its_predictors_is_short():
    told = {"accuracy": {"predictor": "gp", "mape": 0.0031, "tau": 0.912}, "latency": {"mape": 0.05, "tau": None}}
    assert describe({"failed": 1, "notes": told}, UNITS) == (
        "failed 1 · accuracy predicted to 0.31 % (gp, rank correlation 0.91) · latency predicted to 5 %"
    )
    odd = {"temperature": 0.5, "accuracy": {"predictor": "none", "because": "too few"}, "step": {}}
    assert describe({"notes": odd}, UNITS) == "temperature 0.500 · accuracy (none, because too few) · step"
    assert describe({"notes": {}}, UNITS) == ""
