"""`detector calibrate`: what healthy telemetry teaches about a contract.

gather     stream the files once; keep counts per second, never records
healthy    find minutes that look like incidents, which are left out
shares     rates: design effect, ceiling, smallest detectable share
bootstrap  rates: the threshold that keeps the wanted run length under dependence
spread     distributions: bins, design effect, tolerance, thresholds, smallest detectable shift
learn      all of it for every route and predicate, and what the traffic does not allow
section    into the contract file's text; report, page: for people
"""

from detector.lab.calibrate.learn import CalibrateResult, NotHealthyError, calibrate

__all__ = ["CalibrateResult", "NotHealthyError", "calibrate"]
