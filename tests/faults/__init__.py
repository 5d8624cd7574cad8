"""What a submission can do to a grader, as data: each fault with the outcome that it must have.

`kit` says what a fault is and judges what came of it; the other modules hold the faults of one
family each; `catalogue.FAULTS` is all of them. tests/faults/test_faults.py grades them as one
class, benchmarks/faults.py compares with stock nbgrader.
"""
