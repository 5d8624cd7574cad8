"""A submission's way: intake -> graft -> execute -> score -> record -> feedback.

nbgrader keeps the gradebook, the folders and the pages on which a person grades. `nbgrader
autograde` and formgrader's button come the same way (`autograder.plugin`).
"""
