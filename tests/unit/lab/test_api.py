"""The notebook's functions: frames in are files in, and frames out."""

import subprocess
import sys

import pytest

import detector.lab.replay
import detector.lab.sweep  # noqa: F401  # the modules are loaded, and the functions are found all the same
from detector.lab import calibrate, plots, replay, sweep
from detector.lab.calibrate import NotHealthyError
from detector.lab.columns import MappingError
from detector.lab.incidents import Incident

pytest.importorskip("narwhals")
T0 = 1_700_000_000.0
CONTRACT = """
version: 1
predicates:
  errors: {type: rate, field: error, ceiling: 0.01}
modes:
  error_spike: {when: errors}
fallbacks:
  rule: {type: rule, p99_ms: 20, share: 1}
matrix:
  - {mode: "*", input_class: "*", fallbacks: [rule]}
"""
CELLS = {
    "at": [T0 + i / 10 for i in range(900)],
    "error": ["500" if 600 <= i < 700 else "" for i in range(900)],
    "latency_s": [None if i % 7 == 0 else 0.1 for i in range(900)],
    "input_tokens": [None if i % 5 == 0 else 100 + i % 9 for i in range(900)],
}
OPTIONS = {"map": {"event_time": "at"}, "set": {"route": "chat"}}


def frames():
    for name in ("pandas", "polars", "pyarrow"):
        library = pytest.importorskip(name)
        yield name, library.table(CELLS) if name == "pyarrow" else library.DataFrame(CELLS)


def test_frames_of_every_library_and_a_file_of_the_same_cells_agree(tmp_path):
    """One digest; gaps in a frame are not measured, whatever stands for them; results come in kind."""
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame(CELLS).to_csv(tmp_path / "calls.csv", index=False)
    from_file = replay(tmp_path / "calls.csv", CONTRACT, **OPTIONS)
    assert [each.mode for each in from_file.result.activations] == ["error_spike"]

    for name, frame in frames():
        found = replay(frame, CONTRACT, **OPTIONS)
        assert (found.result.malformed, found.result.digest) == (0, from_file.result.digest)
        assert type(found.activations()).__module__.split(".")[0] == name
        assert found.transitions("pandas")["scope"].tolist()[0] == "chat"


def test_a_sweep_of_a_frame_has_a_row_per_setting_and_part():
    """Paths are columns; measures are beside them."""
    frame = pytest.importorskip("polars").DataFrame(CELLS)
    truth = [Incident("chat", "error_spike", T0 + 60, T0 + 70)]
    found = sweep(
        frame, CONTRACT, {"predicates.errors.ceiling": [0.01, 0.2]}, incidents=truth, split=0.5, **OPTIONS
    ).frame()

    assert found["predicates.errors.ceiling"].to_list() == [0.01, 0.01, 0.2, 0.2]
    assert found["part"].to_list() == ["chosen on", "held out"] * 2
    assert found["found"].to_list()[1::2] == [1, 1]


def spoilt(pandas, rows):
    frame = pandas.DataFrame(CELLS)
    frame["latency_s"] = [-1.0 if i in rows else 0.1 for i in range(900)]
    return frame


@pytest.mark.parametrize(
    "judge",
    [
        lambda frame: replay(frame, CONTRACT, **OPTIONS),
        lambda frame: sweep(frame, CONTRACT, {}, **OPTIONS),
        lambda frame: calibrate(frame, CONTRACT, **OPTIONS),
    ],
    ids=["replay", "sweep", "calibrate"],
)
def test_malformed_rows_of_a_frame_are_told_once(judge):
    """How many, and the first one's place and fault; good frames give no warning."""
    pandas = pytest.importorskip("pandas")
    with pytest.warns(UserWarning, match=r"3 malformed rows .*frame row 7 at \$\.latency_s: ") as told:
        found = judge(spoilt(pandas, {7, 70, 700})).result

    assert len(told) == 1
    assert told[0].filename == __file__
    assert (found.records, found.malformed, [each.row for each in found.shown]) == (897, 3, [7, 70, 700])
    judge(spoilt(pandas, set()))


