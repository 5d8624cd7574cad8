"""The instructor's and CI's toolkit of Practical DL: build, prove, run, grade."""

import sys

# jsonschema imports rfc3987_syntax where it is installed, and that compiles a grammar for about a
# second at every start. It only checks the format of IRIs, which no notebook schema asks for.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
