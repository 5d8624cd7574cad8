"""From a week's text to what students open: parse, build, lint, mutants."""
