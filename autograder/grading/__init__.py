"""A submission's way: intake -> graft -> execute -> score -> record -> feedback.

nbgrader keeps the gradebook and the folders; the preprocessors here are the parts that it calls,
from `nbgrader autograde`, from formgrader's button and from `autograder grade` alike.
"""