@pytest.mark.parametrize(
    "judge",
    [
        lambda frame: replay(frame, CONTRACT, **OPTIONS),
        lambda frame: sweep(frame, CONTRACT, {}, **OPTIONS),
    ],
    ids=["replay", "sweep"],
)
def test_a_frame_that_begins_with_its_end_is_told(judge):
    """Nearly all of its rows are late."""
    pandas = pytest.importorskip("pandas")
    with pytest.warns(UserWarning, match="rows are late: is the file in descending time order"):
        judge(pandas.DataFrame(CELLS | {"at": [T0 - 10 * i for i in range(900)]}))


def test_a_frame_of_malformed_rows_alone_teaches_nothing_and_says_why():
    """The reason is not lost on the way."""
    frame = spoilt(pytest.importorskip("pandas"), range(900))
    with pytest.raises(NotHealthyError, match=r"900 malformed: frame row 0 at \$\.latency_s: "):
        calibrate(frame, CONTRACT, **OPTIONS)


def test_plots_draw_into_the_axes_given():
    """Axes in, the same axes out, with something on them."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    frame = pytest.importorskip("pandas").DataFrame(CELLS)
    truth = [Incident("chat", "error_spike", T0 + 60, T0 + 70)]
    figure, (one, other) = plt.subplots(2)
    swept = sweep(frame, CONTRACT, {"predicates.errors.ceiling": [0.01, 0.2]}, incidents=truth, **OPTIONS)

    assert replay(frame, CONTRACT, **OPTIONS).plot(one, incidents=truth) is one
    assert swept.plot(other) is other
    assert one.patches
    assert other.collections
    plt.close(figure)


@pytest.fixture
def plot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_only_faults_are_drawn_as_faults(plot):
    """What harmed nobody has another colour; where there was nothing, nothing is drawn."""
    from matplotlib.colors import to_hex

    frame = pytest.importorskip("pandas").DataFrame(CELLS)
    truth = [
        Incident("chat", "error_spike", T0 + 60, T0 + 70),
        Incident("chat", "input_drift", T0 + 20, T0 + 30, "benign"),
        Incident("chat", "error_spike", T0 + 40, T0 + 50, "false"),
        Incident("code", "error_spike", T0 + 40, T0 + 50, "false"),
    ]
    replay(frame, CONTRACT, **OPTIONS).plot(plot, incidents=truth)
    behind = [to_hex(each.get_facecolor()) for each in plot.patches if each.get_height() == 0.8]

    assert len(behind) == len(set(behind)) == 2
    assert behind[0] == plots.FAULT
    assert [each.get_text() for each in plot.get_yticklabels()] == ["chat"]


@pytest.mark.parametrize(("y", "bars"), [("false_per_week", 2), ("mistakes", 2), ("found_share", 0)])
def test_the_pareto_plot_shows_what_is_held_out_and_how_sure_its_counts_are(plot, y, bars):
    """A filled and a hollow point for the setting, each with a bar where something false is counted."""
    from matplotlib.collections import LineCollection, PathCollection

    frame = pytest.importorskip("pandas").DataFrame(CELLS)
    truth = [Incident("chat", "error_spike", T0 + 60, T0 + 70)]
    found = sweep(frame, CONTRACT, {}, incidents=truth, split=0.5, **OPTIONS)
    found.plot(plot, x="diverted", y=y)
    points = [
        each for each in plot.collections if isinstance(each, PathCollection) and each.get_zorder() == 3
    ]
    lines = [each for each in plot.collections if isinstance(each, LineCollection)]

    whole = {"false_per_week", "mistakes"}
    assert [len(each.get_facecolors()) for each in points] == ([1, 0] if y in whole else [0])
    assert len(lines) == bars
    (tried,) = found.result.tried
    if y == "false_per_week":
        ends = [tuple(segment[:, 1]) for each in lines for segment in each.get_segments()]
        parts = (tried.measures, tried.held_out)
        assert ends == [pytest.approx(each.false_per_week_interval) for each in parts]


def test_an_option_that_is_none_is_refused():
    """A mistyped option is not taken for nothing."""
    with pytest.raises(MappingError, match="time_units"):
        replay("calls.csv", CONTRACT, time_units="ms")


def table(kind):
    """Data of the kinds that people have at hand in a notebook."""
    rows = [{"event_time": T0 + i, "route": "chat"} for i in range(3)]
    if kind == "rows":
        return rows
    if kind in ("columns", "nothing", "number", "rows one by one"):
        return {"columns": {"event_time": [T0]}, "nothing": None, "number": 7}.get(kind, iter(rows))
    if kind == "lazy":
        return pytest.importorskip("polars").DataFrame(rows).lazy()
    frame = pytest.importorskip("pandas").DataFrame(rows)
    if kind == "series":
        return frame["route"]
    if kind == "twice":
        return type(frame)([[T0, "chat", "code"]], columns=["event_time", "route", "route"])
    return frame.rename(columns={"route": 0})


@pytest.mark.parametrize("judge", [replay, lambda *given: sweep(*given, {}), calibrate])
@pytest.mark.parametrize(
    ("kind", "error", "says"),
    [
        ("rows", TypeError, r"got dict among others; pandas\.DataFrame"),
        ("rows one by one", TypeError, "got dict among others"),
        ("columns", TypeError, "expected a path, paths, or a frame of pandas, polars or pyarrow, got dict;"),
        ("nothing", TypeError, "got NoneType;"),
        ("number", TypeError, "got int;"),
        ("series", TypeError, "a Series of pandas is no frame .* give a path, paths, or a frame"),
        ("lazy", TypeError, r"call \.collect\(\)"),
        ("numbered", MappingError, "column 0 has no text for a name: rename it, such as to '0'"),
        ("twice", MappingError, "there are 2 columns 'route'"),
    ],
)
def test_data_that_cannot_be_read_is_refused_in_a_sentence(judge, kind, error, says):
    """It says what is accepted, not what broke inside."""
    with pytest.raises(error, match=says) as caught:
        judge(table(kind), CONTRACT)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["map", "set"])
def test_pairs_of_an_option_are_a_mapping(option):
    """Not the list of texts that the command takes."""
    with pytest.raises(MappingError, match=rf"{option}: expected a mapping \{{field: .*got a list"):
        replay("calls.csv", CONTRACT, **{option: ["event_time=at"]})


def test_a_batch_of_pyarrow_is_a_frame():
    """It reads as the table of it does."""
    table = pytest.importorskip("pyarrow").table(CELLS)
    found, whole = replay(table.to_batches()[0], CONTRACT, **OPTIONS), replay(table, CONTRACT, **OPTIONS)

    assert (found.result.digest, found.backend) == (whole.result.digest, "pyarrow")


def test_paths_may_come_one_by_one(tmp_path):
    """Whatever is read twice inside, such as for names of files."""
    pytest.importorskip("pandas").DataFrame(CELLS).to_csv(tmp_path / "calls.csv", index=False)
    found = calibrate(iter([tmp_path / "calls.csv"]), CONTRACT, **OPTIONS).result

    assert (found.records, found.calibration.made_from) == (900, ("calls.csv",))


def test_importing_the_lab_loads_no_library():
    """What a notebook imports first costs nothing until it is used."""
    code = (
        "import sys, detector.lab; heavy = {'numpy', 'scipy', 'narwhals', 'pandas', 'matplotlib', 'pyarrow'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_a_unit_of_durations_goes_for_frames_and_files(tmp_path):
    """Milliseconds decide as seconds do, for every function, and what is not read is told."""
    pandas = pytest.importorskip("pandas")
    slow = CONTRACT.replace(
        "type: rate, field: error,", "type: exceedance, field: latency_s, above_ms: 3000,"
    )
    cells = CELLS | {"latency_s": [5000.0 if 600 <= i < 700 else 100.0 for i in range(900)]}
    frame = pandas.DataFrame(cells)
    frame.to_csv(tmp_path / "calls.csv", index=False)
    options = OPTIONS | {"duration_unit": "ms"}
    seconds = replay(frame.assign(latency_s=frame["latency_s"] / 1000), slow, **OPTIONS).result.digest

    for data in (frame, tmp_path / "calls.csv"):
        assert replay(data, slow, **options).result.digest == seconds
        (tried,) = sweep(data, slow, {}, **options).result.tried
        assert tried.digest == seconds
        assert calibrate(data, slow, **options).result.records == 900
    with pytest.warns(UserWarning, match="columns that nothing is read from: trace$"):
        replay(frame.assign(trace="x"), slow, **options)
