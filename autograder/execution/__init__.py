"""Run one notebook, safely: values in, values out. Knows no grading and no authoring."""
