"""What nbgrader calls: our grader, feedback and page filters in the places of its own."""
