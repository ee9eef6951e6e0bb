"""`detector calibrate`: what healthy telemetry teaches about a contract.

gather     stream the files once; keep counts per second, never records
healthy    find minutes that look like incidents, which are left out
shares     rates: design effect, ceiling, smallest detectable share
silent     rates: a ceiling at which the recording itself raises no alarm
bootstrap  rates: the threshold that keeps the wanted run length under dependence
spread     distributions: bins, design effect, tolerance, thresholds, smallest detectable shift
limit      slow calls: one that healthy traffic keeps
stretches  rates: the few stretches that alone make a ceiling what it is
covered    how much time the recording is of, holes left out
first_token  whether time to first token would show slowness that whole calls hide
learn      all of it for every route and predicate, and what the traffic does not allow
section    into the contract file's text; report, page: for people
"""

from detector.lab.calibrate.learn import CalibrateResult, NotHealthyError, calibrate, calibrate_rows

__all__ = ["CalibrateResult", "NotHealthyError", "calibrate", "calibrate_rows"]
